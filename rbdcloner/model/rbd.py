# SPDX-License-Identifier: Apache-2.0
"""What Ceph knows, and what it says of that."""

from collections.abc import Mapping
import dataclasses
import datetime
import enum


class CloneFormat(enum.IntEnum):
    """Ceph's ``rbd_default_clone_format``: who records the child, and where.

    Under v1 the parent snapshot must be protected and ``rbd_children`` of the
    child's pool lists the child; under v2 the parent's header does.
    """

    V1 = 1
    V2 = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An RBD image: identified by (fsid, pool, namespace, id)."""

    fsid: str
    pool: str
    namespace: str
    name: str
    id: str = ''

    def __str__(self) -> str:
        path = (self.pool, self.namespace, self.name)
        return '/'.join(part for part in path if part)


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of an RBD image: identified by its image and its id."""

    image: Image
    name: str
    id: int | None = None

    def __str__(self) -> str:
        return f'{self.image}@{self.name}'


@dataclasses.dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """What Ceph says of a snapshot at one moment.

    A ``trashed`` one has lost its name to Ceph's trash and keeps its id and
    its children; ``snapshot.name`` is what it was called. ``created_at`` is
    by the clock of an OSD, UTC, in whole seconds.
    """

    snapshot: Snapshot
    size_bytes: int
    order: int
    protected: bool
    trashed: bool
    created_at: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Descent:
    """What Ceph says of whom an RBD image descends from, and in which way."""

    parent: SnapshotFacts
    clone_format: CloneFormat


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFacts:
    """What Ceph says of an RBD image at one moment.

    ``parent`` is the image that it descends from, ``None`` without one.
    ``tag`` is the uuid of the clone row that made the image, empty when
    nothing was written; a row's own tag is also the proof that the clone was
    made to its end. ``delivered``: a caller may have been told of the image;
    one that has a tag and was not delivered is known to nobody but us.
    ``committed``: the caller that writes a blank disk said that it is whole.
    ``writing``: it has not said so yet.
    ``created_at`` and ``modified_at`` are by the clock of an
    OSD, UTC, in whole seconds; writes within a minute of ``modified_at`` may
    have left it as it was.
    """

    image: Image
    size_bytes: int
    parent: Image | None
    tag: str
    created_at: datetime.datetime
    modified_at: datetime.datetime
    delivered: bool = False
    committed: bool = False
    writing: bool = False

    @property
    def parent_image_id(self) -> str:
        """The id of the image that it descends from, empty without one."""
        return self.parent.id if self.parent else ''


@dataclasses.dataclass(frozen=True, slots=True)
class PoolFacts:
    """What this service's key can do with a pool, found by acting.

    ``initialised``: the pool is marked for rbd (``rbd pool init``). ``full``:
    it, or the cluster, takes no writes. ``data_pool``: where the data of its
    new images goes, if not into itself; ``data_usable``: the key may.
    """

    pool: str
    exists: bool
    initialised: bool
    readable: bool
    writable: bool
    full: bool
    data_pool: str = ''
    data_usable: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class QemuTarget:
    """Where a program of qemu's is to write, and what it needs to get there.

    ``options`` are those of qemu's ``--target-image-opts``, where a comma is
    written twice; ``environment`` is added to its own.
    """

    options: Mapping[str, str]
    environment: Mapping[str, str]

# SPDX-License-Identifier: Apache-2.0
"""The nouns that the rooms hand each other, frozen.

Words are Ceph's. Identity is by id: a name is an attribute that Nova reuses
and the trash frees. An id that is not known yet is the empty string (an
image's) or ``None`` (a snapshot's).
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import datetime
import enum

from rbdcloner.states import BaseState
from rbdcloner.states import FlattenState
from rbdcloner.states import ParentState
from rbdcloner.states import State

#: What Glance calls the snapshot of an image (glance_store, _drivers/rbd.py).
GLANCE_NAME = 'snap'


class CloneFormat(enum.IntEnum):
    """Ceph's ``rbd_default_clone_format``: who records the child, and where.

    Under v1 the parent snapshot must be protected and ``rbd_children`` of the
    child's pool lists the child; under v2 the parent's header does.
    """

    V1 = 1
    V2 = 2


class Protector(enum.StrEnum):
    """Who protected a parent snapshot."""

    NOBODY = 'nobody'
    OTHERS = 'others'
    SERVICE = 'service'


class Kind(enum.StrEnum):
    """What a clone's image is for."""

    DISK = 'disk'
    """A disk of an instance, made by the service."""

    IMAGE = 'image'
    """A Glance image, made by the service from a disk's snapshot."""

    ADOPTED = 'adopted'
    """A Glance image that others made, deleted while children need it."""

    BASE = 'base'
    """A Glance image that cannot be cloned, imported by the service."""


class Purpose(enum.StrEnum):
    """What a snapshot is there for, and with what it goes."""

    ADOPTED = 'adopted'
    """Others made it and remove it; with its image, once that is retired."""

    EDGE = 'edge'
    """The service made it for one child; it goes with that child."""

    GLANCE = 'glance'
    """The service made it for Glance; it goes with its image."""

    CALLER = 'caller'
    """A caller asked for it; it goes when one asks, or with its disk."""

    BASE = 'base'
    """The service made it to clone a base; it goes with its image."""


class FlattenReason(enum.StrEnum):
    """Why a child is flattened."""

    DEPTH = 'depth'
    SNAPSHOTS = 'snapshots'
    WAITED = 'waited'
    RELEASE = 'release'
    ASKED = 'asked'


class Way(enum.StrEnum):
    """How the data of a Glance image comes into the cluster."""

    UNDECIDED = ''

    COPY = 'copy'
    """Glance copies it to its store in this cluster."""

    STREAM = 'stream'
    """It is raw, and written as it comes."""

    CONVERT = 'convert'
    """It is downloaded, and converted into the cluster."""


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
    made to its end. ``created_at`` and ``modified_at`` are by the clock of an
    OSD, UTC, in whole seconds; writes within a minute of ``modified_at`` may
    have left it as it was.
    """

    image: Image
    size_bytes: int
    parent: Image | None
    tag: str
    created_at: datetime.datetime
    modified_at: datetime.datetime

    @property
    def parent_image_id(self) -> str:
        """The id of the image that it descends from, empty without one."""
        return self.parent.id if self.parent else ''


@dataclasses.dataclass(frozen=True, slots=True)
class PoolFacts:
    """What this service's key can do with a pool, found by acting.

    ``initialised``: the pool is marked for rbd (``rbd pool init``). ``full``:
    it, or the cluster, takes no writes.
    """

    pool: str
    exists: bool
    initialised: bool
    readable: bool
    writable: bool
    full: bool


@dataclasses.dataclass(frozen=True, slots=True)
class QemuTarget:
    """Where a program of qemu's is to write, and what it needs to get there.

    ``options`` are those of qemu's ``--target-image-opts``, where a comma is
    written twice; ``environment`` is added to its own.
    """

    options: Mapping[str, str]
    environment: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class GlanceLocation:
    """Where Glance says that an image's data lies."""

    url: str
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class ImageSignature:
    """Who signed an image's data, and how: Glance's four properties of it."""

    value: str
    hash_method: str
    key_type: str
    certificate_uuid: str


@dataclasses.dataclass(frozen=True, slots=True)
class GlanceImage:
    """What Glance says of an image; ``members`` are project ids.

    ``checksum`` is of its data, as ``sha512:<hex>`` or ``md5:<hex>``, empty
    where Glance has none. Stores are Glance's own names: those that have the
    data, those that it is being copied to, and those that this failed for.
    ``signature`` is ``None`` unless all of it is there.
    """

    id: str
    status: str
    disk_format: str
    size_bytes: int
    hidden: bool
    visibility: str
    owner: str
    members: frozenset[str]
    locations: tuple[GlanceLocation, ...]
    container_format: str = 'bare'
    checksum: str = ''
    stores: frozenset[str] = frozenset()
    copying_to: frozenset[str] = frozenset()
    not_copied_to: frozenset[str] = frozenset()
    signature: ImageSignature | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Parent:
    """A row: a snapshot that children are, or were, taken from.

    ``depth`` counts the ancestors of its image that are nobody's row.
    """

    id: int
    snapshot: Snapshot
    size_bytes: int
    order: int
    glance_image_id: str
    protector: Protector
    purpose: Purpose
    depth: int
    state: ParentState


@dataclasses.dataclass(frozen=True, slots=True)
class DiskRequest:
    """What a caller asks of ``create_disk``, checked.

    Or of ``begin_import``: without an ``image_id`` then, and with ``call``,
    the same each time that the call is sent; or of ``adopt_disk``, without a
    size, and with an ``image_id`` if it is known. ``after`` is the number of
    the last deletion that he knows of, 0 if none; ``None`` when he does not
    say. ``imports``: what cannot be cloned is imported.
    """

    image_id: str
    name: str
    pool: str
    size_bytes: int
    instance_uuid: str
    project_id: str
    host: str
    after: int | None = None
    call: str = ''
    imports: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Clone:
    """A row: a child image, whom it descends from, and what was promised.

    ``attached``: the child needs its parent; it does not once it is gone or
    flattened. ``parent`` is ``None`` for an image that never had one known
    to us. ``fence`` counts the owners that the row has had; only its last
    owner may move the row. ``lease_expires_at`` is by the database's clock,
    UTC, and ``None`` when nobody is at work; ``attempts`` at what its state
    asks for have failed, and none is made before ``retry_at``.
    ``rollback_to`` is the id of a :class:`Parent`; ``held_bytes`` what a
    retired image occupies, ``None`` where nobody has counted.
    """

    id: int
    uuid: str
    image: Image
    size_bytes: int
    clone_format: CloneFormat
    kind: Kind
    parent: Parent | None
    attached: bool
    glance_image_id: str
    instance_uuid: str
    project_id: str
    host: str
    state: State
    reason: str
    owner: str
    fence: int
    lease_expires_at: datetime.datetime | None
    attempts: int
    retry_at: datetime.datetime | None
    rollback_to: int | None
    held_bytes: int | None
    created_at: datetime.datetime
    updated_at: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Flatten:
    """A row: a child that is, or was, to get its parent's data as its own.

    ``done_objects`` of ``total_objects`` are copied, both zero before it ever
    ran. ``slot`` numbers those that run at once in the whole cluster, from
    1, ``None`` while it does not run. ``forced``: also under a guest.
    """

    id: int
    clone: Clone
    why: FlattenReason
    forced: bool
    state: FlattenState
    reason: str
    done_objects: int
    total_objects: int
    slot: int | None
    owner: str
    fence: int
    lease_expires_at: datetime.datetime | None
    attempts: int
    retry_at: datetime.datetime | None
    created_at: datetime.datetime
    updated_at: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Base:
    """A row: a Glance image that is, or was, imported into one cluster.

    ``checksum`` is Glance's, as ``sha512:…``, empty when it has none: with
    another one the image is another. ``clone`` is the RBD image that is made
    now or was made last, ``None`` while there is none. ``slot``, ``fence``
    and the lease are as a :class:`Flatten`'s. ``updated_at`` is when it last
    came on, not when its lease was renewed.
    """

    id: int
    uuid: str
    fsid: str
    glance_image_id: str
    checksum: str
    state: BaseState
    clone: Clone | None
    way: Way
    done_bytes: int
    total_bytes: int
    reason: str
    slot: int | None
    owner: str
    fence: int
    lease_expires_at: datetime.datetime | None
    attempts: int
    retry_at: datetime.datetime | None
    created_at: datetime.datetime
    updated_at: datetime.datetime

    def __str__(self) -> str:
        return f'base {self.uuid} of image {self.glance_image_id}'


@dataclasses.dataclass(frozen=True, slots=True)
class Worker:
    """A row: a worker process, under the name that it holds rows by.

    All times are by the database's clock, UTC; ``looked_at`` is when the row
    was read, and its own clock was ``clock_offset_ms`` ahead of that one.
    ``addresses`` are the RADOS addresses that it may be using and that nobody
    has shut out of Ceph. ``stopped_at``: it ended, and said so.
    """

    owner: str
    host: str
    pid: int
    version: str
    rpc_version: str
    clock_offset_ms: int
    addresses: tuple[str, ...]
    started_at: datetime.datetime
    seen_at: datetime.datetime
    stopped_at: datetime.datetime | None
    shut_out_at: datetime.datetime | None
    looked_at: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Filters:
    """Which clones are asked for; an empty field is no filter."""

    uuid: str = ''
    instance_uuid: str = ''
    parent_id: int = 0
    glance_image_id: str = ''
    project_id: str = ''
    host: str = ''
    pool: str = ''
    name: str = ''
    kind: Kind | None = None
    attached: bool = False
    states: Sequence[State] = ()

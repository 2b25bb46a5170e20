# SPDX-License-Identifier: Apache-2.0
"""What is recorded, and what is asked to be."""

from collections.abc import Sequence
import dataclasses
import datetime
import enum

from rbdcloner.model.rbd import CloneFormat
from rbdcloner.model.rbd import Image
from rbdcloner.model.rbd import Snapshot
from rbdcloner.states import BaseState
from rbdcloner.states import FlattenState
from rbdcloner.states import ParentState
from rbdcloner.states import State


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
class Request:
    """Which request changes a disk, and what its caller knew.

    ``call`` is the same each time that the request is sent; empty, it is sent
    once. ``after`` is the number of the last request for the disk's name that
    the caller knows of, 0 if none; ``None`` when the caller does not say.
    """

    call: str = ''
    after: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A row: a request that changes, or has changed, the disk ``clone_id``.

    ``parent_id`` is the snapshot that the request made, removes or goes back
    to; ``None`` for a resize, and for a rollback that was given up. ``open``:
    the disk's row has not become READY yet for the request. ``call`` is the
    request's id, and ``begun_at`` when it was noted, by the database's clock.
    """

    id: int
    clone_id: int
    parent_id: int | None
    open: bool
    call: str
    begun_at: datetime.datetime


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
    came on, not when its lease was renewed. ``asked_at`` is when a caller
    last asked for it, within seconds; ``None``: an administrator did, and no
    caller has to wait for it.
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
    asked_at: datetime.datetime | None
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
class Brake:
    """A row: nothing is taken for deleted in a cluster, and why.

    ``name`` is the look that found too much missing. ``released``: an
    administrator said that what is missing may end.
    """

    fsid: str
    name: str
    released: bool
    reason: str
    engaged_at: datetime.datetime


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

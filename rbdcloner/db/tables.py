# SPDX-License-Identifier: Apache-2.0
"""The tables: parents, the clones taken from them, and the work on these.

A row of ``clones`` is never deleted: it is the lineage. RBD's names know
upper and lower case and trailing blanks, so on MariaDB every text column has
a binary collation that does not pad. Rejected: one table for both, since a
parent is a snapshot, which has no name, host or lease of its own.
"""

from typing import cast

import sqlalchemy as sa
from sqlalchemy import orm

from rbdcloner.db import columns
from rbdcloner.db.columns import Base as Base


class ParentRow(Base):
    """A snapshot that children are, or were, taken from.

    ``live`` is 1 from the plan to the release of a snapshot that the service
    makes, so that two requests don't plan one twice; else NULL. The names of
    snapshots that others make are theirs to give.
    """

    __tablename__ = 'parents'
    __table_args__ = (
        sa.UniqueConstraint(
            'image_id',
            'snapshot_id',
            'pool',
            'namespace',
            'fsid',
            name='uq_parents_snapshot',
        ),
        sa.UniqueConstraint(
            'image_id',
            'snapshot_name',
            'pool',
            'namespace',
            'fsid',
            'live',
            name='uq_parents_live_name',
        ),
        sa.Index('ix_parents_state', 'state', 'protector'),
        sa.Index('ix_parents_purpose', 'purpose', 'state'),
        columns.options(),
    )

    id: orm.Mapped[int] = orm.mapped_column(columns.Serial, primary_key=True)
    fsid: orm.Mapped[columns.Id]
    pool: orm.Mapped[columns.Pool]
    namespace: orm.Mapped[columns.Pool]
    image_name: orm.Mapped[columns.Name]
    image_id: orm.Mapped[columns.Id]
    snapshot_name: orm.Mapped[columns.Name]
    snapshot_id: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    live: orm.Mapped[columns.Flag]
    size_bytes: orm.Mapped[columns.Big]
    order: orm.Mapped[columns.Small]
    glance_image_id: orm.Mapped[columns.Id]
    protector: orm.Mapped[columns.Word]
    purpose: orm.Mapped[columns.Word] = orm.mapped_column(
        server_default='adopted'
    )
    depth: orm.Mapped[columns.Small] = orm.mapped_column(server_default='0')
    state: orm.Mapped[columns.Word]
    created_at: orm.Mapped[columns.Moment]
    updated_at: orm.Mapped[columns.Moment]


class CloneRow(Base):
    """A child image, whom it descends from, and what was promised.

    ``live`` is 1 while the state is one of :data:`rbdcloner.states.LIVE` and
    NULL from then on: NULLs are distinct in a unique key, so that it holds
    one live row of a name and any number of others. ``attached`` is 1 while
    the image needs its parent, else NULL; its default is for releases that
    know nothing of it. ``parent_id`` is NULL for an image whose parent
    nobody knows.
    """

    __tablename__ = 'clones'
    __table_args__ = (
        sa.UniqueConstraint(
            'name',
            'pool',
            'namespace',
            'fsid',
            'live',
            name='uq_clones_live_name',
        ),
        sa.UniqueConstraint('uuid', name='uq_clones_uuid'),
        # A page is rows of one value by id: each index ends with the id.
        sa.Index('ix_clones_instance', 'instance_uuid', 'id'),
        sa.Index('ix_clones_glance_image', 'glance_image_id', 'id'),
        sa.Index('ix_clones_project', 'project_id', 'id'),
        sa.Index('ix_clones_host', 'host', 'id'),
        sa.Index('ix_clones_pool', 'pool', 'id'),
        sa.Index('ix_clones_state', 'state', 'id'),
        # Attached children first; all of a parent's children too.
        sa.Index('ix_clones_children', 'parent_id', 'attached', 'id'),
        sa.Index('ix_clones_image', 'image_id', 'pool'),
        columns.options(),
    )

    id: orm.Mapped[int] = orm.mapped_column(columns.Serial, primary_key=True)
    uuid: orm.Mapped[str] = orm.mapped_column(sa.String(36))
    fsid: orm.Mapped[columns.Id]
    pool: orm.Mapped[columns.Pool]
    namespace: orm.Mapped[columns.Pool]
    name: orm.Mapped[columns.Name]
    image_id: orm.Mapped[columns.Id]
    live: orm.Mapped[columns.Flag]
    kind: orm.Mapped[columns.Word] = orm.mapped_column(server_default='disk')
    attached: orm.Mapped[columns.Flag] = orm.mapped_column(server_default='1')
    size_bytes: orm.Mapped[columns.Big]
    clone_format: orm.Mapped[columns.Small]
    parent_id: orm.Mapped[int | None] = orm.mapped_column(
        columns.Serial, sa.ForeignKey('parents.id')
    )
    glance_image_id: orm.Mapped[columns.Id]
    instance_uuid: orm.Mapped[columns.Id]
    project_id: orm.Mapped[columns.Name]
    host: orm.Mapped[columns.Host]
    state: orm.Mapped[columns.Word]
    reason: orm.Mapped[str] = orm.mapped_column(sa.Text())
    owner: orm.Mapped[columns.Host]
    fence: orm.Mapped[columns.Big]
    lease_expires_at: orm.Mapped[columns.Until]
    attempts: orm.Mapped[columns.Count] = orm.mapped_column(server_default='0')
    retry_at: orm.Mapped[columns.Until]
    rollback_to: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    held_bytes: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    created_at: orm.Mapped[columns.Moment]
    updated_at: orm.Mapped[columns.Moment]


class _Queued:
    """What rows have of which few run at once (:mod:`rbdcloner.db.slots`).

    ``live`` is 1 until it is over, then NULL: what a row is about has one
    such. ``slot`` is a number that each running one has for itself, so that
    no more than the numbers handed out run at once.
    """

    id: orm.Mapped[int] = orm.mapped_column(columns.Serial, primary_key=True)
    state: orm.Mapped[columns.Word]
    live: orm.Mapped[columns.Flag]
    slot: orm.Mapped[int | None] = orm.mapped_column(sa.SmallInteger())
    reason: orm.Mapped[str] = orm.mapped_column(sa.Text())
    owner: orm.Mapped[columns.Host]
    fence: orm.Mapped[columns.Big]
    lease_expires_at: orm.Mapped[columns.Until]
    attempts: orm.Mapped[columns.Count]
    retry_at: orm.Mapped[columns.Until]
    created_at: orm.Mapped[columns.Moment]
    updated_at: orm.Mapped[columns.Moment]


class FlattenRow(_Queued, Base):
    """A child that is, or was, to get its parent's data as its own."""

    __tablename__ = 'flattens'
    __table_args__ = (
        sa.UniqueConstraint('clone_id', 'live', name='uq_flattens_live_clone'),
        sa.UniqueConstraint('slot', name='uq_flattens_slot'),
        sa.Index('ix_flattens_state', 'state', 'id'),
        columns.options(),
    )

    clone_id: orm.Mapped[int] = orm.mapped_column(
        columns.Serial, sa.ForeignKey('clones.id')
    )
    why: orm.Mapped[columns.Word]
    forced: orm.Mapped[bool] = orm.mapped_column(sa.Boolean())
    done_objects: orm.Mapped[columns.Big]
    total_objects: orm.Mapped[columns.Big]


class BaseRow(_Queued, Base):
    """A Glance image that is, or was, imported into one cluster.

    It is live in :data:`rbdcloner.states.LIVE_BASES`. ``clone_id`` is the
    row of the RBD image that is made now, or was made last. ``asked_at`` is
    when a caller asked for it last, NULL where an administrator did.
    """

    __tablename__ = 'bases'
    __table_args__ = (
        sa.UniqueConstraint('uuid', name='uq_bases_uuid'),
        sa.UniqueConstraint(
            'glance_image_id',
            'checksum',
            'fsid',
            'live',
            name='uq_bases_live_image',
        ),
        sa.UniqueConstraint('slot', name='uq_bases_slot'),
        sa.Index('ix_bases_state', 'state', 'id'),
        sa.Index('ix_bases_clone', 'clone_id'),
        columns.options(),
    )

    uuid: orm.Mapped[str] = orm.mapped_column(sa.String(36))
    fsid: orm.Mapped[columns.Id]
    glance_image_id: orm.Mapped[columns.Id]
    checksum: orm.Mapped[columns.Name]
    clone_id: orm.Mapped[int | None] = orm.mapped_column(
        columns.Serial, sa.ForeignKey('clones.id')
    )
    way: orm.Mapped[columns.Word]
    done_bytes: orm.Mapped[columns.Big]
    total_bytes: orm.Mapped[columns.Big]
    asked_at: orm.Mapped[columns.Until]


class DutyRow(Base):
    """Periodic work, which whoever comes first after ``due_at`` does."""

    __tablename__ = 'duties'
    __table_args__ = columns.options(sqlite_autoincrement=False)

    name: orm.Mapped[str] = orm.mapped_column(sa.String(64), primary_key=True)
    owner: orm.Mapped[columns.Host]
    due_at: orm.Mapped[columns.Moment]


class WorkerRow(Base):
    """A worker process: what it is, when it was seen, where Ceph knows it.

    ``addresses`` are RADOS addresses, separated by spaces, that it may be
    using and that nobody has shut out.
    """

    __tablename__ = 'workers'
    __table_args__ = columns.options(sqlite_autoincrement=False)

    owner: orm.Mapped[str] = orm.mapped_column(
        sa.String(columns.HOST_LENGTH), primary_key=True
    )
    host: orm.Mapped[columns.Host]
    pid: orm.Mapped[columns.Count]
    version: orm.Mapped[columns.Id]
    rpc_version: orm.Mapped[columns.Word]
    clock_offset_ms: orm.Mapped[columns.Big]
    addresses: orm.Mapped[str] = orm.mapped_column(sa.Text())
    started_at: orm.Mapped[columns.Moment]
    seen_at: orm.Mapped[columns.Moment]
    stopped_at: orm.Mapped[columns.Until]
    shut_out_at: orm.Mapped[columns.Until]


class DeletionRow(Base):
    """What a call wanted gone: a name, or with none an instance's disks.

    Or changed: then a row of ``changes`` says so.
    """

    __tablename__ = 'deletions'
    __table_args__ = (
        sa.UniqueConstraint('call', name='uq_deletions_call'),
        sa.Index('ix_deletions_name', 'name', 'pool', 'fsid', 'id'),
        sa.Index('ix_deletions_instance', 'instance_uuid', 'name', 'id'),
        sa.Index('ix_deletions_created_at', 'created_at'),
        columns.options(),
    )

    id: orm.Mapped[int] = orm.mapped_column(columns.Serial, primary_key=True)
    call: orm.Mapped[columns.Id]
    fsid: orm.Mapped[columns.Id]
    pool: orm.Mapped[columns.Pool]
    name: orm.Mapped[columns.Name]
    instance_uuid: orm.Mapped[columns.Id]
    created_at: orm.Mapped[columns.Moment]


class ChangeRow(Base):
    """A request that changes a disk; its number, call and name are above.

    That is, in the row of ``deletions`` with the same id. ``open`` is 1 while
    the disk's row has still to become READY for the request, else NULL.
    """

    __tablename__ = 'changes'
    __table_args__ = (
        sa.Index('ix_changes_clone', 'clone_id', 'open'),
        columns.options(sqlite_autoincrement=False),
    )

    id: orm.Mapped[int] = orm.mapped_column(
        columns.Serial, primary_key=True, autoincrement=False
    )
    clone_id: orm.Mapped[columns.Big]
    parent_id: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    open: orm.Mapped[columns.Flag]


class DeferredDeletionRow(Base):
    """A deletion that came while the database was older than the cluster.

    Its number, call and name are in the row of ``deletions`` with the same
    id. Of an instance's disks it concerns those whose names end with
    ``suffix``.
    """

    __tablename__ = 'deferred_deletions'
    __table_args__ = columns.options(sqlite_autoincrement=False)

    id: orm.Mapped[int] = orm.mapped_column(
        columns.Serial, primary_key=True, autoincrement=False
    )
    suffix: orm.Mapped[columns.Name]


class RecreationRow(Base):
    """A clone that was asked for after a deletion, by who knew of it."""

    __tablename__ = 'recreations'
    __table_args__ = columns.options(sqlite_autoincrement=False)

    clone_id: orm.Mapped[int] = orm.mapped_column(
        columns.Serial,
        sa.ForeignKey('clones.id'),
        primary_key=True,
        autoincrement=False,
    )
    after: orm.Mapped[columns.Big]


class AbsenceRow(Base):
    """A clone's Glance image that Glance has not had since then.

    ``trashed``: its RBD image was moved to the trash for that reason, and
    ``since`` counts anew from then.
    """

    __tablename__ = 'absences'
    __table_args__ = columns.options(sqlite_autoincrement=False)

    clone_id: orm.Mapped[int] = orm.mapped_column(
        columns.Serial,
        sa.ForeignKey('clones.id'),
        primary_key=True,
        autoincrement=False,
    )
    since: orm.Mapped[columns.Moment]
    trashed: orm.Mapped[bool] = orm.mapped_column(sa.Boolean())


class PoolRow(Base):
    """The id that a pool had when its first row was made."""

    __tablename__ = 'pools'
    __table_args__ = columns.options(sqlite_autoincrement=False)

    fsid: orm.Mapped[str] = orm.mapped_column(
        sa.String(columns.ID_LENGTH), primary_key=True
    )
    name: orm.Mapped[str] = orm.mapped_column(
        sa.String(columns.POOL_LENGTH), primary_key=True
    )
    pool_id: orm.Mapped[columns.Big]


class BrakeRow(Base):
    """Why nothing is taken for deleted in a cluster, until it is released."""

    __tablename__ = 'brakes'
    __table_args__ = columns.options(sqlite_autoincrement=False)

    fsid: orm.Mapped[str] = orm.mapped_column(
        sa.String(columns.ID_LENGTH), primary_key=True
    )
    name: orm.Mapped[str] = orm.mapped_column(sa.String(64), primary_key=True)
    released: orm.Mapped[bool] = orm.mapped_column(sa.Boolean())
    reason: orm.Mapped[str] = orm.mapped_column(sa.Text())
    engaged_at: orm.Mapped[columns.Moment]


class WarrantRow(Base):
    """By whose order a clone's image goes; the last one of a clone counts."""

    __tablename__ = 'warrants'
    __table_args__ = (
        sa.Index('ix_warrants_clone', 'clone_id', 'id'),
        columns.options(),
    )

    id: orm.Mapped[int] = orm.mapped_column(columns.Serial, primary_key=True)
    clone_id: orm.Mapped[int] = orm.mapped_column(
        columns.Serial, sa.ForeignKey('clones.id')
    )
    ordered_by: orm.Mapped[columns.Word]
    request: orm.Mapped[columns.Id]
    evidence: orm.Mapped[str] = orm.mapped_column(sa.Text())
    created_at: orm.Mapped[columns.Moment]


class LineageRow(Base):
    """Which lineage this is, how old, and why nothing of it is destroyed."""

    __tablename__ = 'lineage'
    __table_args__ = columns.options(sqlite_autoincrement=False)

    uuid: orm.Mapped[str] = orm.mapped_column(sa.String(36), primary_key=True)
    generation: orm.Mapped[columns.Big]
    stamp: orm.Mapped[columns.Id]
    advanced_at: orm.Mapped[columns.Moment]
    stopped: orm.Mapped[str] = orm.mapped_column(sa.Text())


class MarkedPoolRow(Base):
    """A pool that was given the mark of this lineage."""

    __tablename__ = 'marked_pools'
    __table_args__ = columns.options(sqlite_autoincrement=False)

    fsid: orm.Mapped[str] = orm.mapped_column(
        sa.String(columns.ID_LENGTH), primary_key=True
    )
    pool: orm.Mapped[str] = orm.mapped_column(
        sa.String(columns.POOL_LENGTH), primary_key=True
    )


#: The tables as Core knows them: no identity map and no flush in the hot path.
parents = cast(sa.Table, ParentRow.__table__)
clones = cast(sa.Table, CloneRow.__table__)
flattens = cast(sa.Table, FlattenRow.__table__)
bases = cast(sa.Table, BaseRow.__table__)
duties = cast(sa.Table, DutyRow.__table__)
workers = cast(sa.Table, WorkerRow.__table__)
deletions = cast(sa.Table, DeletionRow.__table__)
changes = cast(sa.Table, ChangeRow.__table__)
deferred_deletions = cast(sa.Table, DeferredDeletionRow.__table__)
recreations = cast(sa.Table, RecreationRow.__table__)
absences = cast(sa.Table, AbsenceRow.__table__)
pools = cast(sa.Table, PoolRow.__table__)
brakes = cast(sa.Table, BrakeRow.__table__)
warrants = cast(sa.Table, WarrantRow.__table__)
lineages = cast(sa.Table, LineageRow.__table__)
marked_pools = cast(sa.Table, MarkedPoolRow.__table__)

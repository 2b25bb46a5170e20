# SPDX-License-Identifier: Apache-2.0
"""The tables: parents, the clones taken from them, and the work on these.

A row of ``clones`` is never deleted: it is the lineage. RBD's names know
upper and lower case and trailing blanks, so on MariaDB every text column has
a binary collation that does not pad. Rejected: one table for both, since a
parent is a snapshot, which has no name, host or lease of its own.
"""

import datetime
from typing import Annotated
from typing import Any
from typing import cast

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import mysql

#: In characters; what a caller hands in is checked against these.
NAME_LENGTH = 255
POOL_LENGTH = 128
ID_LENGTH = 64
HOST_LENGTH = 255
REASON_LENGTH = 1000

_Serial = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


class _Time(sa.TypeDecorator[datetime.datetime]):
    """A time in UTC: without a zone in the database, with it in Python."""

    impl = sa.DateTime().with_variant(
        mysql.DATETIME(fsp=6), 'mysql', 'mariadb'
    )
    cache_ok = True

    def process_result_value(
        self, value: datetime.datetime | None, dialect: sa.Dialect
    ) -> datetime.datetime | None:
        return value and value.replace(tzinfo=datetime.UTC)


_Id = Annotated[str, orm.mapped_column(sa.String(ID_LENGTH))]
_Name = Annotated[str, orm.mapped_column(sa.String(NAME_LENGTH))]
_Pool = Annotated[str, orm.mapped_column(sa.String(POOL_LENGTH))]
_Host = Annotated[str, orm.mapped_column(sa.String(HOST_LENGTH))]
_Word = Annotated[str, orm.mapped_column(sa.String(16))]
_Big = Annotated[int, orm.mapped_column(sa.BigInteger())]
_Small = Annotated[int, orm.mapped_column(sa.SmallInteger())]
_Count = Annotated[int, orm.mapped_column(sa.Integer())]
_Flag = Annotated[int | None, orm.mapped_column(sa.SmallInteger())]
_Moment = Annotated[datetime.datetime, orm.mapped_column(_Time())]
_Until = Annotated[datetime.datetime | None, orm.mapped_column(_Time())]


class Base(orm.DeclarativeBase):
    """What the tables share: names for their constraints, and an engine."""

    metadata = sa.MetaData(
        naming_convention={
            'fk': 'fk_%(table_name)s_%(column_0_name)s',
            'ix': 'ix_%(table_name)s_%(column_0_N_name)s',
            'pk': 'pk_%(table_name)s',
        }
    )


def _options(sqlite_autoincrement: bool = True) -> dict[str, Any]:
    options: dict[str, Any] = {'sqlite_autoincrement': sqlite_autoincrement}
    for dialect in ('mysql', 'mariadb'):
        options[f'{dialect}_engine'] = 'InnoDB'
        options[f'{dialect}_charset'] = 'utf8mb4'
        options[f'{dialect}_collate'] = 'utf8mb4_nopad_bin'
    return options


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
        _options(),
    )

    id: orm.Mapped[int] = orm.mapped_column(_Serial, primary_key=True)
    fsid: orm.Mapped[_Id]
    pool: orm.Mapped[_Pool]
    namespace: orm.Mapped[_Pool]
    image_name: orm.Mapped[_Name]
    image_id: orm.Mapped[_Id]
    snapshot_name: orm.Mapped[_Name]
    snapshot_id: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    live: orm.Mapped[_Flag]
    size_bytes: orm.Mapped[_Big]
    order: orm.Mapped[_Small]
    glance_image_id: orm.Mapped[_Id]
    protector: orm.Mapped[_Word]
    purpose: orm.Mapped[_Word] = orm.mapped_column(server_default='adopted')
    depth: orm.Mapped[_Small] = orm.mapped_column(server_default='0')
    state: orm.Mapped[_Word]
    created_at: orm.Mapped[_Moment]
    updated_at: orm.Mapped[_Moment]


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
        _options(),
    )

    id: orm.Mapped[int] = orm.mapped_column(_Serial, primary_key=True)
    uuid: orm.Mapped[str] = orm.mapped_column(sa.String(36))
    fsid: orm.Mapped[_Id]
    pool: orm.Mapped[_Pool]
    namespace: orm.Mapped[_Pool]
    name: orm.Mapped[_Name]
    image_id: orm.Mapped[_Id]
    live: orm.Mapped[_Flag]
    kind: orm.Mapped[_Word] = orm.mapped_column(server_default='disk')
    attached: orm.Mapped[_Flag] = orm.mapped_column(server_default='1')
    size_bytes: orm.Mapped[_Big]
    clone_format: orm.Mapped[_Small]
    parent_id: orm.Mapped[int | None] = orm.mapped_column(
        _Serial, sa.ForeignKey('parents.id')
    )
    glance_image_id: orm.Mapped[_Id]
    instance_uuid: orm.Mapped[_Id]
    project_id: orm.Mapped[_Name]
    host: orm.Mapped[_Host]
    state: orm.Mapped[_Word]
    reason: orm.Mapped[str] = orm.mapped_column(sa.Text())
    owner: orm.Mapped[_Host]
    fence: orm.Mapped[_Big]
    lease_expires_at: orm.Mapped[_Until]
    attempts: orm.Mapped[_Count] = orm.mapped_column(server_default='0')
    retry_at: orm.Mapped[_Until]
    rollback_to: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    held_bytes: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger())
    created_at: orm.Mapped[_Moment]
    updated_at: orm.Mapped[_Moment]


class FlattenRow(Base):
    """A child that is, or was, to get its parent's data as its own.

    ``live`` is 1 while it is wanted or running, else NULL: a clone has one
    such row. ``slot`` is a number that each running one has for itself, so
    that no more than the numbers handed out run at once.
    """

    __tablename__ = 'flattens'
    __table_args__ = (
        sa.UniqueConstraint('clone_id', 'live', name='uq_flattens_live_clone'),
        sa.UniqueConstraint('slot', name='uq_flattens_slot'),
        sa.Index('ix_flattens_state', 'state', 'id'),
        _options(),
    )

    id: orm.Mapped[int] = orm.mapped_column(_Serial, primary_key=True)
    clone_id: orm.Mapped[int] = orm.mapped_column(
        _Serial, sa.ForeignKey('clones.id')
    )
    why: orm.Mapped[_Word]
    forced: orm.Mapped[bool] = orm.mapped_column(sa.Boolean())
    state: orm.Mapped[_Word]
    live: orm.Mapped[_Flag]
    slot: orm.Mapped[int | None] = orm.mapped_column(sa.SmallInteger())
    done_objects: orm.Mapped[_Big]
    total_objects: orm.Mapped[_Big]
    reason: orm.Mapped[str] = orm.mapped_column(sa.Text())
    owner: orm.Mapped[_Host]
    fence: orm.Mapped[_Big]
    lease_expires_at: orm.Mapped[_Until]
    attempts: orm.Mapped[_Count]
    retry_at: orm.Mapped[_Until]
    created_at: orm.Mapped[_Moment]
    updated_at: orm.Mapped[_Moment]


class BaseRow(Base):
    """A Glance image that is, or was, imported into one cluster.

    ``live`` is 1 while the state is one of
    :data:`rbdcloner.states.LIVE_BASES`, else NULL: an image has one such row.
    ``slot`` is as in ``flattens``. ``clone_id`` is the row of the RBD image
    that is made now, or was made last.
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
        _options(),
    )

    id: orm.Mapped[int] = orm.mapped_column(_Serial, primary_key=True)
    uuid: orm.Mapped[str] = orm.mapped_column(sa.String(36))
    fsid: orm.Mapped[_Id]
    glance_image_id: orm.Mapped[_Id]
    checksum: orm.Mapped[_Name]
    state: orm.Mapped[_Word]
    live: orm.Mapped[_Flag]
    clone_id: orm.Mapped[int | None] = orm.mapped_column(
        _Serial, sa.ForeignKey('clones.id')
    )
    slot: orm.Mapped[int | None] = orm.mapped_column(sa.SmallInteger())
    way: orm.Mapped[_Word]
    done_bytes: orm.Mapped[_Big]
    total_bytes: orm.Mapped[_Big]
    reason: orm.Mapped[str] = orm.mapped_column(sa.Text())
    owner: orm.Mapped[_Host]
    fence: orm.Mapped[_Big]
    lease_expires_at: orm.Mapped[_Until]
    attempts: orm.Mapped[_Count]
    retry_at: orm.Mapped[_Until]
    created_at: orm.Mapped[_Moment]
    updated_at: orm.Mapped[_Moment]


class DutyRow(Base):
    """Periodic work, which whoever comes first after ``due_at`` does."""

    __tablename__ = 'duties'
    __table_args__ = _options(sqlite_autoincrement=False)

    name: orm.Mapped[str] = orm.mapped_column(sa.String(64), primary_key=True)
    owner: orm.Mapped[_Host]
    due_at: orm.Mapped[_Moment]


class WorkerRow(Base):
    """A worker process: what it is, when it was seen, where Ceph knows it.

    ``addresses`` are RADOS addresses, separated by spaces, that it may be
    using and that nobody has shut out.
    """

    __tablename__ = 'workers'
    __table_args__ = _options(sqlite_autoincrement=False)

    owner: orm.Mapped[str] = orm.mapped_column(
        sa.String(HOST_LENGTH), primary_key=True
    )
    host: orm.Mapped[_Host]
    pid: orm.Mapped[_Count]
    version: orm.Mapped[_Id]
    rpc_version: orm.Mapped[_Word]
    clock_offset_ms: orm.Mapped[_Big]
    addresses: orm.Mapped[str] = orm.mapped_column(sa.Text())
    started_at: orm.Mapped[_Moment]
    seen_at: orm.Mapped[_Moment]
    stopped_at: orm.Mapped[_Until]
    shut_out_at: orm.Mapped[_Until]


class DeletionRow(Base):
    """What a call wanted gone: a name, or with none an instance's disks."""

    __tablename__ = 'deletions'
    __table_args__ = (
        sa.UniqueConstraint('call', name='uq_deletions_call'),
        sa.Index('ix_deletions_name', 'name', 'pool', 'fsid', 'id'),
        sa.Index('ix_deletions_instance', 'instance_uuid', 'name', 'id'),
        sa.Index('ix_deletions_created_at', 'created_at'),
        _options(),
    )

    id: orm.Mapped[int] = orm.mapped_column(_Serial, primary_key=True)
    call: orm.Mapped[_Id]
    fsid: orm.Mapped[_Id]
    pool: orm.Mapped[_Pool]
    name: orm.Mapped[_Name]
    instance_uuid: orm.Mapped[_Id]
    created_at: orm.Mapped[_Moment]


class RecreationRow(Base):
    """A clone that was asked for after a deletion, by who knew of it."""

    __tablename__ = 'recreations'
    __table_args__ = _options(sqlite_autoincrement=False)

    clone_id: orm.Mapped[int] = orm.mapped_column(
        _Serial,
        sa.ForeignKey('clones.id'),
        primary_key=True,
        autoincrement=False,
    )
    after: orm.Mapped[_Big]


#: The tables as Core knows them: no identity map and no flush in the hot path.
parents = cast(sa.Table, ParentRow.__table__)
clones = cast(sa.Table, CloneRow.__table__)
flattens = cast(sa.Table, FlattenRow.__table__)
bases = cast(sa.Table, BaseRow.__table__)
duties = cast(sa.Table, DutyRow.__table__)
workers = cast(sa.Table, WorkerRow.__table__)
deletions = cast(sa.Table, DeletionRow.__table__)
recreations = cast(sa.Table, RecreationRow.__table__)

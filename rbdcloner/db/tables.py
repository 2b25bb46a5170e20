# SPDX-License-Identifier: Apache-2.0
"""The two tables: parents, and the clones taken from them.

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
_Moment = Annotated[datetime.datetime, orm.mapped_column(_Time())]


class Base(orm.DeclarativeBase):
    """What the tables share: names for their constraints, and an engine."""

    metadata = sa.MetaData(
        naming_convention={
            'fk': 'fk_%(table_name)s_%(column_0_name)s',
            'ix': 'ix_%(table_name)s_%(column_0_N_name)s',
            'pk': 'pk_%(table_name)s',
        }
    )


def _options() -> dict[str, Any]:
    options: dict[str, Any] = {'sqlite_autoincrement': True}
    for dialect in ('mysql', 'mariadb'):
        options[f'{dialect}_engine'] = 'InnoDB'
        options[f'{dialect}_charset'] = 'utf8mb4'
        options[f'{dialect}_collate'] = 'utf8mb4_nopad_bin'
    return options


class ParentRow(Base):
    """A snapshot that children are, or were, taken from."""

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
        sa.Index('ix_parents_state', 'state', 'protector'),
        _options(),
    )

    id: orm.Mapped[int] = orm.mapped_column(_Serial, primary_key=True)
    fsid: orm.Mapped[_Id]
    pool: orm.Mapped[_Pool]
    namespace: orm.Mapped[_Pool]
    image_name: orm.Mapped[_Name]
    image_id: orm.Mapped[_Id]
    snapshot_name: orm.Mapped[_Name]
    snapshot_id: orm.Mapped[_Big]
    size_bytes: orm.Mapped[_Big]
    order: orm.Mapped[_Small]
    glance_image_id: orm.Mapped[_Id]
    protector: orm.Mapped[_Word]
    state: orm.Mapped[_Word]
    created_at: orm.Mapped[_Moment]
    updated_at: orm.Mapped[_Moment]


class CloneRow(Base):
    """A child image, whom it descends from, and what was promised.

    ``live`` is 1 until the state is final and NULL from then on: NULLs are
    distinct in a unique key, so that it holds one live row of a name and any
    number of final ones. ``parent_id`` may be NULL for a disk that descends
    from nobody.
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
        # Live children first; all of a parent's children too.
        sa.Index('ix_clones_parent', 'parent_id', 'live', 'id'),
        _options(),
    )

    id: orm.Mapped[int] = orm.mapped_column(_Serial, primary_key=True)
    uuid: orm.Mapped[str] = orm.mapped_column(sa.String(36))
    fsid: orm.Mapped[_Id]
    pool: orm.Mapped[_Pool]
    namespace: orm.Mapped[_Pool]
    name: orm.Mapped[_Name]
    image_id: orm.Mapped[_Id]
    live: orm.Mapped[int | None] = orm.mapped_column(sa.SmallInteger())
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
    lease_expires_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(
        _Time()
    )
    created_at: orm.Mapped[_Moment]
    updated_at: orm.Mapped[_Moment]


#: The tables as Core knows them: no identity map and no flush in the hot path.
parents = cast(sa.Table, ParentRow.__table__)
clones = cast(sa.Table, CloneRow.__table__)

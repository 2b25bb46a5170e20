# SPDX-License-Identifier: Apache-2.0
"""Make the tables of worker processes and deletions; nothing else changes.

The release before this one knows nothing of them. This one works without
them, until they are there.
"""

from typing import Any

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

revision = '0003'
down_revision = '0002'

_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')
_OPTIONS: dict[str, Any] = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_nopad_bin',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'mariadb_collate': 'utf8mb4_nopad_bin',
}


_SERIAL = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    """Make them."""
    op.create_table(
        'workers',
        sa.Column('owner', sa.String(255), nullable=False),
        sa.Column('host', sa.String(255), nullable=False),
        sa.Column('pid', sa.Integer(), nullable=False),
        sa.Column('version', sa.String(64), nullable=False),
        sa.Column('rpc_version', sa.String(16), nullable=False),
        sa.Column('clock_offset_ms', sa.BigInteger(), nullable=False),
        sa.Column('addresses', sa.Text(), nullable=False),
        sa.Column('started_at', _TIME, nullable=False),
        sa.Column('seen_at', _TIME, nullable=False),
        sa.Column('stopped_at', _TIME),
        sa.Column('shut_out_at', _TIME),
        sa.PrimaryKeyConstraint('owner', name='pk_workers'),
        **_OPTIONS,
    )
    op.create_table(
        'deletions',
        sa.Column('id', _SERIAL, nullable=False),
        sa.Column('call', sa.String(64), nullable=False),
        sa.Column('fsid', sa.String(64), nullable=False),
        sa.Column('pool', sa.String(128), nullable=False),
        sa.Column('name', sa.String(255), nullable=False),
        sa.Column('instance_uuid', sa.String(64), nullable=False),
        sa.Column('created_at', _TIME, nullable=False),
        sa.PrimaryKeyConstraint('id', name='pk_deletions'),
        sa.UniqueConstraint('call', name='uq_deletions_call'),
        sqlite_autoincrement=True,
        **_OPTIONS,
    )
    for index, columns in (
        ('ix_deletions_name', ['name', 'pool', 'fsid', 'id']),
        ('ix_deletions_instance', ['instance_uuid', 'name', 'id']),
        ('ix_deletions_created_at', ['created_at']),
    ):
        op.create_index(index, 'deletions', columns)
    op.create_table(
        'recreations',
        sa.Column('clone_id', _SERIAL, autoincrement=False, nullable=False),
        sa.Column('after', sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ['clone_id'], ['clones.id'], name='fk_recreations_clone_id'
        ),
        sa.PrimaryKeyConstraint('clone_id', name='pk_recreations'),
        **_OPTIONS,
    )

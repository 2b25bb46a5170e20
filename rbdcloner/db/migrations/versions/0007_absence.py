# SPDX-License-Identifier: Apache-2.0
"""Make the tables of absences, pools and brakes; nothing else changes.

The release before this one knows nothing of them. This one takes nothing for
deleted until they are there, unless it is told to wait for nothing.
"""

from typing import Any

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

revision = '0007'
down_revision = '0006'

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')
_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')
_OPTIONS: dict[str, Any] = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_nopad_bin',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'mariadb_collate': 'utf8mb4_nopad_bin',
}


def upgrade() -> None:
    """Make them."""
    op.create_table(
        'absences',
        sa.Column('clone_id', _SERIAL, nullable=False, autoincrement=False),
        sa.Column('since', _TIME, nullable=False),
        sa.Column('trashed', sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint('clone_id', name='pk_absences'),
        sa.ForeignKeyConstraint(
            ['clone_id'], ['clones.id'], name='fk_absences_clone_id'
        ),
        **_OPTIONS,
    )
    op.create_table(
        'pools',
        sa.Column('fsid', sa.String(64), nullable=False),
        sa.Column('name', sa.String(128), nullable=False),
        sa.Column('pool_id', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint('fsid', 'name', name='pk_pools'),
        **_OPTIONS,
    )
    op.create_table(
        'brakes',
        sa.Column('fsid', sa.String(64), nullable=False),
        sa.Column('name', sa.String(64), nullable=False),
        sa.Column('released', sa.Boolean(), nullable=False),
        sa.Column('reason', sa.Text(), nullable=False),
        sa.Column('engaged_at', _TIME, nullable=False),
        sa.PrimaryKeyConstraint('fsid', 'name', name='pk_brakes'),
        **_OPTIONS,
    )

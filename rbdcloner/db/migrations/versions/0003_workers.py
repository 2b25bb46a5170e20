# SPDX-License-Identifier: Apache-2.0
"""Make the table of the worker processes; nothing else changes.

The release before this one knows nothing of it. This one works without it,
until it is there.
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


def upgrade() -> None:
    """Make the one table."""
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

# SPDX-License-Identifier: Apache-2.0
"""Make the table of warrants; nothing else changes.

The release before this one knows nothing of it. This one works without it,
until it is there.
"""

from typing import Any

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

revision = '0008'
down_revision = '0007'

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
    """Make it."""
    op.create_table(
        'warrants',
        sa.Column('id', _SERIAL, nullable=False),
        sa.Column('clone_id', _SERIAL, nullable=False),
        sa.Column('ordered_by', sa.String(16), nullable=False),
        sa.Column('request', sa.String(64), nullable=False),
        sa.Column('evidence', sa.Text(), nullable=False),
        sa.Column('created_at', _TIME, nullable=False),
        sa.PrimaryKeyConstraint('id', name='pk_warrants'),
        sa.ForeignKeyConstraint(
            ['clone_id'], ['clones.id'], name='fk_warrants_clone_id'
        ),
        sqlite_autoincrement=True,
        **_OPTIONS,
    )
    op.create_index('ix_warrants_clone', 'warrants', ['clone_id', 'id'])

# SPDX-License-Identifier: Apache-2.0
"""Make the table of bases; nothing else changes.

The release before this one knows nothing of it. This one imports nothing
until it is there.
"""

from typing import Any

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

revision = '0004'
down_revision = '0003'

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
        'bases',
        sa.Column('id', _SERIAL, nullable=False),
        sa.Column('uuid', sa.String(36), nullable=False),
        sa.Column('fsid', sa.String(64), nullable=False),
        sa.Column('glance_image_id', sa.String(64), nullable=False),
        sa.Column('checksum', sa.String(255), nullable=False),
        sa.Column('state', sa.String(16), nullable=False),
        sa.Column('live', sa.SmallInteger()),
        sa.Column('clone_id', _SERIAL),
        sa.Column('slot', sa.SmallInteger()),
        sa.Column('way', sa.String(16), nullable=False),
        sa.Column('done_bytes', sa.BigInteger(), nullable=False),
        sa.Column('total_bytes', sa.BigInteger(), nullable=False),
        sa.Column('reason', sa.Text(), nullable=False),
        sa.Column('owner', sa.String(255), nullable=False),
        sa.Column('fence', sa.BigInteger(), nullable=False),
        sa.Column('lease_expires_at', _TIME),
        sa.Column('attempts', sa.Integer(), nullable=False),
        sa.Column('retry_at', _TIME),
        sa.Column('created_at', _TIME, nullable=False),
        sa.Column('updated_at', _TIME, nullable=False),
        sa.PrimaryKeyConstraint('id', name='pk_bases'),
        sa.ForeignKeyConstraint(
            ['clone_id'], ['clones.id'], name='fk_bases_clone_id'
        ),
        sa.UniqueConstraint('uuid', name='uq_bases_uuid'),
        sa.UniqueConstraint(
            'glance_image_id',
            'checksum',
            'fsid',
            'live',
            name='uq_bases_live_image',
        ),
        sa.UniqueConstraint('slot', name='uq_bases_slot'),
        sqlite_autoincrement=True,
        **_OPTIONS,
    )
    op.create_index('ix_bases_clone', 'bases', ['clone_id'])
    op.create_index('ix_bases_state', 'bases', ['state', 'id'])

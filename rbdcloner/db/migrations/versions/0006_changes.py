# SPDX-License-Identifier: Apache-2.0
"""Make the table of requests that change disks; nothing else changes."""

from typing import Any

from alembic import op
import sqlalchemy as sa

revision = '0006'
down_revision = '0005'

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')
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
        'changes',
        sa.Column('id', _SERIAL, nullable=False, autoincrement=False),
        sa.Column('clone_id', sa.BigInteger(), nullable=False),
        sa.Column('parent_id', sa.BigInteger()),
        sa.Column('open', sa.SmallInteger()),
        sa.PrimaryKeyConstraint('id', name='pk_changes'),
        **_OPTIONS,
    )
    op.create_index('ix_changes_clone', 'changes', ['clone_id', 'open'])

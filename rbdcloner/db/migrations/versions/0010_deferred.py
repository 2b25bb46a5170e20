# SPDX-License-Identifier: Apache-2.0
"""Make the table of deletions that came while the database was older.

Nothing else changes. The release before this one knows nothing of it. Until
it is there, such a deletion of a disk that has no row is not carried out.
"""

from typing import Any

from alembic import op
import sqlalchemy as sa

revision = '0010'
down_revision = '0009'

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
        'deferred_deletions',
        sa.Column('id', _SERIAL, nullable=False, autoincrement=False),
        sa.Column('suffix', sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint('id', name='pk_deferred_deletions'),
        **_OPTIONS,
    )

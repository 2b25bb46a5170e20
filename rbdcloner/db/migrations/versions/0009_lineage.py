# SPDX-License-Identifier: Apache-2.0
"""Make the tables that say which lineage the database has, and how old it is.

Nothing else changes. The release before this one knows nothing of them. This
one does not notice that a database is older than its pools until they are
there.
"""

import datetime
from typing import Any
import uuid

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

revision = '0009'
down_revision = '0008'

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
    """Make them, and the identity of the lineage."""
    op.create_table(
        'marked_pools',
        sa.Column('fsid', sa.String(64), nullable=False),
        sa.Column('pool', sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint('fsid', 'pool', name='pk_marked_pools'),
        **_OPTIONS,
    )
    lineage = op.create_table(
        'lineage',
        sa.Column('uuid', sa.String(36), nullable=False),
        sa.Column('generation', sa.BigInteger(), nullable=False),
        sa.Column('stamp', sa.String(64), nullable=False),
        sa.Column('advanced_at', _TIME, nullable=False),
        sa.Column('stopped', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('uuid', name='pk_lineage'),
        **_OPTIONS,
    )
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    op.bulk_insert(
        lineage,
        [
            {
                'uuid': str(uuid.uuid4()),
                'generation': 0,
                'stamp': '',
                'advanced_at': now,
                'stopped': '',
            }
        ],
    )

# SPDX-License-Identifier: Apache-2.0
"""Record when a base was asked for last.

NULL, as in all rows that are there: no caller waits for it, and it is
imported whether any does.
"""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

revision = '0005'
down_revision = '0004'

_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')


def upgrade() -> None:
    """Add the column."""
    op.add_column('bases', sa.Column('asked_at', _TIME))

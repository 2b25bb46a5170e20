# SPDX-License-Identifier: Apache-2.0
"""Make the lineage's two tables."""

from typing import Any

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

revision = '0001'
down_revision = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')
_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')
_OPTIONS: dict[str, Any] = {
    'sqlite_autoincrement': True,
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_nopad_bin',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'mariadb_collate': 'utf8mb4_nopad_bin',
}


def upgrade() -> None:
    """Make parents before the clones that refer to them."""
    _create_parents()
    op.create_index('ix_parents_state', 'parents', ['state', 'protector'])
    _create_clones()
    for name, *columns in (
        ('instance', 'instance_uuid', 'id'),
        ('glance_image', 'glance_image_id', 'id'),
        ('project', 'project_id', 'id'),
        ('host', 'host', 'id'),
        ('pool', 'pool', 'id'),
        ('state', 'state', 'id'),
        ('parent', 'parent_id', 'live', 'id'),
    ):
        op.create_index(f'ix_clones_{name}', 'clones', columns)


def _create_parents() -> None:
    op.create_table(
        'parents',
        sa.Column('id', _SERIAL, nullable=False),
        sa.Column('fsid', sa.String(64), nullable=False),
        sa.Column('pool', sa.String(128), nullable=False),
        sa.Column('namespace', sa.String(128), nullable=False),
        sa.Column('image_name', sa.String(255), nullable=False),
        sa.Column('image_id', sa.String(64), nullable=False),
        sa.Column('snapshot_name', sa.String(255), nullable=False),
        sa.Column('snapshot_id', sa.BigInteger(), nullable=False),
        sa.Column('size_bytes', sa.BigInteger(), nullable=False),
        sa.Column('order', sa.SmallInteger(), nullable=False),
        sa.Column('glance_image_id', sa.String(64), nullable=False),
        sa.Column('protector', sa.String(16), nullable=False),
        sa.Column('state', sa.String(16), nullable=False),
        sa.Column('created_at', _TIME, nullable=False),
        sa.Column('updated_at', _TIME, nullable=False),
        sa.PrimaryKeyConstraint('id', name='pk_parents'),
        sa.UniqueConstraint(
            'image_id',
            'snapshot_id',
            'pool',
            'namespace',
            'fsid',
            name='uq_parents_snapshot',
        ),
        **_OPTIONS,
    )


def _create_clones() -> None:
    op.create_table(
        'clones',
        sa.Column('id', _SERIAL, nullable=False),
        sa.Column('uuid', sa.String(36), nullable=False),
        sa.Column('fsid', sa.String(64), nullable=False),
        sa.Column('pool', sa.String(128), nullable=False),
        sa.Column('namespace', sa.String(128), nullable=False),
        sa.Column('name', sa.String(255), nullable=False),
        sa.Column('image_id', sa.String(64), nullable=False),
        sa.Column('live', sa.SmallInteger(), nullable=True),
        sa.Column('size_bytes', sa.BigInteger(), nullable=False),
        sa.Column('clone_format', sa.SmallInteger(), nullable=False),
        sa.Column('parent_id', _SERIAL, nullable=True),
        sa.Column('glance_image_id', sa.String(64), nullable=False),
        sa.Column('instance_uuid', sa.String(64), nullable=False),
        sa.Column('project_id', sa.String(255), nullable=False),
        sa.Column('host', sa.String(255), nullable=False),
        sa.Column('state', sa.String(16), nullable=False),
        sa.Column('reason', sa.Text(), nullable=False),
        sa.Column('owner', sa.String(255), nullable=False),
        sa.Column('fence', sa.BigInteger(), nullable=False),
        sa.Column('lease_expires_at', _TIME, nullable=True),
        sa.Column('created_at', _TIME, nullable=False),
        sa.Column('updated_at', _TIME, nullable=False),
        sa.PrimaryKeyConstraint('id', name='pk_clones'),
        sa.ForeignKeyConstraint(
            ['parent_id'], ['parents.id'], name='fk_clones_parent_id'
        ),
        sa.UniqueConstraint(
            'name',
            'pool',
            'namespace',
            'fsid',
            'live',
            name='uq_clones_live_name',
        ),
        sa.UniqueConstraint('uuid', name='uq_clones_uuid'),
        **_OPTIONS,
    )

# SPDX-License-Identifier: Apache-2.0
"""Create the lineage's tables, and name the lineage."""

import datetime
from typing import Any
import uuid

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

revision = '0001'
down_revision = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')
_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')


def _options(sqlite_autoincrement: bool) -> dict[str, Any]:
    """Return what each dialect is told of a table."""
    told: dict[str, Any] = {'sqlite_autoincrement': sqlite_autoincrement}
    for dialect in ('mysql', 'mariadb'):
        told[f'{dialect}_engine'] = 'InnoDB'
        told[f'{dialect}_charset'] = 'utf8mb4'
        told[f'{dialect}_collate'] = 'utf8mb4_nopad_bin'
    return told


def upgrade() -> None:
    """Create tables before those that refer to them."""
    _create_brakes()
    _create_changes()
    _create_deferred_deletions()
    _create_deletions()
    _create_duties()
    _create_lineage()
    _create_marked_pools()
    _create_parents()
    _create_pools()
    _create_workers()
    _create_clones()
    _create_absences()
    _create_bases()
    _create_flattens()
    _create_recreations()
    _create_warrants()


def _create_brakes() -> None:
    op.create_table(
        'brakes',
        sa.Column('fsid', sa.String(64), nullable=False),
        sa.Column('name', sa.String(64), nullable=False),
        sa.Column('released', sa.Boolean(), nullable=False),
        sa.Column('reason', sa.Text(), nullable=False),
        sa.Column('engaged_at', _TIME, nullable=False),
        sa.PrimaryKeyConstraint('fsid', 'name', name='pk_brakes'),
        **_options(False),
    )


def _create_changes() -> None:
    op.create_table(
        'changes',
        sa.Column('id', _SERIAL, autoincrement=False, nullable=False),
        sa.Column('clone_id', sa.BigInteger(), nullable=False),
        sa.Column('parent_id', sa.BigInteger(), nullable=True),
        sa.Column('open', sa.SmallInteger(), nullable=True),
        sa.PrimaryKeyConstraint('id', name='pk_changes'),
        **_options(False),
    )
    op.create_index('ix_changes_clone', 'changes', ['clone_id', 'open'])


def _create_deferred_deletions() -> None:
    op.create_table(
        'deferred_deletions',
        sa.Column('id', _SERIAL, autoincrement=False, nullable=False),
        sa.Column('suffix', sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint('id', name='pk_deferred_deletions'),
        **_options(False),
    )


def _create_deletions() -> None:
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
        **_options(True),
    )
    op.create_index('ix_deletions_created_at', 'deletions', ['created_at'])
    op.create_index(
        'ix_deletions_instance', 'deletions', ['instance_uuid', 'name', 'id']
    )
    op.create_index(
        'ix_deletions_name', 'deletions', ['name', 'pool', 'fsid', 'id']
    )


def _create_duties() -> None:
    op.create_table(
        'duties',
        sa.Column('name', sa.String(64), nullable=False),
        sa.Column('owner', sa.String(255), nullable=False),
        sa.Column('due_at', _TIME, nullable=False),
        sa.PrimaryKeyConstraint('name', name='pk_duties'),
        **_options(False),
    )


def _create_lineage() -> None:
    table = op.create_table(
        'lineage',
        sa.Column('uuid', sa.String(36), nullable=False),
        sa.Column('generation', sa.BigInteger(), nullable=False),
        sa.Column('stamp', sa.String(64), nullable=False),
        sa.Column('advanced_at', _TIME, nullable=False),
        sa.Column('stopped', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('uuid', name='pk_lineage'),
        **_options(False),
    )
    row = {
        'uuid': str(uuid.uuid4()),
        'generation': 0,
        'stamp': '',
        'advanced_at': datetime.datetime.now(datetime.UTC).replace(
            tzinfo=None
        ),
        'stopped': '',
    }
    op.bulk_insert(table, [row])


def _create_marked_pools() -> None:
    op.create_table(
        'marked_pools',
        sa.Column('fsid', sa.String(64), nullable=False),
        sa.Column('pool', sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint('fsid', 'pool', name='pk_marked_pools'),
        **_options(False),
    )


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
        sa.Column('snapshot_id', sa.BigInteger(), nullable=True),
        sa.Column('live', sa.SmallInteger(), nullable=True),
        sa.Column('size_bytes', sa.BigInteger(), nullable=False),
        sa.Column('order', sa.SmallInteger(), nullable=False),
        sa.Column('glance_image_id', sa.String(64), nullable=False),
        sa.Column('protector', sa.String(16), nullable=False),
        sa.Column(
            'purpose', sa.String(16), server_default='adopted', nullable=False
        ),
        sa.Column(
            'depth', sa.SmallInteger(), server_default='0', nullable=False
        ),
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
        sa.UniqueConstraint(
            'image_id',
            'snapshot_name',
            'pool',
            'namespace',
            'fsid',
            'live',
            name='uq_parents_live_name',
        ),
        **_options(True),
    )
    op.create_index('ix_parents_purpose', 'parents', ['purpose', 'state'])
    op.create_index('ix_parents_state', 'parents', ['state', 'protector'])


def _create_pools() -> None:
    op.create_table(
        'pools',
        sa.Column('fsid', sa.String(64), nullable=False),
        sa.Column('name', sa.String(128), nullable=False),
        sa.Column('pool_id', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint('fsid', 'name', name='pk_pools'),
        **_options(False),
    )


def _create_workers() -> None:
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
        sa.Column('stopped_at', _TIME, nullable=True),
        sa.Column('shut_out_at', _TIME, nullable=True),
        sa.PrimaryKeyConstraint('owner', name='pk_workers'),
        **_options(False),
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
        sa.Column(
            'kind', sa.String(16), server_default='disk', nullable=False
        ),
        sa.Column(
            'attached', sa.SmallInteger(), server_default='1', nullable=True
        ),
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
        sa.Column(
            'attempts', sa.Integer(), server_default='0', nullable=False
        ),
        sa.Column('retry_at', _TIME, nullable=True),
        sa.Column('rollback_to', sa.BigInteger(), nullable=True),
        sa.Column('held_bytes', sa.BigInteger(), nullable=True),
        sa.Column('created_at', _TIME, nullable=False),
        sa.Column('updated_at', _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ['parent_id'], ['parents.id'], name='fk_clones_parent_id'
        ),
        sa.PrimaryKeyConstraint('id', name='pk_clones'),
        sa.UniqueConstraint(
            'name',
            'pool',
            'namespace',
            'fsid',
            'live',
            name='uq_clones_live_name',
        ),
        sa.UniqueConstraint('uuid', name='uq_clones_uuid'),
        **_options(True),
    )
    op.create_index(
        'ix_clones_children', 'clones', ['parent_id', 'attached', 'id']
    )
    op.create_index(
        'ix_clones_glance_image', 'clones', ['glance_image_id', 'id']
    )
    op.create_index('ix_clones_host', 'clones', ['host', 'id'])
    op.create_index('ix_clones_image', 'clones', ['image_id', 'pool'])
    op.create_index('ix_clones_instance', 'clones', ['instance_uuid', 'id'])
    op.create_index('ix_clones_pool', 'clones', ['pool', 'id'])
    op.create_index('ix_clones_project', 'clones', ['project_id', 'id'])
    op.create_index('ix_clones_state', 'clones', ['state', 'id'])


def _create_absences() -> None:
    op.create_table(
        'absences',
        sa.Column('clone_id', _SERIAL, autoincrement=False, nullable=False),
        sa.Column('since', _TIME, nullable=False),
        sa.Column('trashed', sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ['clone_id'], ['clones.id'], name='fk_absences_clone_id'
        ),
        sa.PrimaryKeyConstraint('clone_id', name='pk_absences'),
        **_options(False),
    )


def _create_bases() -> None:
    op.create_table(
        'bases',
        sa.Column('uuid', sa.String(36), nullable=False),
        sa.Column('fsid', sa.String(64), nullable=False),
        sa.Column('glance_image_id', sa.String(64), nullable=False),
        sa.Column('checksum', sa.String(255), nullable=False),
        sa.Column('clone_id', _SERIAL, nullable=True),
        sa.Column('way', sa.String(16), nullable=False),
        sa.Column('done_bytes', sa.BigInteger(), nullable=False),
        sa.Column('total_bytes', sa.BigInteger(), nullable=False),
        sa.Column('asked_at', _TIME, nullable=True),
        sa.Column('id', _SERIAL, nullable=False),
        sa.Column('state', sa.String(16), nullable=False),
        sa.Column('live', sa.SmallInteger(), nullable=True),
        sa.Column('slot', sa.SmallInteger(), nullable=True),
        sa.Column('reason', sa.Text(), nullable=False),
        sa.Column('owner', sa.String(255), nullable=False),
        sa.Column('fence', sa.BigInteger(), nullable=False),
        sa.Column('lease_expires_at', _TIME, nullable=True),
        sa.Column('attempts', sa.Integer(), nullable=False),
        sa.Column('retry_at', _TIME, nullable=True),
        sa.Column('created_at', _TIME, nullable=False),
        sa.Column('updated_at', _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ['clone_id'], ['clones.id'], name='fk_bases_clone_id'
        ),
        sa.PrimaryKeyConstraint('id', name='pk_bases'),
        sa.UniqueConstraint(
            'glance_image_id',
            'checksum',
            'fsid',
            'live',
            name='uq_bases_live_image',
        ),
        sa.UniqueConstraint('slot', name='uq_bases_slot'),
        sa.UniqueConstraint('uuid', name='uq_bases_uuid'),
        **_options(True),
    )
    op.create_index('ix_bases_clone', 'bases', ['clone_id'])
    op.create_index('ix_bases_state', 'bases', ['state', 'id'])


def _create_flattens() -> None:
    op.create_table(
        'flattens',
        sa.Column('clone_id', _SERIAL, nullable=False),
        sa.Column('why', sa.String(16), nullable=False),
        sa.Column('forced', sa.Boolean(), nullable=False),
        sa.Column('done_objects', sa.BigInteger(), nullable=False),
        sa.Column('total_objects', sa.BigInteger(), nullable=False),
        sa.Column('id', _SERIAL, nullable=False),
        sa.Column('state', sa.String(16), nullable=False),
        sa.Column('live', sa.SmallInteger(), nullable=True),
        sa.Column('slot', sa.SmallInteger(), nullable=True),
        sa.Column('reason', sa.Text(), nullable=False),
        sa.Column('owner', sa.String(255), nullable=False),
        sa.Column('fence', sa.BigInteger(), nullable=False),
        sa.Column('lease_expires_at', _TIME, nullable=True),
        sa.Column('attempts', sa.Integer(), nullable=False),
        sa.Column('retry_at', _TIME, nullable=True),
        sa.Column('created_at', _TIME, nullable=False),
        sa.Column('updated_at', _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ['clone_id'], ['clones.id'], name='fk_flattens_clone_id'
        ),
        sa.PrimaryKeyConstraint('id', name='pk_flattens'),
        sa.UniqueConstraint('clone_id', 'live', name='uq_flattens_live_clone'),
        sa.UniqueConstraint('slot', name='uq_flattens_slot'),
        **_options(True),
    )
    op.create_index('ix_flattens_state', 'flattens', ['state', 'id'])


def _create_recreations() -> None:
    op.create_table(
        'recreations',
        sa.Column('clone_id', _SERIAL, autoincrement=False, nullable=False),
        sa.Column('after', sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ['clone_id'], ['clones.id'], name='fk_recreations_clone_id'
        ),
        sa.PrimaryKeyConstraint('clone_id', name='pk_recreations'),
        **_options(False),
    )


def _create_warrants() -> None:
    op.create_table(
        'warrants',
        sa.Column('id', _SERIAL, nullable=False),
        sa.Column('clone_id', _SERIAL, nullable=False),
        sa.Column('ordered_by', sa.String(16), nullable=False),
        sa.Column('request', sa.String(64), nullable=False),
        sa.Column('evidence', sa.Text(), nullable=False),
        sa.Column('created_at', _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ['clone_id'], ['clones.id'], name='fk_warrants_clone_id'
        ),
        sa.PrimaryKeyConstraint('id', name='pk_warrants'),
        **_options(True),
    )
    op.create_index('ix_warrants_clone', 'warrants', ['clone_id', 'id'])

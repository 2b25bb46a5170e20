# SPDX-License-Identifier: Apache-2.0
"""Make room for what is deleted in any order, for flattens and for duties.

The release before this one still runs on the result: what it does not write
has a default. Its rows count as attached, which at worst keeps a parent.
"""

from typing import Any

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

revision = '0002'
down_revision = '0001'

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
    """Extend both tables and make the two new ones."""
    _extend_parents()
    _extend_clones()
    _create_flattens()
    op.create_table(
        'duties',
        sa.Column('name', sa.String(64), nullable=False),
        sa.Column('owner', sa.String(255), nullable=False),
        sa.Column('due_at', _TIME, nullable=False),
        sa.PrimaryKeyConstraint('name', name='pk_duties'),
        **_OPTIONS,
    )


def _extend_parents() -> None:
    with op.batch_alter_table(
        'parents', table_kwargs={'sqlite_autoincrement': True}
    ) as parents:
        parents.alter_column(
            'snapshot_id', existing_type=sa.BigInteger(), nullable=True
        )
        parents.add_column(sa.Column('live', sa.SmallInteger()))
        parents.add_column(
            sa.Column(
                'purpose',
                sa.String(16),
                nullable=False,
                server_default='adopted',
            )
        )
        parents.add_column(
            sa.Column(
                'depth', sa.SmallInteger(), nullable=False, server_default='0'
            )
        )
        parents.create_unique_constraint(
            'uq_parents_live_name',
            ['image_id', 'snapshot_name', 'pool', 'namespace', 'fsid', 'live'],
        )
    op.create_index('ix_parents_purpose', 'parents', ['purpose', 'state'])


def _extend_clones() -> None:
    for column in (
        sa.Column(
            'kind', sa.String(16), nullable=False, server_default='disk'
        ),
        sa.Column('attached', sa.SmallInteger(), server_default='1'),
        sa.Column(
            'attempts', sa.Integer(), nullable=False, server_default='0'
        ),
        sa.Column('retry_at', _TIME),
        sa.Column('rollback_to', sa.BigInteger()),
        sa.Column('held_bytes', sa.BigInteger()),
    ):
        op.add_column('clones', column)
    clones = sa.table('clones', sa.column('attached'), sa.column('state'))
    op.execute(
        sa.update(clones)
        .where(clones.c.state.in_(['deleted', 'failed']))
        .values(attached=sa.null())
    )
    op.create_index('ix_clones_image', 'clones', ['image_id', 'pool'])
    # The new one first: MariaDB wants an index for the foreign key.
    op.create_index(
        'ix_clones_children', 'clones', ['parent_id', 'attached', 'id']
    )
    op.drop_index('ix_clones_parent', 'clones')


def _create_flattens() -> None:
    op.create_table(
        'flattens',
        sa.Column('id', _SERIAL, nullable=False),
        sa.Column('clone_id', _SERIAL, nullable=False),
        sa.Column('why', sa.String(16), nullable=False),
        sa.Column('forced', sa.Boolean(), nullable=False),
        sa.Column('state', sa.String(16), nullable=False),
        sa.Column('live', sa.SmallInteger()),
        sa.Column('slot', sa.SmallInteger()),
        sa.Column('done_objects', sa.BigInteger(), nullable=False),
        sa.Column('total_objects', sa.BigInteger(), nullable=False),
        sa.Column('reason', sa.Text(), nullable=False),
        sa.Column('owner', sa.String(255), nullable=False),
        sa.Column('fence', sa.BigInteger(), nullable=False),
        sa.Column('lease_expires_at', _TIME),
        sa.Column('attempts', sa.Integer(), nullable=False),
        sa.Column('retry_at', _TIME),
        sa.Column('created_at', _TIME, nullable=False),
        sa.Column('updated_at', _TIME, nullable=False),
        sa.PrimaryKeyConstraint('id', name='pk_flattens'),
        sa.ForeignKeyConstraint(
            ['clone_id'], ['clones.id'], name='fk_flattens_clone_id'
        ),
        sa.UniqueConstraint('clone_id', 'live', name='uq_flattens_live_clone'),
        sa.UniqueConstraint('slot', name='uq_flattens_slot'),
        sqlite_autoincrement=True,
        **_OPTIONS,
    )
    op.create_index('ix_flattens_state', 'flattens', ['state', 'id'])

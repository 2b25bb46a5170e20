# SPDX-License-Identifier: Apache-2.0
"""A made-up next release: its migration, beside the real ones."""

from collections.abc import Iterator
import contextlib
import pathlib
import shutil
from unittest import mock

from rbdcloner.db.core import upgrade

REVISION = 'next'

_MIGRATION = """
from alembic import op
import sqlalchemy as sa

revision = {revision!r}
down_revision = {before!r}


def upgrade():
    op.add_column('clones', sa.Column('colour', sa.String(16), nullable=True))
    op.create_table('colours', sa.Column('name', sa.String(16)))
"""


@contextlib.contextmanager
def installed(folder: pathlib.Path) -> Iterator[None]:
    """Let this process be of the next release, which has another migration.

    It adds what this release does not know: a column and a table.
    """
    scripts = folder / 'migrations'
    shutil.copytree(upgrade.SCRIPTS, scripts)
    text = _MIGRATION.format(revision=REVISION, before=upgrade.needed())
    (scripts / 'versions' / 'next.py').write_text(text)
    with mock.patch.object(upgrade, 'SCRIPTS', scripts):
        yield

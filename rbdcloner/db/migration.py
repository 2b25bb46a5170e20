# SPDX-License-Identifier: Apache-2.0
"""Which revision the schema is at, which this release needs, and the way."""

from collections.abc import Iterator
import contextlib
import pathlib

from alembic import command
from alembic import config
from alembic import script
from alembic.runtime import migration as runtime
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import failures

#: The oldest revision that this release works on, the release before's.
OLDEST = '0002'

_SCRIPTS = pathlib.Path(__file__).with_name('migrations')


def upgrade(engine: sa.Engine, revision: str = 'head') -> None:
    """Bring the schema to *revision*, else to what this release needs.

    Repeated, it changes nothing. Run one at a time: MariaDB commits each
    statement that changes a table on its own.

    :raises DatabaseUnavailable: it cannot be reached.
    """
    settings = _settings()
    with (
        failures.named(),
        engine.connect() as connection,
        _tables_may_be_replaced(connection),
        connection.begin(),
    ):
        settings.attributes['connection'] = connection
        command.upgrade(settings, revision)


def current(engine: sa.Engine) -> str | None:
    """Return the revision that the schema is at, None without a schema.

    :raises DatabaseUnavailable: it cannot be reached.
    """
    with failures.named(), engine.connect() as connection:
        return revision_of(connection)


def revision_of(connection: sa.Connection) -> str | None:
    """Return as :func:`current`, in a transaction."""
    context = runtime.MigrationContext.configure(connection)
    return context.get_current_revision()


def needed() -> str:
    """Return the revision that this release needs."""
    head = script.ScriptDirectory.from_config(_settings()).get_current_head()
    return str(head)


def check(engine: sa.Engine) -> str | None:
    """Refuse a schema that this release cannot work on, or none.

    A revision that this release does not know is a newer one, on which it
    still works: managers are upgraded one after the other. Returns the
    revision if it is an older one, on which something does not work yet.

    :raises DatabaseRevision: ``rbdcloner-manage db sync`` must be run.
    :raises DatabaseUnavailable: it cannot be reached.
    """
    revision = current(engine)
    scripts = script.ScriptDirectory.from_config(_settings())
    known = [entry.revision for entry in scripts.walk_revisions()]
    enough = known[: known.index(OLDEST) + 1]
    if revision is None or revision in set(known) - set(enough):
        raise errors.DatabaseRevision(current=revision, needed=needed())
    return revision if revision in enough[1:] else None


@contextlib.contextmanager
def _tables_may_be_replaced(connection: sa.Connection) -> Iterator[None]:
    """Let SQLite drop a table that others refer to, to rename its successor.

    It takes this setting only outside a transaction, hence past SQLAlchemy,
    which would begin one.
    """
    if connection.dialect.name != 'sqlite':
        yield
        return
    cursor = connection.connection.cursor()
    cursor.execute('PRAGMA foreign_keys = OFF')
    try:
        yield
    finally:
        cursor.execute('PRAGMA foreign_keys = ON')


def _settings() -> config.Config:
    settings = config.Config()
    # ConfigParser reads a % as its own.
    settings.set_main_option(
        'script_location', str(_SCRIPTS).replace('%', '%%')
    )
    return settings

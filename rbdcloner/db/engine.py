# SPDX-License-Identifier: Apache-2.0
"""A SQLAlchemy engine from oslo.db's options, with what lineage relies on.

That is: each statement sees all that was committed before it (READ
COMMITTED), a SQLite writer has the lock from its first statement, foreign
keys are real, a commit survives a power cut, and no wait is without an end.
"""

from typing import Any

from oslo_db.sqlalchemy import enginefacade
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy import exc as sa_exc

from rbdcloner import errors

#: Marks an engine whose transactions only read.
READS = 'rbdcloner_reads'

# Applied where the URL does not say otherwise: seconds, but for
# PostgreSQL's milliseconds. The drivers' own defaults wait for ever.
_LIMITS: dict[str, dict[str, str]] = {
    'sqlite': {'timeout': '10'},
    'mysql': {
        'charset': 'utf8mb4',
        'connect_timeout': '5',
        'read_timeout': '20',
        'write_timeout': '20',
    },
    'postgresql': {
        'connect_timeout': '5',
        'tcp_user_timeout': '20000',
        'options': '-c statement_timeout=20000',
    },
}
_LIMITS['mariadb'] = _LIMITS['mysql']

_DEFAULTS = {
    # Nothing is tried when the engine is made: the first transaction is.
    'max_retries': 0,
    'pool_timeout': 10,
    'thread_checkin': False,
    'sqlite_fk': True,
}


def connect(connection: str, **options: Any) -> sa.Engine:
    """Return an engine for the URL *connection*; nothing is opened yet.

    *options* are those of oslo.db's ``[database]`` group; one that is None
    has its default. Those about repeating transactions (``db_*``) have no
    effect: :mod:`rbdcloner.db.transaction` decides that. Make the engine
    after a fork.

    :raises ConfigurationError: the URL is not one, or its driver is missing.
    """
    given = {k: v for k, v in options.items() if v not in (None, '')}
    settings = {**_DEFAULTS, **given}
    manager = enginefacade.transaction_context()
    manager.append_on_engine_create(_prepare)
    try:
        url = _with_limits(connection)
        if url.get_backend_name() == 'sqlite':
            # oslo.db pools no SQLite connections, and trips over this one.
            del settings['pool_timeout']
        manager.configure(
            connection=url.render_as_string(hide_password=False), **settings
        )
        return manager.writer.get_engine()
    except (sa_exc.ArgumentError, ImportError) as exc:
        raise errors.ConfigurationError(
            problem='[database] connection is not a URL of a known database',
            remedy='Use sqlite:///, mysql+pymysql:// or postgresql+psycopg2://'
            ' and install its driver',
        ) from exc


def _with_limits(connection: str) -> sa.URL:
    url = sa.make_url(connection)
    limits = _LIMITS.get(url.get_backend_name(), {})
    missing = {k: v for k, v in limits.items() if k not in url.query}
    return url.update_query_dict(missing)


def _prepare(engine: sa.Engine) -> None:
    if engine.dialect.name == 'sqlite':
        event.listen(engine, 'connect', _prepare_sqlite)
        for listener in list(engine.dispatch.begin):
            event.remove(engine, 'begin', listener)
        event.listen(engine, 'begin', _begin_sqlite)
        return
    event.listen(engine, 'connect', _READ_COMMITTED[engine.dialect.name])


def _prepare_sqlite(connection: Any, record: Any) -> None:
    # In WAL mode readers and the writer do not wait for each other. oslo.db
    # has chosen synchronous=OFF by now where its option asks for it; else
    # FULL is SQLite's default, which in WAL mode syncs on each commit.
    connection.execute('PRAGMA journal_mode = WAL')


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads and then writes fails at once under oslo.db's
    # deferred BEGIN, which this replaces, when another wrote in between: a
    # writer takes the lock first, and waits for it.
    reads = connection.get_execution_options().get(READS)
    connection.exec_driver_sql('BEGIN' if reads else 'BEGIN IMMEDIATE')


def _prepare_mariadb(connection: Any, record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            'SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED'
        )


def _prepare_postgresql(connection: Any, record: Any) -> None:
    connection.set_session(isolation_level='READ COMMITTED')


_READ_COMMITTED = {
    'mysql': _prepare_mariadb,
    'mariadb': _prepare_mariadb,
    'postgresql': _prepare_postgresql,
}

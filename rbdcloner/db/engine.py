# SPDX-License-Identifier: Apache-2.0
"""A SQLAlchemy engine from oslo.db's options, with what lineage relies on.

That is: each statement sees all that was committed before it (READ
COMMITTED), a SQLite writer has the lock from its first statement, foreign
keys are real, a commit survives a power cut, and no wait is without an end:
who stops in the middle of a transaction loses it, and keeps nobody waiting.
"""

from typing import Any

from oslo_db.sqlalchemy import enginefacade
from oslo_db.sqlalchemy import exc_filters
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy import exc as sa_exc
import tenacity

from rbdcloner import errors
from rbdcloner.db import failures

#: Marks an engine whose transactions only read.
READS = 'rbdcloner_reads'

#: Which extra has a driver, by the driver's module.
_EXTRAS = {'psycopg2': 'postgresql', 'pymysql': 'mysql'}
_URLS = 'Use sqlite:///, mysql+pymysql:// or postgresql+psycopg2://'

_LOCKED_S = 10
#: Less than a lease: who takes over does not wait for a process that stopped.
_IDLE_S = 3

# Applied where the URL does not say otherwise: seconds, but for
# PostgreSQL's milliseconds. The drivers' own defaults wait for ever.
_LIMITS: dict[str, dict[str, str]] = {
    'sqlite': {'timeout': str(_LOCKED_S)},
    'mysql': {
        'charset': 'utf8mb4',
        'connect_timeout': '5',
        'read_timeout': '10',
        'write_timeout': '10',
    },
    'postgresql': {
        'connect_timeout': '5',
        'tcp_user_timeout': '10000',
        'options': '-c statement_timeout=10000'
        f' -c idle_in_transaction_session_timeout={_IDLE_S * 1000}',
    },
}
_LIMITS['mariadb'] = _LIMITS['mysql']

_DEFAULTS: dict[str, Any] = {
    # Nothing is tried when the engine is made: the first transaction is.
    'max_retries': 0,
    'max_pool_size': 32,
    'pool_timeout': 10,
    'thread_checkin': False,
}


def connect(connection: str, **options: Any) -> sa.Engine:
    """Return an engine for the URL *connection*; nothing is opened yet.

    *options* are those of oslo.db's ``[database]`` group; one that is None
    has its default. Those about repeating transactions (``db_*``) have no
    effect: :mod:`rbdcloner.db.transaction` decides that. Make the engine
    after a fork. oslo.db's ``max_retries``, unless 0, has it wait for the
    server here and now.

    :raises ConfigurationError: the URL is not one, or its driver is missing.
    :raises DatabaseUnavailable: ``max_retries`` were in vain.
    """
    given = {k: v for k, v in options.items() if v not in (None, '')}
    try:
        url = _with_limits(connection)
        if url.get_backend_name() == 'sqlite':
            if url.database in (None, '', ':memory:'):
                raise sa_exc.ArgumentError('a file is shared, memory is not')
            return _connect_sqlite(url, given)
        manager = enginefacade.transaction_context()
        manager.configure(
            connection=url.render_as_string(hide_password=False),
            **{**_DEFAULTS, **given},
        )
        manager.append_on_engine_create(_read_committed)
        with failures.named():
            return manager.writer.get_engine()
    except ImportError as exc:
        raise _driver_missing(exc) from exc
    except (sa_exc.ArgumentError, ValueError) as exc:
        raise errors.ConfigurationError(
            problem='[database] connection is not a URL of a known database',
            remedy=_URLS,
        ) from exc


def _driver_missing(error: ImportError) -> errors.ConfigurationError:
    extra = _EXTRAS.get(str(error.name))
    return errors.ConfigurationError(
        problem=f'The database driver of [database] connection cannot be '
        f'imported: {error}',
        remedy=f'Run "pip install rbdcloner[{extra}]"' if extra else _URLS,
    )


def _with_limits(connection: str) -> sa.URL:
    url = sa.make_url(connection)
    limits = _LIMITS.get(url.get_backend_name(), {})
    missing = {k: v for k, v in limits.items() if k not in url.query}
    return url.update_query_dict(missing)


def _connect_sqlite(url: sa.URL, options: dict[str, Any]) -> sa.Engine:
    # Not through oslo.db, which keeps no SQLite connection open: closing the
    # last one writes the whole log back, which took more than half the time
    # of a transaction. Its BEGIN is in the way, too.
    pool = {
        'pool_size': options.get('max_pool_size', _DEFAULTS['max_pool_size']),
        'max_overflow': options.get('max_overflow', -1),
    }
    engine = sa.create_engine(url, **pool)
    exc_filters.register_engine(engine)
    synchronous = options.get('sqlite_synchronous', True)

    @event.listens_for(engine, 'connect')
    def prepare(connection: Any, record: Any) -> None:
        # Python's own idea of when to BEGIN is switched off.
        connection.isolation_level = None
        connection.execute('PRAGMA foreign_keys = ON')
        # In WAL mode readers and the writer do not wait for each other; FULL
        # syncs the log on each commit.
        # While another makes the change SQLite does not wait for its end.
        _while_locked(connection.execute, 'PRAGMA journal_mode = WAL')
        level = 'FULL' if synchronous else 'OFF'
        connection.execute(f'PRAGMA synchronous = {level}')

    @event.listens_for(engine, 'begin')
    def begin(connection: sa.Connection) -> None:
        # A transaction that reads and then writes fails at once under a
        # deferred BEGIN when another wrote in between: a writer takes the
        # lock first, and waits for it.
        reads = connection.get_execution_options().get(READS)
        connection.exec_driver_sql('BEGIN' if reads else 'BEGIN IMMEDIATE')

    return engine


_while_locked = tenacity.Retrying(
    retry=tenacity.retry_if_exception_message(match='database is locked'),
    wait=tenacity.wait_random(0.01, 0.1),
    stop=tenacity.stop_after_delay(_LOCKED_S),
    reraise=True,
)


def _read_committed(engine: sa.Engine) -> None:
    @event.listens_for(engine, 'connect')
    def prepare(connection: Any, record: Any) -> None:
        if engine.dialect.name == 'postgresql':
            connection.set_session(isolation_level='READ COMMITTED')
            return
        with connection.cursor() as cursor:
            cursor.execute(
                'SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED'
            )
            if getattr(engine.dialect, 'is_mariadb', False):
                cursor.execute(
                    f'SET SESSION idle_transaction_timeout = {_IDLE_S}'
                )

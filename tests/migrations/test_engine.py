# SPDX-License-Identifier: Apache-2.0
"""A server that does not answer as it should is named, and soon."""

import contextlib
import socket
import time

from oslo_db import exception
import pytest
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import engine as db_engine
from rbdcloner.db import migration
from rbdcloner.db import tables
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Protector
from tests.lineage_suite.claims import FACTS
from tests.stack import shared

SOON_S = 12


@pytest.fixture(scope='session', params=['mariadb', 'postgresql'])
def server(request):
    """Of those that are servers: SQLite is a file."""
    return shared().databases[request.param]


def refusal(url, **changes):
    """Return what a read, a change and a look at the revision come to."""
    url = sa.make_url(url).set(**changes)
    engine = db_engine.connect(url.render_as_string(hide_password=False))
    lineage = Lineage(engine)
    messages = set()
    for call in (
        lineage.parents,
        lambda: lineage.adopt(FACTS, 'glance-image', Protector.NOBODY),
        lambda: migration.current(engine),
    ):
        began = time.monotonic()
        with pytest.raises(errors.DatabaseUnavailable) as caught:
            call()
        assert time.monotonic() - began < SOON_S
        messages.add(str(caught.value))
        assert url.password not in str(caught.value)
        assert 'SELECT' not in str(caught.value)
    (message,) = messages
    return message


def test_a_server_that_is_not_there_is_unavailable(url):
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        port = unused.getsockname()[1]
        assert 'cannot be reached' in refusal(url, port=port)


def test_a_server_that_says_nothing_is_unavailable(url):
    # The limits are put down for the test's sake; the next test has them.
    query = {'connect_timeout': '2'}
    if url.startswith('mysql'):
        query['read_timeout'] = '2'
    with socket.socket() as mute:
        mute.bind(('127.0.0.1', 0))
        mute.listen()
        port = mute.getsockname()[1]
        message = refusal(url, port=port, query=query)
    assert 'cannot be reached' in message


def test_waiting_for_a_server_at_the_start_ends(url):
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        port = unused.getsockname()[1]
        nowhere = sa.make_url(url).set(port=port)
        with pytest.raises(errors.DatabaseUnavailable):
            db_engine.connect(
                nowhere.render_as_string(hide_password=False),
                max_retries=2,
                retry_interval=0,
            )


def test_every_wait_has_an_end(url):
    query = db_engine.connect(url).url.query
    assert int(query['connect_timeout']) < SOON_S
    if url.startswith('mysql'):
        assert int(query['read_timeout']) < SOON_S
        assert int(query['write_timeout']) < SOON_S
    else:
        assert int(query['tcp_user_timeout']) < SOON_S * 1000
        assert 'statement_timeout' in query['options']


def test_who_stops_in_a_transaction_keeps_nobody_waiting(url):
    engine = db_engine.connect(url)
    migration.upgrade(engine)
    parent = Lineage(engine).adopt(FACTS, 'g', Protector.NOBODY)
    mine = sa.update(tables.parents).where(tables.parents.c.id == parent.id)
    with engine.connect() as stopped:
        stopped.execute(mine.values(glance_image_id='mine'))
        began = time.monotonic()
        with engine.begin() as another:
            another.execute(mine.values(glance_image_id='taken'))
        assert time.monotonic() - began < SOON_S
        with pytest.raises(exception.DBConnectionError):
            stopped.execute(mine.values(glance_image_id='mine'))
    engine.dispose()


def test_a_wrong_password_is_named(url):
    assert 'credentials' in refusal(url, password='secret')


def test_a_missing_database_is_named(url):
    assert 'no such database' in refusal(url, database='missing')


@contextlib.contextmanager
def full(url):
    """Take all connections of a server."""
    engine = sa.create_engine(
        url, isolation_level='AUTOCOMMIT', poolclass=sa.pool.NullPool
    )
    with engine.connect() as administrator, contextlib.ExitStack() as held:
        before = administrator.scalar(sa.text('SELECT @@max_connections'))
        # The least that there is.
        administrator.execute(sa.text('SET GLOBAL max_connections = 10'))
        try:
            with contextlib.suppress(sa.exc.OperationalError):
                while True:
                    held.enter_context(engine.connect())
            yield
        finally:
            administrator.execute(
                sa.text(f'SET GLOBAL max_connections = {before}')
            )


def test_a_server_without_a_connection_left_is_named():
    url = shared().databases['mariadb'].create()
    with full(url):
        assert 'max_connections' in refusal(url)
    assert db_engine.connect(url).connect().scalar(sa.text('SELECT 1')) == 1


def test_waiting_for_a_connection_ends(url):
    engine = db_engine.connect(
        url, max_pool_size=1, max_overflow=0, pool_timeout=1
    )
    with (
        engine.connect(),
        pytest.raises(errors.DatabaseUnavailable, match='no connection'),
    ):
        Lineage(engine).parents()
    engine.dispose()


def test_a_connection_that_the_server_closed_is_replaced(url):
    engine = db_engine.connect(url)
    migration.upgrade(engine)
    lineage = Lineage(engine)
    lineage.parents()
    _close_all(url)
    assert lineage.adopt(FACTS, 'g', Protector.NOBODY) in lineage.parents()
    engine.dispose()


def test_each_statement_sees_what_was_committed(url):
    engine = db_engine.connect(url)
    migration.upgrade(engine)
    with engine.connect() as connection:
        look = sa.text('SELECT count(*) FROM parents')
        assert connection.scalar(look) == 0
        Lineage(engine).adopt(FACTS, 'g', Protector.NOBODY)
        assert connection.scalar(look) == 1
    engine.dispose()


def _close_all(url):
    """Have the server close every connection to the database but one."""
    kill, others = {
        'mysql': (
            'KILL {}',
            'SELECT id FROM information_schema.processlist'
            ' WHERE db = :name AND id <> connection_id()',
        ),
        'postgresql': (
            'SELECT pg_terminate_backend({})',
            'SELECT pid FROM pg_stat_activity'
            ' WHERE datname = :name AND pid <> pg_backend_pid()',
        ),
    }[sa.make_url(url).get_backend_name()]
    engine = db_engine.connect(url)
    with engine.connect() as connection:
        name = {'name': engine.url.database}
        found = connection.scalars(sa.text(others), name).all()
        assert found
        for one in found:
            connection.execute(sa.text(kill.format(one)))
    engine.dispose()

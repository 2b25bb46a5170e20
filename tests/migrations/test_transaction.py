# SPDX-License-Identifier: Apache-2.0
"""What two transactions at once come to, on servers."""

from concurrent import futures
import datetime
import functools
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from rbdcloner import errors
from rbdcloner.db import engine as db_engine
from rbdcloner.db import migration
from rbdcloner.db.lineage import Lineage
from rbdcloner.db.tables import duties
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from tests.stack import shared


@pytest.fixture(scope='session', params=['mariadb', 'postgresql'])
def server(request):
    """Of those that are servers: SQLite has one writer at a time."""
    return shared().databases[request.param]


class Crossing(Database):
    """Locks two rows, in the order that is asked."""

    met = threading.Barrier(2)

    @writes
    def lock(self, connection, tries, first, second):
        tries.append(first)
        self._lock(connection, first)
        if len(tries) == 1:
            self.met.wait(20)
        with connection.begin_nested():
            self._lock(connection, second)

    def _lock(self, connection, name):
        look = sa.select(duties.c.name).where(duties.c.name == name)
        connection.execute(look.with_for_update()).one()


def test_a_deadlock_in_a_savepoint_is_tried_again(url):
    engine = db_engine.connect(url)
    migration.upgrade(engine)
    for name in 'ab':
        assert Lineage(engine).take_duty(name, 'me', 60)
    crossing = Crossing(engine)
    tries = [], []
    with futures.ThreadPoolExecutor(2) as pool:
        one = pool.submit(crossing.lock, tries[0], 'a', 'b')
        other = pool.submit(crossing.lock, tries[1], 'b', 'a')
        one.result(30)
        other.result(30)
    assert len(tries[0]) + len(tries[1]) > 2
    engine.dispose()


class Losing(Database):
    """Loses its connection in the middle, or in the COMMIT."""

    def __init__(self, engine, times):
        super().__init__(engine)
        self._times = times
        self.written = 0

    @writes
    def write(self, connection, name):
        self.written += 1
        statement = sa.insert(duties).values(
            name=name, owner='me', due_at=datetime.datetime(2026, 1, 1)
        )
        connection.execute(statement)
        self._lose(connection)

    @reads
    def read(self, connection):
        self._lose(connection)
        return connection.scalars(sa.select(duties.c.name)).all()

    def lose_commits(self):
        event.listen(
            self.writer,
            'commit',
            lambda connection: connection.connection.driver_connection.close(),
        )

    def _lose(self, connection):
        if self._times:
            self._times -= 1
            of_mariadb = connection.dialect.name != 'postgresql'
            mine = sa.select(
                sa.func.connection_id()
                if of_mariadb
                else sa.func.pg_backend_pid()
            )
            number = connection.scalar(mine)
            end = (
                sa.text(f'KILL {number}')
                if of_mariadb
                else sa.select(sa.func.pg_terminate_backend(number))
            )
            with connection.engine.connect() as other:
                other.execute(end)
            connection.execute(sa.select(duties.c.name))


@pytest.fixture
def losing(url):
    engine = db_engine.connect(url)
    migration.upgrade(engine)
    yield functools.partial(Losing, engine)
    engine.dispose()


def test_what_lost_its_connection_before_its_commit_is_done_again(losing):
    losing(2).write('duty')
    assert losing(2).read() == ['duty']


def test_what_loses_each_connection_comes_to_an_end(losing):
    with pytest.raises(errors.DatabaseUnavailable) as told:
        losing(1000).write('duty')
    assert 'cannot be reached' in str(told.value)
    assert losing(0).read() == []


def test_a_lost_commit_is_not_done_again(losing):
    database = losing(0)
    database.lose_commits()
    with pytest.raises(errors.DatabaseUnavailable):
        database.write('duty')
    assert database.written == 1

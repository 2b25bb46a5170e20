# SPDX-License-Identifier: Apache-2.0
"""What two transactions at once come to, on servers."""

from concurrent import futures
import threading

import pytest
import sqlalchemy as sa

from rbdcloner.db import engine as db_engine
from rbdcloner.db import migration
from rbdcloner.db.lineage import Lineage
from rbdcloner.db.tables import duties
from rbdcloner.db.transaction import Database
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

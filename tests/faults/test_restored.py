# SPDX-License-Identifier: Apache-2.0
"""A restored backup destroys nothing, on a real cluster and each database."""

from collections.abc import Iterator
import contextlib
from typing import Any
from typing import ClassVar

import sqlalchemy as sa

from rbdcloner.ceph.librbd import LibrbdDriver
from rbdcloner.cloning import permits
from rbdcloner.db import engine as db_engine
from rbdcloner.db import migration
from tests import stack
from tests.faults.cluster import Cluster
from tests.stack import database
from tests.unit.cloning import service
from tests.unit.cloning import test_reconciliation

_servers: dict[str, Any] = {}
_ending = contextlib.ExitStack()


def setUpModule() -> None:
    _ending.enter_context(_running())


def tearDownModule() -> None:
    _ending.close()


@contextlib.contextmanager
def _running() -> Iterator[None]:
    """Run a cluster of this file's own, whose pools are empty."""
    engines = tuple(database.ENGINES)
    with (
        stack.Stack(
            rabbitmq=False, glance=False, databases=engines
        ) as servers,
        servers.ceph.connection() as admin,
        servers.ceph.connection() as guest,
    ):
        for client in (admin, guest):
            # As the driver's own connections.
            client.conf_set('rbd_cache', 'false')
        driver = LibrbdDriver(
            str(servers.ceph.conf), 'rbdcloner', 30, permit=permits.permit
        )
        driver.connect()
        _servers.update(
            databases=servers.databases,
            driver=driver,
            admin=admin,
            guest=guest,
        )
        yield
        driver.close()


class World(service.Service):
    """Processes on the cluster, and a database of their own."""

    engine: ClassVar[str]
    _dialects: ClassVar[list[sa.Dialect]] = []
    _compiled: ClassVar[dict[Any, Any]] = {}

    def _setUp(self) -> None:
        super()._setUp()
        self._url = _servers['databases'][self.engine].create()
        connected = db_engine.connect(self._url)
        migration.upgrade(connected)
        connected.dispose()

    def make_ceph(self) -> Cluster:
        cluster = Cluster(
            *(_servers[each] for each in ('driver', 'admin', 'guest'))
        )
        self.addCleanup(cluster.close)
        self.addCleanup(cluster.clear)
        return cluster


class SQLiteWorld(World):
    engine = 'sqlite'


class MariaDBWorld(World):
    engine = 'mariadb'
    _dialects: ClassVar[list[sa.Dialect]] = []
    _compiled: ClassVar[dict[Any, Any]] = {}


class PostgreSQLWorld(World):
    engine = 'postgresql'
    _dialects: ClassVar[list[sa.Dialect]] = []
    _compiled: ClassVar[dict[Any, Any]] = {}


class SQLiteTest(test_reconciliation.StoryTest):
    world_type = SQLiteWorld


class MariaDBTest(test_reconciliation.StoryTest):
    world_type = MariaDBWorld


class PostgreSQLTest(test_reconciliation.StoryTest):
    world_type = PostgreSQLWorld


class TreeTest(test_reconciliation.TreeTest):
    world_type = SQLiteWorld

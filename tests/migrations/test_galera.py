# SPDX-License-Identifier: Apache-2.0
"""A node of a Galera cluster that takes no statements yet."""

import pytest
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import engine as db_engine
from rbdcloner.db import migration
from rbdcloner.db.lineage import Lineage
from tests.stack import database
from tests.stack import ports
from tests.stack import process


class GaleraNode(database.MariaDB):
    """The only node of a cluster of its own."""

    name = 'galera'

    def _choose(self):
        return {**super()._choose(), 'cluster_port': ports.claim()}

    def _make_daemons(self):
        (daemon,) = super()._make_daemons()
        address = f'127.0.0.1:{self.settings["cluster_port"]}'
        command = [
            *daemon.command,
            '--wsrep-on=ON',
            '--wsrep-provider=/usr/lib/galera/libgalera_smm.so',
            '--wsrep-cluster-address=gcomm://',
            f'--wsrep-provider-options=gmcast.listen_addr=tcp://{address}',
            '--wsrep-node-address=127.0.0.1',
            '--binlog-format=ROW',
            '--innodb-autoinc-lock-mode=2',
        ]
        return [
            process.Daemon(self.name, self.stack_folder, command, self._ready)
        ]


@pytest.fixture
def node(tmp_path):
    with GaleraNode(tmp_path / 'stack') as one:
        yield one


def test_sessions_wait_for_what_other_nodes_committed_if_told_to(node):
    engine = db_engine.connect(node.create(), mysql_wsrep_sync_wait=1)
    with engine.connect() as connection:
        waits = connection.scalar(sa.text('SELECT @@SESSION.wsrep_sync_wait'))
    engine.dispose()
    assert waits == 1


def test_a_node_that_is_not_ready_is_named_and_then_back(node):
    url = node.create()
    engine = db_engine.connect(url)
    migration.upgrade(engine)
    lineage = Lineage(engine)
    administrator = sa.create_engine(url, isolation_level='AUTOCOMMIT')
    with administrator.connect() as connection:
        connection.execute(sa.text('SET GLOBAL wsrep_reject_queries = ALL'))
        with pytest.raises(errors.DatabaseUnavailable, match='Galera node'):
            lineage.parents()
        connection.execute(sa.text('SET GLOBAL wsrep_reject_queries = NONE'))
        assert lineage.parents() == []
    for each in (engine, administrator):
        each.dispose()

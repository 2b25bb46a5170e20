# SPDX-License-Identifier: Apache-2.0
"""Databases of every engine, on real servers."""

import pytest
import sqlalchemy as sa

from rbdcloner.db import engine as db_engine
from rbdcloner.db import migration
from rbdcloner.db import tables
from tests.stack import database
from tests.stack import shared


@pytest.fixture(scope='session', params=sorted(database.ENGINES))
def server(request):
    return shared().databases[request.param]


@pytest.fixture
def url(server):
    """A database without a table."""
    return server.create()


@pytest.fixture(scope='session')
def migrated(server):
    engine = db_engine.connect(server.create())
    migration.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(migrated):
    with migrated.begin() as connection:
        for table in reversed(tables.Base.metadata.sorted_tables):
            connection.execute(sa.delete(table))
    return migrated


@pytest.fixture
def rounds():
    return 300

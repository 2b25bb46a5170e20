# SPDX-License-Identifier: Apache-2.0
"""The schema that the revisions make is the one that the tables describe."""

import multiprocessing

from oslo_db.sqlalchemy import test_migrations
import pytest
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import engine as db_engine
from rbdcloner.db import migration
from rbdcloner.db import tables
from rbdcloner.db.lineage import Lineage


@pytest.fixture
def empty(url):
    engine = db_engine.connect(url)
    yield engine
    engine.dispose()


class TestModels(test_migrations.ModelsMigrationsSync):
    """``test_models_sync`` is oslo.db's, written for unittest."""

    @pytest.fixture(autouse=True)
    def _engine(self, empty):
        self.engine = empty

    def db_sync(self, engine):
        migration.upgrade(engine)

    def get_engine(self):
        return self.engine

    def get_metadata(self):
        return tables.Base.metadata

    def addCleanup(self, function):
        """Do nothing: the database is thrown away as a whole."""

    def fail(self, message):
        pytest.fail(message)


def test_an_upgrade_can_be_repeated(empty):
    assert migration.current(empty) is None
    migration.upgrade(empty)
    migration.upgrade(empty)
    assert migration.current(empty) == migration.needed()


def test_an_empty_database_is_refused_with_both_revisions(empty):
    with pytest.raises(errors.DatabaseRevision) as caught:
        migration.check(empty)
    assert caught.value.kwargs == {
        'current': None,
        'needed': migration.needed(),
    }


def test_a_newer_revision_is_accepted(empty):
    migration.upgrade(empty)
    with empty.begin() as connection:
        connection.execute(
            sa.text("UPDATE alembic_version SET version_num = '9999'")
        )
    migration.check(empty)


def test_queries_tell_of_a_missing_schema(empty):
    lineage = Lineage(empty)
    for query in (lineage.parents, lambda: lineage.find('f', 'p', '', 'n')):
        with pytest.raises(errors.DatabaseRevision):
            query()


def test_queries_tell_of_a_missing_column(empty):
    lineage = Lineage(empty)
    with empty.begin() as connection:
        connection.execute(
            sa.text('CREATE TABLE parents (id INTEGER PRIMARY KEY)')
        )
    with pytest.raises(errors.DatabaseRevision):
        lineage.parents()


def _upgrade(url):
    engine = db_engine.connect(url)
    migration.upgrade(engine)
    engine.dispose()


def test_sqlite_is_upgraded_twice_at_one_moment(tmp_path):
    # The other engines' upgrades are run one at a time, as documented.
    url = f'sqlite:///{tmp_path}/file'
    spawn = multiprocessing.get_context('spawn')
    processes = [spawn.Process(target=_upgrade, args=[url]) for _ in '12']
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]

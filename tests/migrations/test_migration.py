# SPDX-License-Identifier: Apache-2.0
"""The schema that the revisions make is the one that the tables describe."""

import multiprocessing

from oslo_db.sqlalchemy import test_migrations
import pytest
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import schema
from rbdcloner.db.core import engine as db_engine
from rbdcloner.db.core import upgrade
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import CloneFormat
from rbdcloner.model import Filters
from rbdcloner.model import Protector
from tests.lineage_suite.claims import FACTS
from tests.lineage_suite.claims import REQUEST
from tests.migrations import next_release


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
        upgrade.upgrade(engine)

    def get_engine(self):
        return self.engine

    def get_metadata(self):
        return schema.Base.metadata

    def addCleanup(self, function):
        """Do nothing: the database is thrown away as a whole."""

    def fail(self, message):
        pytest.fail(message)


def test_an_upgrade_can_be_repeated(empty):
    assert upgrade.current(empty) is None
    upgrade.upgrade(empty)
    upgrade.upgrade(empty)
    assert upgrade.current(empty) == upgrade.needed()


def test_an_empty_database_is_refused_with_both_revisions(empty):
    with pytest.raises(errors.DatabaseRevision) as caught:
        upgrade.check(empty)
    assert caught.value.kwargs == {
        'current': None,
        'needed': upgrade.needed(),
    }


def test_a_newer_revision_is_accepted(empty):
    upgrade.upgrade(empty)
    with empty.begin() as connection:
        connection.execute(
            sa.text("UPDATE alembic_version SET version_num = '9999'")
        )
    upgrade.check(empty)


def test_the_release_before_s_revision_is_accepted_and_named(empty, tmp_path):
    upgrade.upgrade(empty)
    with next_release.installed(tmp_path):
        assert upgrade.check(empty) == upgrade.OLDEST
        upgrade.upgrade(empty)
        assert upgrade.check(empty) is None
    assert upgrade.check(empty) is None


def test_an_older_revision_is_refused(empty, tmp_path, monkeypatch):
    upgrade.upgrade(empty)
    monkeypatch.setattr(upgrade, 'OLDEST', next_release.REVISION)
    with (
        next_release.installed(tmp_path),
        pytest.raises(errors.DatabaseRevision),
    ):
        upgrade.check(empty)


def test_queries_tell_of_a_missing_schema(empty):
    lineage = Lineage(empty)
    for query in (
        lineage.parents.page,
        lambda: lineage.clones.find('f', 'p', '', 'n'),
    ):
        with pytest.raises(errors.DatabaseRevision):
            query()


def test_queries_tell_of_a_missing_column(empty):
    lineage = Lineage(empty)
    with empty.begin() as connection:
        connection.execute(
            sa.text('CREATE TABLE parents (id INTEGER PRIMARY KEY)')
        )
    with pytest.raises(errors.DatabaseRevision):
        lineage.parents.page()


def _upgrade(url):
    engine = db_engine.connect(url)
    upgrade.upgrade(engine)
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


def _contents(engine, names):
    """Return every row of tables."""
    metadata = sa.MetaData()
    with engine.connect() as connection:
        return {
            name: connection.execute(
                sa.select(sa.Table(name, metadata, autoload_with=connection))
            ).all()
            for name in names
            if name != 'alembic_version'
        }


def test_a_database_is_used_by_both_releases(empty, tmp_path):
    upgrade.upgrade(empty)
    lineage = Lineage(empty)
    lineage.workers.register_worker('me', 'a-host', 1, '1', '1.0')
    parent = lineage.parents.adopt(FACTS, 'g', Protector.NOBODY)
    names = set(sa.inspect(empty).get_table_names())
    before = _contents(empty, names - {'clones'})
    with next_release.installed(tmp_path):
        upgrade.upgrade(empty)
    assert _contents(empty, names - {'clones'}) == before
    assert set(sa.inspect(empty).get_table_names()) - names == {'colours'}
    disk = lineage.reservations.reserve(
        REQUEST, parent, CloneFormat.V2, 'me', 60
    )
    assert lineage.clones.page(Filters()) == [disk]

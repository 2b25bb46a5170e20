# SPDX-License-Identifier: Apache-2.0
"""The schema that the revisions make is the one that the tables describe."""

import datetime
import multiprocessing

from oslo_db import exception
from oslo_db.sqlalchemy import test_migrations
import pytest
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import engine as db_engine
from rbdcloner.db import migration
from rbdcloner.db import tables
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Filters
from rbdcloner.model import FlattenReason
from rbdcloner.model import Kind
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.states import State

_SAFETY = ('absences', 'brakes', 'pools', 'warrants')


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


def test_the_release_before_s_revision_is_accepted_and_named(empty):
    migration.upgrade(empty, migration.OLDEST)
    assert migration.check(empty) == migration.OLDEST
    migration.upgrade(empty)
    assert migration.check(empty) is None


def test_an_older_revision_is_refused(empty):
    migration.upgrade(empty, '0001')
    with pytest.raises(errors.DatabaseRevision):
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


_BEFORE = {
    'parents': {
        'id': 7,
        'fsid': 'f',
        'pool': 'images',
        'namespace': '',
        'image_name': 'an-image',
        'image_id': 'abc',
        'snapshot_name': 'snap',
        'snapshot_id': 4,
        'size_bytes': 1,
        'order': 23,
        'glance_image_id': 'g',
        'protector': 'service',
        'state': 'active',
    },
    'clones': {
        'fsid': 'f',
        'pool': 'vms',
        'namespace': '',
        'image_id': '',
        'size_bytes': 2,
        'clone_format': 2,
        'parent_id': 7,
        'glance_image_id': 'g',
        'instance_uuid': 'i',
        'project_id': 'p',
        'host': 'h',
        'reason': 'why',
        'owner': 'me',
        'fence': 3,
    },
}


def _write(engine, table, **changes):
    """Write a row as the first release does."""
    metadata = sa.MetaData()
    rows = sa.Table(table, metadata, autoload_with=engine)
    now = datetime.datetime(2026, 1, 2)
    values = _BEFORE[table] | changes
    with engine.begin() as connection:
        connection.execute(
            sa.insert(rows).values(**values, created_at=now, updated_at=now)
        )


def _write_clones(engine):
    for state in ('ready', 'deleting', 'deleted', 'failed'):
        live = None if state in ('deleted', 'failed') else 1
        _write(
            engine, 'clones', uuid=state, name=state, state=state, live=live
        )


def test_rows_of_the_first_release_keep_their_meaning(empty):
    migration.upgrade(empty, '0001')
    _write(empty, 'parents')
    _write_clones(empty)
    migration.upgrade(empty)
    lineage = Lineage(empty)
    (parent,) = lineage.parents()
    assert (parent.id, parent.snapshot.id) == (7, 4)
    assert parent.purpose is Purpose.ADOPTED
    assert (parent.protector, parent.depth) == (Protector.SERVICE, 0)
    clones = lineage.page(Filters())
    assert [clone.state for clone in clones] == [
        State.READY,
        State.DELETING,
        State.DELETED,
        State.FAILED,
    ]
    assert [c.attached for c in clones] == [True, True, False, False]
    assert {clone.parent for clone in clones} == {parent}
    assert {(c.kind, c.attempts, c.retry_at) for c in clones} == {
        (Kind.DISK, 0, None)
    }
    assert {clone.reason for clone in clones} == {'why'}
    with pytest.raises(errors.ParentHasChildren):
        lineage.releasing(parent)
    for child in clones[:2]:
        lineage.detach(child)
    assert lineage.unneeded_parents(0, 10) == [parent]


def test_the_first_release_writes_to_the_new_schema(empty):
    migration.upgrade(empty)
    _write(empty, 'parents')
    _write_clones(empty)
    lineage = Lineage(empty)
    assert lineage.has_children(lineage.parents()[0])
    assert [clone.kind for clone in lineage.page(Filters())] == [Kind.DISK] * 4


def test_references_hold_after_the_upgrade(empty):
    migration.upgrade(empty, '0001')
    _write(empty, 'parents')
    _write_clones(empty)
    migration.upgrade(empty)
    with (
        pytest.raises(exception.DBReferenceError),
        empty.begin() as connection,
    ):
        connection.execute(sa.delete(tables.parents))


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


def _shape(engine, names):
    """Return what the server says of tables."""
    inspector = sa.inspect(engine)
    return {
        name: (
            [
                {**c, 'type': str(c['type'])}
                for c in inspector.get_columns(name)
            ],
            inspector.get_indexes(name),
            inspector.get_unique_constraints(name),
            inspector.get_foreign_keys(name),
        )
        for name in names
    }


_OF_LINEAGE = {'lineage', 'marked_pools', 'deferred_deletions'}


@pytest.mark.parametrize(
    ('revision', 'new'),
    [
        (
            '0002',
            {
                'workers',
                'deletions',
                'recreations',
                'bases',
                'changes',
                *_SAFETY,
                *_OF_LINEAGE,
            },
        ),
        ('0003', {'bases', 'changes', *_SAFETY, *_OF_LINEAGE}),
    ],
)
def test_what_the_release_before_has_stays_as_it_was(empty, revision, new):
    """So it runs on, and its rows are written, on the newer schema."""
    migration.upgrade(empty, revision)
    names = sorted(sa.inspect(empty).get_table_names())
    before = _shape(empty, names)
    migration.upgrade(empty)
    assert _shape(empty, names) == before
    added = set(sa.inspect(empty).get_table_names()) - set(names)
    assert added == new


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


def test_the_rows_of_the_release_before_stay_as_they_were(empty):
    migration.upgrade(empty, '0003')
    _write(empty, 'parents')
    _write_clones(empty)
    lineage = Lineage(empty)
    lineage.register_worker('me', 'a-host', 1, '1', '1.0')
    (disk, *_) = lineage.page(Filters())
    lineage.note_deletion('a-call', disk.image)
    lineage.want_flatten(disk, FlattenReason.ASKED)
    names = sorted(sa.inspect(empty).get_table_names())
    before = _contents(empty, names)
    assert all(before[name] for name in ('workers', 'deletions', 'flattens'))
    migration.upgrade(empty)
    assert _contents(empty, names) == before

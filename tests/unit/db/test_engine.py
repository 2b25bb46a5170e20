# SPDX-License-Identifier: Apache-2.0
"""Databases are opened as lineage relies on."""

import pytest
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import engine as db_engine
from rbdcloner.db import migration
from rbdcloner.db.engine import READS
from rbdcloner.db.lineage import Lineage


def pragma(engine, name):
    with engine.connect() as connection:
        return connection.scalar(sa.text(f'PRAGMA {name}'))


@pytest.mark.parametrize(
    'url',
    [
        'secret',
        'sqlite://',
        'sqlite:///:memory:',
        'no-such-database://user:secret@host/name',
        'sqlite+no_such_driver:////secret',
        'mysql+mysqldb_of_secret://user:secret@host/name',
        'mysql+pymysql://user:secret@host:port/name',
    ],
)
def test_a_bad_url_is_a_mistake_in_the_configuration(url):
    with pytest.raises(errors.ConfigurationError) as caught:
        db_engine.connect(url)
    assert 'secret' not in str(caught.value)


def test_an_intent_survives_a_power_cut(tmp_path):
    engine = db_engine.connect(f'sqlite:///{tmp_path}/file')
    assert pragma(engine, 'journal_mode') == 'wal'
    assert pragma(engine, 'synchronous') == 2  # FULL
    engine.dispose()


def test_foreign_keys_are_real(engine):
    assert pragma(engine, 'foreign_keys') == 1


def test_nothing_is_opened_yet(tmp_path):
    db_engine.connect(f'sqlite:///{tmp_path}/file')
    assert not (tmp_path / 'file').exists()


def test_oslo_dbs_options_are_taken(tmp_path):
    engine = db_engine.connect(
        f'sqlite:///{tmp_path}/file',
        max_pool_size=3,
        max_overflow=None,
        connection_parameters='',
        db_max_retries=20,
    )
    assert engine.pool.size() == 3


def test_readers_do_not_wait_for_a_writer(engine):
    lineage = Lineage(engine)
    with engine.begin():
        assert lineage.parents() == []


def test_a_reader_does_not_write(engine):
    reader = engine.execution_options(**{READS: True})
    with reader.connect() as connection, engine.begin() as other:
        connection.execute(sa.text('SELECT 1'))
        assert other.execute(sa.text('DELETE FROM clones')).rowcount == 0


def test_a_database_that_cannot_be_made_is_unavailable(tmp_path):
    engine = db_engine.connect(f'sqlite:///{tmp_path}/missing/file')
    with pytest.raises(errors.DatabaseUnavailable) as caught:
        Lineage(engine).parents()
    assert 'missing' not in str(caught.value)


def test_a_file_of_another_kind_is_unavailable(tmp_path):
    (tmp_path / 'file').write_bytes(b'nothing that SQLite wrote' * 99)
    engine = db_engine.connect(f'sqlite:///{tmp_path}/file')
    with pytest.raises(errors.DatabaseUnavailable):
        Lineage(engine).parents()


def test_a_lock_that_is_not_given_up_is_named(tmp_path, migrated):
    url = f'sqlite:///{migrated}?timeout=0.1'
    holder, engine = db_engine.connect(url), db_engine.connect(url)
    with holder.begin(), pytest.raises(errors.DatabaseUnavailable) as caught:
        migration.upgrade(engine)
    assert 'another process' in str(caught.value)

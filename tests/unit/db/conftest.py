# SPDX-License-Identifier: Apache-2.0
"""SQLite databases for tests, without waiting for the disk."""

import pathlib
import shutil

import pytest

from rbdcloner.db import engine as db_engine
from rbdcloner.db import migration


def connect(path: pathlib.Path):
    return db_engine.connect(f'sqlite:///{path}', sqlite_synchronous=False)


@pytest.fixture(scope='session')
def migrated(tmp_path_factory):
    """A file that every test copies."""
    path = tmp_path_factory.mktemp('db') / 'migrated.sqlite'
    engine = connect(path)
    migration.upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture
def engine(migrated, tmp_path):
    path = shutil.copy(migrated, tmp_path / 'lineage.sqlite')
    engine = connect(path)
    yield engine
    engine.dispose()


@pytest.fixture
def rounds():
    return 50

# SPDX-License-Identifier: Apache-2.0
"""db restored tells what came of each image, and ends the stop."""

import json
import pathlib
import re

import pytest

from rbdcloner.cloning.generation import Generation
from rbdcloner.cmd.manage import restored
from rbdcloner.model import Image
from tests import ceph_double
from tests.unit.cmd import conftest

NAME = f'{conftest.INSTANCE}_disk'
TAG = '0f5d9a52-3f0e-4f0b-8f0c-9d7f0a3b1c2d'
DOCUMENT = 'doc/source/admin/backup-restore.rst'


@pytest.fixture
def ceph(monkeypatch, lineage, database):
    """A cluster whose pool is ahead, and has a disk without a row.

    A double: the real driver, in the functional and fault tests, needs a
    cluster.
    """
    double = ceph_double.CephDouble('vms', 'images')
    monkeypatch.setattr(restored.Restored, '_open', lambda self: double)
    generation = Generation(double, lineage, ['vms'])
    generation.advance()
    text = double.lineage_mark('vms')
    ahead = text.replace('"generation": 1', '"generation": 5')
    double.mark_lineage('vms', text, ahead)
    made = double.add_image('vms', NAME, conftest.GIB)
    with double.open(made) as opened:
        opened.mark_delivered(TAG)
    return double


def listed(database, *arguments):
    return database.run('db', 'restored', *arguments, '-f', 'json')


def test_rehearsal_tells_and_changes_nothing(database, lineage, ceph):
    mark = lineage.age().mark
    ran = listed(database, '--dry-run')
    assert ran.code == 0, ran.err
    (row,) = json.loads(ran.out)
    assert (row['Image'], row['Result']) == (f'vms/{NAME}', 'adopted')
    assert ran.err.endswith('0 failed; nothing was changed\n')
    assert lineage.age().mark == mark
    assert lineage.find_by_image(image(ceph)) is None


def image(ceph):
    return Image(ceph.fsid, 'vms', '', NAME, ceph.named('vms')[NAME])


def test_run_adopts_and_ends_the_stop(database, lineage, ceph):
    assert not Generation(ceph, lineage, ['vms']).is_current()
    assert lineage.age().stopped
    ran = listed(database)
    assert ran.code == 0, ran.err
    assert '1 adopted' in ran.err
    assert re.search(r'the database is at generation \d+\n$', ran.err)
    clone = lineage.find_by_image(image(ceph))
    assert (clone.uuid, clone.instance_uuid) == (TAG, conftest.INSTANCE)
    assert Generation(ceph, lineage, ['vms']).is_current()
    assert lineage.age().stopped == ''
    again = listed(database)
    assert (again.code, json.loads(again.out)) == (0, [])


def test_pool_of_another_database_is_refused_unless_taken(
    database, lineage, ceph
):
    text = ceph.lineage_mark('vms')
    other = text.replace(lineage.age().mark.lineage, 'another')
    ceph.mark_lineage('vms', text, other)
    ran = listed(database)
    assert ran.code == 1
    assert 'pool vms belongs to lineage another' in ran.err
    assert '--take POOL' in ran.err
    ran = listed(database, '--take', 'vms')
    assert ran.code == 0, ran.err
    assert Generation(ceph, lineage, ['vms']).is_current()


def test_documented_commands_are_commands(database):
    text = (pathlib.Path(__file__).parents[3] / DOCUMENT).read_text()
    commands = re.findall(r'^ +rbdcloner-manage (.*)$', text, re.MULTILINE)
    assert 'db restored --dry-run' in commands
    for command in commands:
        words, *_ = command.partition(' --')
        ran = database.run(*words.split(), '--help')
        assert ran.code == 0, command
        for option in re.findall(r'--[a-z-]+', command):
            assert option in ran.out

# SPDX-License-Identifier: Apache-2.0
"""lineage list and show tell what the rows say."""

import csv
import datetime
import io
import json

import pytest

from rbdcloner.cmd.manage import columns
from rbdcloner.model import CloneFormat
from rbdcloner.states import State
from tests.unit.cmd import conftest

GONE = (State.DELETING, State.DELETED)


def listed(database, *arguments):
    """Return the names that a list with *arguments* has."""
    ran = database.run('lineage', 'list', '-f', 'json', *arguments)
    assert ran.code == 0
    return [row['name'] for row in json.loads(ran.out)]


@pytest.fixture
def disks(lineage):
    """Five disks of two parents; the first is gone, the last half made."""
    parent = conftest.adopt(lineage)
    other = conftest.adopt(
        lineage, 'other', '5678', glance_image_id='other-image'
    )
    make = conftest.make
    return {
        'gone': make(lineage, parent, 'gone', State.READY, *GONE),
        'a_disk': make(lineage, parent, 'a_disk'),
        'b_disk': make(lineage, parent, 'b_disk', host='node2'),
        'c_disk': make(
            lineage, other, 'c_disk',
            instance_uuid='another', project_id='p2', pool='fast',
        ),
        'd_disk': make(lineage, other, 'd_disk', State.UNDOING),
    }  # fmt: skip


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ([], 'abcd'),
        (['--all'], 'gabcd'),
        (['--state', 'deleted'], 'g'),
        (['--state', 'deleted', '--state', 'undoing'], 'gd'),
        (['--instance', 'another'], 'c'),
        (['--image', 'other-image'], 'cd'),
        (['--project', 'p2'], 'c'),
        (['--host', 'node2'], 'b'),
        (['--pool', 'fast'], 'c'),
        (['--name', 'a_disk'], 'a'),
        (['--host', 'node1', '--pool', 'vms'], 'ad'),
        (['--name', 'unheard-of'], ''),
        (['--limit', '2'], 'ab'),
        (['--limit', '0', '--all'], 'gabcd'),
        (['--marker', '3'], 'cd'),
    ],
)
def test_filters_choose_rows(database, disks, arguments, expected):
    names = listed(database, *arguments)
    assert ''.join(name[0] for name in names) == expected


def test_a_page_tells_how_to_have_the_next(database, disks):
    ran = database.run('lineage', 'list', '--limit', '3')
    assert ran.code == 0
    assert ran.err == 'There are more: --marker 4\n'
    ran = database.run('lineage', 'list', '--limit', '3', '--marker', '4')
    assert ran.err == ''
    assert 'd_disk' in ran.out


def test_rows_beyond_one_page_are_read_too(database, lineage, monkeypatch):
    monkeypatch.setattr('rbdcloner.cmd.manage.finding._ROWS_AT_ONCE', 2)
    parent = conftest.adopt(lineage)
    made = [f'disk-{number}' for number in range(5)]
    for name in made:
        conftest.make(lineage, parent, name)
    assert listed(database) == made


def test_a_table_is_for_persons(database, disks):
    out = database.run('lineage', 'list').out
    assert '5 GiB' in out
    assert 'images/an-image@snap' in out
    assert conftest.INSTANCE not in out
    assert conftest.INSTANCE[:8] in out


def test_other_formats_are_for_programs(database, disks):
    ran = database.run('lineage', 'list', '-f', 'json', '--name', 'a_disk')
    (row,) = json.loads(ran.out)
    assert row['size_bytes'] == 5 * conftest.GIB
    assert row['uuid'] == disks['a_disk'].uuid
    assert row['instance_uuid'] == conftest.INSTANCE
    assert row['parent_image_id'] == '1234'
    assert row['parent_snapshot_id'] == 7
    ran = database.run('lineage', 'list', '-f', 'csv', '--name', 'a_disk')
    (from_csv,) = csv.DictReader(io.StringIO(ran.out))
    assert from_csv['size_bytes'] == str(5 * conftest.GIB)
    assert from_csv['created_at'] == row['created_at']
    made = datetime.datetime.fromisoformat(row['created_at'])
    age = datetime.datetime.now(datetime.UTC) - made
    assert abs(age.total_seconds()) < 60
    for form in ('yaml', 'value'):
        ran = database.run('lineage', 'list', '-f', form)
        assert disks['b_disk'].uuid in ran.out


def test_an_empty_list_is_no_failure(database, lineage):
    assert listed(database) == []
    assert database.run('lineage', 'list').code == 0


def test_show_tells_all_of_a_disk(database, lineage, disks):
    lineage.hold(disks['d_disk'], 'worker-9', 60)
    ran = database.run('lineage', 'show', 'd_disk', '-f', 'json')
    assert ran.code == 0
    shown = json.loads(ran.out)
    assert shown['state'] == 'undoing'
    assert shown['owner'] == 'worker-9'
    assert shown['fence'] == 2
    assert shown['lease_expires_at'].endswith('Z')
    assert shown['parent_image'] == 'other'
    assert shown['image_id'] == 'id-d_disk'
    assert '1 GiB' in database.run('lineage', 'show', 'd_disk').out


def test_show_takes_a_rows_uuid(database, disks):
    for name in ('gone', 'c_disk'):
        uuid = disks[name].uuid
        ran = database.run('lineage', 'show', uuid, '-f', 'json')
        assert json.loads(ran.out)['name'] == name


def test_show_prefers_the_disk_that_has_the_name_now(database, lineage):
    parent = conftest.adopt(lineage)
    for _ in range(2):
        last = conftest.make(lineage, parent, 'again', State.READY, *GONE)
    ran = database.run('lineage', 'show', 'again', '-f', 'json')
    assert json.loads(ran.out)['uuid'] == last.uuid
    now = conftest.make(lineage, parent, 'again')
    conftest.make(lineage, parent, 'again', State.READY, *GONE, pool='other')
    ran = database.run('lineage', 'show', 'again', '-f', 'json')
    assert json.loads(ran.out)['uuid'] == now.uuid


def test_show_asks_which_pool_is_meant(database, lineage):
    parent = conftest.adopt(lineage)
    for pool in ('one', 'two'):
        conftest.make(lineage, parent, 'twin', pool=pool)
    ran = database.run('lineage', 'show', 'twin')
    assert (ran.code, ran.out) == (1, '')
    assert 'one/twin, two/twin' in ran.err
    assert '--pool' in ran.err
    ran = database.run(
        'lineage', 'show', 'twin', '--pool', 'two', '-f', 'json'
    )
    assert json.loads(ran.out)['pool'] == 'two'


@pytest.mark.parametrize(
    'arguments',
    [
        ['unheard-of'],
        ['6f9f2d9e-2f0a-4a1c-9a54-3f1f4f1b9b6a'],
        ['a_disk', '--pool', 'fast'],
    ],
)
def test_what_is_not_there_has_its_own_code(database, disks, arguments):
    ran = database.run('lineage', 'show', *arguments)
    assert (ran.code, ran.out) == (3, '')
    assert ran.err.startswith('There is no disk')
    assert ran.err.count('\n') == 1


def test_what_is_in_the_trash_is_not_gone(database, lineage):
    parent = conftest.adopt(lineage)
    retired = (State.READY, State.DELETING, State.RETIRED)
    conftest.make(lineage, parent, 'a_disk', *retired)
    assert listed(database) == ['a_disk']
    assert listed(database, '--state', 'ready') == []


def test_kinds_are_told_apart(database, lineage):
    disk = conftest.make(lineage, conftest.adopt(lineage), 'a_disk')
    conftest.make_image(lineage, disk, 'backup')
    assert listed(database, '--kind', 'image') == ['backup']
    assert listed(database, '--kind', 'disk') == ['a_disk']
    assert '| image ' in database.run('lineage', 'list').out
    assert database.run('lineage', 'list', '--kind', 'x').code == 2


def test_show_tells_who_has_an_image_open(database, lineage):
    disk = conftest.make(lineage, conftest.adopt(lineage), 'a_disk')
    deleting = lineage.move(
        disk, State.DELETING, owner='a-manager', lease_s=60
    )
    lineage.let_go(deleting, 'DiskInUse: open at 1.2.3.4')
    ran = database.run('lineage', 'show', 'a_disk', '-f', 'json')
    shown = json.loads(ran.out)
    assert shown['reason'] == 'DiskInUse: open at 1.2.3.4'
    assert (shown['attempts'], shown['kind']) == (1, 'disk')
    assert shown['retry_at'].endswith('Z')
    assert (shown['attached'], shown['rollback_to']) == (True, '')


def test_show_tells_what_a_retired_image_holds(database, lineage):
    parent = conftest.adopt(lineage)
    clone = lineage.adopt_image(
        parent.snapshot.image, conftest.GLANCE_IMAGE, conftest.GIB,
        CloneFormat.V2, trashed=True,
    )  # fmt: skip
    ran = database.run('lineage', 'show', clone.uuid)
    assert (ran.code, ran.err) == (0, '')
    lines = ran.out.splitlines()
    assert any(line.split()[1:4] == ['held_bytes', '|', '?'] for line in lines)
    ran = database.run('lineage', 'show', clone.uuid, '-f', 'json')
    shown = json.loads(ran.out)
    assert (shown['held_bytes'], shown['parent_image']) == (None, '')


@pytest.mark.parametrize(
    ('size_bytes', 'shown'),
    [
        (0, '0 B'),
        (1023, '1023 B'),
        (1024, '1 KiB'),
        (1536 * 2**20, '1.5 GiB'),
        (10 * 2**30, '10 GiB'),
        (100 * 2**40, '100 TiB'),
        (2**63, '8192 PiB'),
    ],
)
def test_a_size_is_shown_in_the_largest_unit(size_bytes, shown):
    assert columns.size(size_bytes) == shown

# SPDX-License-Identifier: Apache-2.0
"""retired list tells what the trash holds, since when, and for whom."""

import json

import pytest

from rbdcloner.cmd.manage import finding
from rbdcloner.states import State
from tests.unit.cmd import conftest

RETIRED = (State.READY, State.DELETING, State.RETIRED)


def listed(database, *arguments):
    """Return the rows that a list with *arguments* has, for programs."""
    ran = database.run('retired', 'list', '-f', 'json', *arguments)
    assert (ran.code, ran.err) == (0, '')
    return json.loads(ran.out)


@pytest.fixture
def trash(lineage):
    """A deleted disk, needed by four and through another one in the trash."""
    base = conftest.adopt(lineage)
    upper = conftest.make(lineage, base, 'upper')
    below = conftest.adopt(lineage, 'upper', 'id-upper', 'vms')
    for name in ('a_disk', 'b_disk'):
        conftest.make(lineage, below, name)
    middle = conftest.make(lineage, below, 'middle', pool='fast')
    lowest = conftest.adopt(lineage, 'middle', 'id-middle', 'fast')
    for name in ('c_disk', 'd_disk'):
        conftest.make(lineage, lowest, name)
    gone = (State.READY, State.DELETING, State.DELETED)
    conftest.make(lineage, lowest, 'e_disk', *gone)
    conftest.flatten(lineage, conftest.make(lineage, lowest, 'f_disk'))
    for clone in (upper, middle):
        moved = lineage.move(clone, State.DELETING)
        lineage.move(moved, State.RETIRED)
    lineage.note_held_bytes(conftest.now(lineage, upper), conftest.GIB)
    return lineage


def test_programs_get_all_whom_it_is_kept_for(database, trash):
    upper, middle = listed(database)
    assert upper['needed_by'] == [
        'vms/a_disk', 'vms/b_disk', 'vms/c_disk', 'vms/d_disk',
    ]  # fmt: skip
    assert middle['needed_by'] == ['vms/c_disk', 'vms/d_disk']
    assert (upper['name'], upper['pool']) == ('upper', 'vms')
    assert (upper['kind'], upper['image_id']) == ('disk', 'id-upper')
    assert (upper['held_bytes'], middle['held_bytes']) == (conftest.GIB, None)
    assert upper['since'].endswith('Z')


def test_persons_get_some_and_the_totals(database, trash):
    ran = database.run('retired', 'list')
    assert ran.code == 0
    assert 'vms/a_disk, vms/b_disk, vms/c_disk and 1 more' in ran.out
    assert '| 1 GiB |' in ran.out
    assert '| ?     |' in ran.out
    assert ran.err == 'In the trash: 2, holding 1 GiB, 1 not counted yet\n'


def test_totals_are_of_all_pages(database, trash, monkeypatch):
    monkeypatch.setattr(finding, '_ROWS_AT_ONCE', 1)
    ran = database.run('retired', 'list', '--limit', '1')
    assert 'middle' not in ran.out.replace('vms/', '')
    more, total = ran.err.splitlines()
    marker = more.removeprefix('There are more: ').split()
    assert total.startswith('In the trash: 2,')
    (middle,) = listed(database, *marker)
    assert middle['name'] == 'middle'


def test_one_pool_is_listed_and_counted(database, trash):
    assert [row['name'] for row in listed(database, '--pool', 'fast')] == [
        'middle'
    ]
    ran = database.run('retired', 'list', '--pool', 'fast')
    assert ran.err == 'In the trash: 1, holding 0 B, 1 not counted yet\n'


def test_why_it_is_not_destroyed_is_told(database, lineage):
    parent = conftest.adopt(lineage)
    disk = conftest.make(lineage, parent, 'mine', *RETIRED)
    held = lineage.hold(disk, 'a-reaper', 60)
    lineage.let_go(held, 'RbdImageHasSnapshots: mine has snapshots')
    (row,) = listed(database)
    assert row['reason'] == 'RbdImageHasSnapshots: mine has snapshots'
    assert row['retry_at'].endswith('Z')
    assert row['needed_by'] == []
    assert row['retry_at'] in database.run('retired', 'list').out


def test_an_empty_trash_is_no_failure(database, lineage):
    assert listed(database) == []
    ran = database.run('retired', 'list')
    assert (ran.code, ran.err) == (0, 'In the trash: 0, holding 0 B\n')

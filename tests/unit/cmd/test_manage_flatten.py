# SPDX-License-Identifier: Apache-2.0
"""flatten list, start and cancel look after the queue."""

import json

import pytest

from rbdcloner.model import FlattenReason
from rbdcloner.states import FlattenState
from rbdcloner.states import State
from tests.unit.cmd import conftest


@pytest.fixture
def disks(lineage):
    parent = conftest.adopt(lineage)
    return [
        conftest.make(lineage, parent, f'{letter}_disk') for letter in 'abc'
    ]


@pytest.fixture
def queue(lineage, disks):
    """One flatten that runs, one put back, one that is done."""
    conftest.flatten(lineage, disks[2])
    for disk, why in zip(disks, ('depth', 'release'), strict=False):
        lineage.want_flatten(disk, FlattenReason(why), why == 'release')
    running = lineage.next_flatten('a-manager', 60, 2)
    refused = lineage.next_flatten('b-manager', 60, 2)
    lineage.flatten_progress(running, 43, 100, 60)
    lineage.put_back_flatten(refused, 'RbdImageInUse: open at 1.2.3.4')
    return lineage


def listed(database, *arguments):
    ran = database.run('flatten', 'list', '-f', 'json', *arguments)
    assert (ran.code, ran.err) == (0, '')
    return json.loads(ran.out)


def test_programs_get_what_is_recorded(database, queue):
    running, refused = listed(database)
    assert (running['name'], running['state']) == ('a_disk', 'running')
    assert (running['percent'], running['run_by']) == (43, 'a-manager')
    assert (running['done_objects'], running['total_objects']) == (43, 100)
    assert (running['why'], running['forced']) == ('depth', False)
    assert (refused['name'], refused['state']) == ('b_disk', 'wanted')
    assert (refused['why'], refused['forced']) == ('release', True)
    assert (refused['percent'], refused['run_by']) == (0, '')
    assert refused['reason'] == 'RbdImageInUse: open at 1.2.3.4'
    assert refused['retry_at'].endswith('Z')


def test_persons_get_a_table(database, queue):
    out = database.run('flatten', 'list').out
    assert '| vms/a_disk | depth   | running | 43 %' in out
    assert 'open at 1.2.3.4' in out
    assert 'c_disk' not in out


def test_an_empty_queue_is_said_to_be_empty(database, lineage, disks):
    ran = database.run('flatten', 'list')
    assert (ran.code, ran.err) == (
        0, 'Nothing is being flattened, nor waits for it.\n',
    )  # fmt: skip
    assert listed(database) == []


def test_what_is_over_is_listed_with_all(database, queue):
    done = listed(database, '--all')[0]
    assert (done['name'], done['state']) == ('c_disk', 'done')
    assert (done['percent'], done['run_by']) == (100, '')


def test_a_list_has_pages(database, queue):
    ran = database.run('flatten', 'list', '--limit', '1')
    assert 'b_disk' not in ran.out
    marker = ran.err.removeprefix('There are more: ').split()
    (second,) = listed(database, *marker)
    assert second['name'] == 'b_disk'


@pytest.mark.parametrize('forced', [False, True])
@pytest.mark.parametrize('by', ['name', 'uuid'])
def test_a_disk_is_queued(database, lineage, disks, by, forced):
    wanted = {'name': 'a_disk', 'uuid': disks[0].uuid}[by]
    ran = database.run('flatten', 'start', wanted, *['--forced'] * forced)
    (queued,) = lineage.flattens()
    assert (ran.code, ran.out) == (
        0, f'Flatten {queued.id} of vms/a_disk is wanted.\n',
    )  # fmt: skip
    assert (queued.clone.uuid, queued.forced) == (disks[0].uuid, forced)


def test_a_disk_is_queued_once(database, lineage, queue):
    ran = database.run('flatten', 'start', 'a_disk')
    assert ran.code == 0
    assert ran.out.endswith('of vms/a_disk is running.\n')
    assert len(lineage.flattens()) == 3


def test_what_has_no_parent_is_not_queued(database, lineage, queue):
    ran = database.run('flatten', 'start', 'c_disk')
    assert (ran.code, ran.out) == (1, '')
    assert ran.err == (
        'vms/c_disk is ready and has no parent: there is nothing to flatten.\n'
    )
    assert len(lineage.flattens()) == 3


def test_a_disk_that_is_not_there_has_its_own_code(database, disks):
    assert database.run('flatten', 'start', 'unheard-of').code == 3


def test_a_flatten_is_cancelled_and_stays_so(database, lineage, queue):
    id_ = str(listed(database)[0]['id'])
    for _ in range(2):
        ran = database.run('flatten', 'cancel', id_)
        assert (ran.code, ran.out) == (
            0, f'Flatten {id_} of vms/a_disk is cancelled.\n',
        )  # fmt: skip
    states = [one.state for one in lineage.flattens(marker=int(id_) - 1)]
    assert states == [FlattenState.CANCELLED, FlattenState.WANTED]
    assert [row['name'] for row in listed(database)] == ['b_disk']


def test_what_is_done_is_not_cancelled(database, lineage, queue):
    done = listed(database, '--all')[0]
    ran = database.run('flatten', 'cancel', str(done['id']))
    assert ran.code == 1
    assert ran.out.endswith('of vms/c_disk is done.\n')
    assert conftest.now(lineage, lineage.flattens()[0].clone).state is (
        State.READY
    )


def test_an_unknown_flatten_has_its_own_code(database, queue):
    ran = database.run('flatten', 'cancel', '999')
    assert (ran.code, ran.out) == (3, '')
    assert ran.err == 'There is no flatten 999.\n'


@pytest.mark.parametrize('id_', ['x', '-1', ''])
def test_what_is_no_id_is_wrong_usage(database, lineage, id_):
    assert database.run('flatten', 'cancel', id_).code == 2

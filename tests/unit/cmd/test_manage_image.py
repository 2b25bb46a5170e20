# SPDX-License-Identifier: Apache-2.0
"""image release and restore say what is needed, ask for it, and wait."""

import json

import pytest

from rbdcloner.model import CloneFormat
from rbdcloner.model import FlattenReason
from rbdcloner.model import Kind
from rbdcloner.states import FlattenState
from rbdcloner.states import State
from tests.unit.cmd import conftest

IMAGE = conftest.GLANCE_IMAGE
DELETE = f'openstack image delete {IMAGE}'
GONE = (State.READY, State.DELETING, State.DELETED)
RETIRED = (State.READY, State.DELETING, State.RETIRED)


@pytest.fixture
def parent(lineage):
    return conftest.adopt(lineage, IMAGE)


@pytest.fixture
def disks(lineage, parent):
    """Two that need the image, and one that is gone."""
    conftest.make(lineage, parent, 'c_disk', *GONE)
    return [
        conftest.make(lineage, parent, name) for name in ('a_disk', 'b_disk')
    ]


@pytest.fixture
def release(database):
    def run(*arguments):
        return database.run('image', 'release', IMAGE, *arguments)

    return run


@pytest.fixture
def restore(database):
    def run(*arguments):
        return database.run('image', 'restore', *arguments)

    return run


def the_image(lineage, state=State.DELETING):
    """Return the row of the Glance image's own RBD image."""
    (clone,) = (
        clone
        for clone in lineage.page(conftest.Filters(glance_image_id=IMAGE))
        if clone.kind is Kind.ADOPTED
    )
    assert clone.state is state
    return clone


def move(lineage, clone, state, **changes):
    """Do as a manager does: hold the row and move it on."""
    clone = conftest.now(lineage, clone)
    held = lineage.hold(clone, 'a-manager', 60)
    return lineage.move(held, state, **changes)


def test_users_are_listed_and_counted(release, disks):
    ran = release()
    assert ran.code == 0
    assert 'vms/a_disk' in ran.out
    assert conftest.INSTANCE[:8] in ran.out
    assert 'c_disk' not in ran.out
    assert f'2 need Glance image {IMAGE}.' in ran.err
    assert 'Glance can delete it all the same' in ran.err


def test_children_of_format_1_are_why_glance_refuses(
    lineage, parent, disks, release
):
    conftest.make(lineage, parent, 'old', clone_format=CloneFormat.V1)
    ran = release()
    assert 'Glance refuses to delete it: 1 is of clone format 1' in ran.err
    assert '--retire' in ran.err


def test_programs_get_rows_only(release, disks):
    ran = release('-f', 'json')
    assert (ran.code, ran.err) == (0, '')
    rows = json.loads(ran.out)
    assert [row['uuid'] for row in rows] == [disk.uuid for disk in disks]
    assert rows[0]['size_bytes'] == 5 * conftest.GIB


@pytest.mark.parametrize('way', [[], ['--flatten'], ['--retire']])
def test_what_nobody_needs_glance_can_delete(lineage, parent, release, way):
    conftest.make(lineage, parent, 'c_disk', *GONE)
    ran = release(*way)
    assert ran.code == 0
    assert 'Glance can delete it' in ran.err
    assert lineage.flattens() == []


@pytest.mark.parametrize('way', [[], ['--flatten'], ['-f', 'json']])
def test_an_image_that_nobody_heard_of_has_its_own_code(database, disks, way):
    ran = database.run('image', 'release', disks[0].image.name, *way)
    assert ran.code == 3
    assert 'Nothing is recorded of a Glance image a_disk. Is that' in ran.err


def test_an_image_of_which_all_is_gone_was_heard_of(lineage, parent, release):
    lineage.released(lineage.releasing(parent))
    assert release().code == 0


@pytest.mark.parametrize(
    'arguments',
    [
        ['--forced'],
        ['--retire', '--forced'],
        ['--flatten', '--retire'],
        ['--flatten', '--no-wait', '--timeout', '3'],
        ['--flatten', '--timeout', '-1'],
    ],
)
def test_wrong_usage_does_nothing(lineage, disks, release, arguments):
    assert release(*arguments).code == 2
    assert lineage.flattens() == []


@pytest.mark.parametrize('forced', [False, True])
def test_flatten_queues_the_children_and_returns(
    lineage, disks, release, forced
):
    ran = release('--flatten', '--no-wait', *['--forced'] * forced)
    assert ran.code == 0
    queued = lineage.flattens()
    assert [one.clone.uuid for one in queued] == [one.uuid for one in disks]
    assert {(one.why, one.state, one.forced) for one in queued} == {
        (FlattenReason.RELEASE, FlattenState.WANTED, forced)
    }
    assert 'flatten list' in ran.err


def test_flatten_waits_until_nothing_needs_the_image(
    lineage, disks, release, meanwhile
):
    running = []

    def begin():
        running.append(lineage.next_flatten('a-manager', 60, 1))
        lineage.flatten_progress(running[0], 43, 100, 60)

    def refuse_second():
        second = lineage.next_flatten('a-manager', 60, 1)
        lineage.put_back_flatten(second, 'RbdImageInUse: open at 1.2.3.4')

    def delete_second():
        for state in (State.DELETING, State.RETIRED, State.DELETED):
            move(lineage, disks[1], state)
        lineage.cancel_flattens_of(disks[1], 'the image is gone')

    meanwhile += [
        begin,
        lambda: lineage.flattened(running[0]),
        refuse_second,
        delete_second,
    ]
    ran = release('--flatten')
    assert ran.code == 0
    lines = ran.err.splitlines()
    assert lines == [
        '2 are to be flattened.',
        '0 of 2 flattened; waiting for a manager',
        '0 of 2 flattened; vms/a_disk 43 %',
        '1 of 2 flattened; waiting for a manager',
        '1 of 2 flattened; vms/b_disk waits: RbdImageInUse: open at 1.2.3.4',
        '2 of 2 flattened',
        f'Nothing needs it any more: run "{DELETE}" now.',
    ]


def test_a_cancelled_flatten_is_a_refusal(lineage, disks, release, meanwhile):
    def cancel():
        conftest.flatten(lineage, disks[0])
        lineage.cancel_flatten(lineage.flattens()[1], 'not tonight')

    meanwhile.append(cancel)
    ran = release('--flatten')
    assert ran.code == 1
    assert ran.err.endswith(
        '1 of 2 flattened; vms/b_disk was not: not tonight\n'
    )


def test_a_child_taken_meanwhile_is_noticed(
    lineage, parent, disks, release, meanwhile
):
    def flatten_and_launch():
        for disk in disks:
            conftest.flatten(lineage, disk)
        conftest.make(lineage, parent, 'new')

    meanwhile.append(flatten_and_launch)
    ran = release('--flatten')
    assert ran.code == 1
    assert 'run this again' in ran.err


def test_an_interrupt_ends_the_waiting_only(
    lineage, disks, release, meanwhile
):
    def interrupt():
        raise KeyboardInterrupt

    meanwhile.append(interrupt)
    ran = release('--flatten')
    assert ran.code == 1
    assert ran.err.endswith('the managers go on with it.\n')
    states = {one.state for one in lineage.flattens()}
    assert states == {FlattenState.WANTED}


def test_retiring_waits_until_the_name_is_free(
    database, lineage, disks, release, meanwhile
):
    database.configure(
        f'[database]\nconnection = {database.url}\n[ceph]\nclone_format = 1\n'
    )

    def refuse():
        held = lineage.hold(the_image(lineage), 'a-manager', 60)
        lineage.let_go(held, 'DiskInUse: open at 1.2.3.4')

    meanwhile += [
        refuse,
        lambda: move(lineage, the_image(lineage), State.RETIRED, reason=''),
    ]
    ran = release('--retire')
    assert ran.code == 0
    name = f'images/{IMAGE}'
    first, asked, refused, retired, then = ran.err.splitlines()
    assert first == f'{name} is to be moved to the trash.'
    assert asked == f'{name} is deleting and waits for a manager'
    assert 'waits: DiskInUse: open at 1.2.3.4 (next attempt 20' in refused
    assert retired == f'{name} is retired'
    assert DELETE in then
    clone = the_image(lineage, State.RETIRED)
    assert (clone.image.id, clone.clone_format) == ('1234', CloneFormat.V1)
    assert 'It is in the trash' in release().err
    assert release('--retire').code == 0


def test_retiring_does_not_wait_if_told(lineage, disks, release):
    ran = release('--retire', '--no-wait')
    assert (ran.code, the_image(lineage).state) == (0, State.DELETING)
    assert 'on its way to the trash' in release().err


def test_who_retires_an_image_of_ours_is_in_its_row(database, lineage, disks):
    image = conftest.make_image(lineage, disks[0], 'backup')
    below = conftest.adopt(
        lineage, 'backup', image.image.id, glance_image_id='backup'
    )
    conftest.make(lineage, below, 'd_disk')
    ran = database.run('image', 'release', 'backup', '--retire', '--no-wait')
    assert ran.code == 0
    clone = conftest.now(lineage, image)
    assert clone.state is State.DELETING
    assert clone.owner.startswith('rbdcloner-manage:')
    assert clone.lease_expires_at is None


def test_an_image_that_is_being_restored_is_busy(lineage, disks, release):
    release('--retire', '--no-wait')
    retired = move(lineage, the_image(lineage), State.RETIRED)
    restoring = move(
        lineage, retired, State.RESTORING, owner='a-manager', lease_s=60
    )
    ran = release('--retire', '--no-wait')
    assert ran.code == 1
    assert 'another request works on it' in ran.err
    assert conftest.now(lineage, restoring).state is State.RESTORING


@pytest.fixture
def retired(lineage, disks, release):
    """The Glance image, in the trash."""
    release('--retire', '--no-wait')
    return move(lineage, the_image(lineage), State.RETIRED)


@pytest.mark.parametrize('by', ['glance', 'uuid', 'name'])
def test_a_retired_image_is_brought_back(
    lineage, retired, restore, meanwhile, by
):
    meanwhile.append(lambda: move(lineage, retired, State.READY))
    wanted = {'glance': IMAGE, 'uuid': retired.uuid, 'name': IMAGE}[by]
    ran = restore(wanted)
    assert ran.code == 0
    assert ran.err.splitlines() == [
        f'images/{IMAGE} is to be moved out of the trash.',
        f'images/{IMAGE} is restoring and waits for a manager',
        f'images/{IMAGE} is ready',
    ]


@pytest.mark.parametrize('by', ['uuid', 'name'])
def test_a_deleted_disk_is_brought_back(lineage, parent, restore, by):
    disk = conftest.make(lineage, parent, 'mine', *RETIRED)
    ran = restore({'uuid': disk.uuid, 'name': 'mine'}[by], '--no-wait')
    assert ran.code == 0
    now = conftest.now(lineage, disk)
    assert now.state is State.RESTORING
    assert now.owner.startswith('rbdcloner-manage:')


def test_a_restoration_that_ceph_refuses_is_a_failure(
    lineage, retired, restore, meanwhile
):
    meanwhile.append(
        lambda: move(
            lineage, retired, State.RETIRED, reason='RbdImageExists: taken'
        )
    )
    ran = restore(IMAGE)
    assert ran.code == 1
    assert ran.err.endswith('is retired: RbdImageExists: taken\n')


def test_of_several_that_had_the_name_one_is_asked_for(
    lineage, parent, restore
):
    twins = [
        conftest.make(lineage, parent, 'twin', *RETIRED, image_id=str(number))
        for number in range(2)
    ]
    ran = restore('twin', '--no-wait')
    assert ran.code == 1
    assert all(twin.uuid in ran.err for twin in twins)
    assert restore(twins[1].uuid, '--no-wait').code == 0
    assert conftest.now(lineage, twins[0]).state is State.RETIRED


def test_a_name_that_is_taken_is_not_given_back(lineage, parent, restore):
    disk = conftest.make(lineage, parent, 'mine', *RETIRED)
    conftest.make(lineage, parent, 'mine', image_id='another')
    ran = restore(disk.uuid, '--no-wait')
    assert (ran.code, ran.err) == (1, 'Disk mine in pool vms exists.\n')
    assert conftest.now(lineage, disk).state is State.RETIRED


def test_what_is_being_destroyed_is_busy(lineage, parent, restore):
    disk = conftest.make(lineage, parent, 'mine', *RETIRED)
    lineage.hold(disk, 'a-reaper', 60)
    assert restore('mine', '--no-wait').code == 1
    assert conftest.now(lineage, disk).state is State.RETIRED


@pytest.mark.parametrize(
    ('wanted', 'code', 'said'),
    [
        ('a_disk', 1, 'vms/a_disk is ready, not in the trash'),
        ('c_disk', 1, 'vms/c_disk is deleted, not in the trash'),
        ('unheard-of', 3, 'Nothing is recorded of unheard-of'),
    ],
)
def test_what_is_not_in_the_trash_is_not_restored(
    disks, restore, wanted, code, said
):
    ran = restore(wanted)
    assert ran.code == code
    assert said in ran.err

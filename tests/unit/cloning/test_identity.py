# SPDX-License-Identifier: Apache-2.0
"""Rows know images by their ids, callers by their names: both must agree."""

import dataclasses

import pytest

from rbdcloner import errors
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.states import State
from tests.unit.cloning import service
from tests.unit.cloning import tree

STEPS = ('prepare', 'execute', 'commit')


@pytest.fixture(params=list(CloneFormat))
def world(request):
    with service.Service(request.param) as made:
        yield made


@pytest.fixture
def process(world):
    return world.process()


@pytest.fixture
def disk(world, process):
    return process.engine.create_disk(service.request(world.add_image()))


def deleted(process, disk):
    return process.engine.delete_disk('vms', disk.image.name)


def settle(world, process):
    """Let recovery and the reaper do what they can."""
    world.pass_time()
    process.recovery.sweep()
    process.reaper.sweep()


def test_a_renamed_disk_is_not_deleted_until_it_has_its_name(
    world, process, disk
):
    world.ceph.rename_image(disk.image, 'renamed')
    for _twice in range(2):
        with pytest.raises(errors.RbdImageRenamed) as raised:
            deleted(process, disk)
        assert 'renamed' in str(raised.value)
    settle(world, process)
    assert world.ceph.named('vms') == {'renamed': disk.image.id}
    assert tree.row(process, disk).state is State.DELETING
    renamed = dataclasses.replace(disk.image, name='renamed')
    world.ceph.rename_image(renamed, disk.image.name)
    settle(world, process)
    assert tree.row(process, disk).state is State.DELETED
    assert world.ceph.named('vms') == {}


def test_another_image_of_the_name_is_not_deleted(world, process, disk):
    name = disk.image.name
    world.ceph.rename_image(disk.image, 'renamed')
    other = world.ceph.add_image('vms', name, service.MIB)
    with pytest.raises(errors.RbdImageRenamed):
        deleted(process, disk)
    settle(world, process)
    assert world.ceph.named('vms') == {
        'renamed': disk.image.id,
        name: other.id,
    }


@pytest.mark.parametrize('how', ['remove_image', 'trash_image'])
def test_a_deletion_says_that_another_image_has_the_name(
    world, process, disk, how
):
    getattr(world.ceph, how)(disk.image)
    other = world.ceph.add_image('vms', disk.image.name, service.MIB)
    with pytest.raises(errors.RbdImageReplaced) as raised:
        deleted(process, disk)
    assert other.id in str(raised.value)
    settle(world, process)
    assert world.ceph.named('vms') == {disk.image.name: other.id}
    world.ceph.remove_image(other)
    settle(world, process)
    assert tree.row(process, disk).state is State.DELETED
    assert world.ceph.inventory() == _golden(world)


@pytest.mark.parametrize('reaped', [False, True])
@pytest.mark.parametrize('call', ['', 'the-same-call'])
def test_a_repeated_deletion_says_that_another_image_has_the_name(
    world, process, disk, reaped, call
):
    name = disk.image.name
    process.engine.delete_disk('vms', name, call)
    if reaped:
        settle(world, process)
    process.engine.delete_disk('vms', name, call)
    other = world.ceph.add_image('vms', name, service.MIB)
    for ask in (
        lambda: process.engine.delete_disk('vms', name, call),
        lambda: process.engine.delete_disks(disk.instance_uuid, '', call),
    ):
        with pytest.raises(errors.RbdImageReplaced) as raised:
            ask()
        assert other.id in str(raised.value)
    settle(world, process)
    assert world.ceph.named('vms') == {name: other.id}
    world.ceph.remove_image(other)
    assert deleted(process, disk).state is State.DELETED


def test_a_deletion_of_what_was_never_made_says_that_the_name_is_taken(
    world, process
):
    asked = service.request(world.add_image())
    other = world.ceph.add_image('vms', asked.name, service.MIB)
    with pytest.raises(errors.NameTaken):
        process.engine.create_disk(asked)
    with pytest.raises(errors.RbdImageReplaced):
        process.engine.delete_disk('vms', asked.name)
    assert world.ceph.named('vms') == {asked.name: other.id}


def test_a_repeated_deletion_says_that_others_restored_the_image(
    world, process, disk
):
    deleted(process, disk)
    world.ceph.restore(disk.image)
    with pytest.raises(errors.RbdImageReplaced):
        deleted(process, disk)
    assert world.ceph.named('vms') == {disk.image.name: disk.image.id}


def test_a_repeated_deletion_in_an_old_database_is_not_answered_as_done(
    world, process, disk
):
    process.generation.advance()
    deleted(process, disk)
    world.back_up()
    process.generation.advance()
    new = process.engine.create_disk(
        service.request(
            disk.glance_image_id,
            name=disk.image.name,
            instance_uuid=disk.instance_uuid,
        )
    )
    world.restore()
    restored = world.process()
    with pytest.raises(errors.DatabaseOutdated):
        deleted(restored, disk)
    assert world.ceph.named('vms') == {new.image.name: new.image.id}


def test_a_late_repeated_deletion_spares_our_own_newer_disk(
    world, process, disk
):
    process.engine.delete_disk('vms', disk.image.name, 'a-call')
    again = service.request(
        disk.glance_image_id,
        name=disk.image.name,
        instance_uuid=disk.instance_uuid,
        after=0,
    )
    with pytest.raises(errors.CreationOutdated) as raised:
        process.engine.create_disk(again)
    new = process.engine.create_disk(
        dataclasses.replace(again, after=raised.value.kwargs['later'])
    )
    gone = process.engine.delete_disk('vms', disk.image.name, 'a-call')
    assert gone.uuid == disk.uuid
    assert tree.row(process, new).state is State.READY
    assert world.ceph.named('vms') == {new.image.name: new.image.id}


def _golden(world):
    return [one for one in world.ceph.inventory() if one.startswith('images/')]


@pytest.mark.parametrize('steps', range(1, 4))
def test_a_disk_that_is_migrated_is_deleted_neither_way(
    world, process, disk, steps
):
    for step in STEPS[:steps]:
        world.ceph.migrate(disk.image, step)
    before = world.ceph.inventory()
    done = steps == len(STEPS)
    refused = errors.RbdImageReplaced if done else errors.RbdImageMigrating
    with pytest.raises(refused):
        deleted(process, disk)
    process.survey.look()
    settle(world, process)
    assert world.ceph.inventory() == before
    # Its parent is needed still.
    (parent,) = process.lineage.parents([disk.parent.id])
    assert process.lineage.has_children(parent)
    for step in STEPS[steps:]:
        world.ceph.migrate(disk.image, step)
    # What an administrator adopts is a disk that can be deleted.
    adopted = process.noted.adoption.adopt(
        service.request(
            '', name=disk.image.name, instance_uuid=disk.instance_uuid
        )
    )
    assert adopted.image.id != disk.image.id
    deleted(process, disk)
    settle(world, process)
    assert world.ceph.named('vms') == {}
    assert world.ceph.trashed('vms') == {}


@pytest.mark.parametrize('steps', range(1, 4))
def test_disks_of_an_image_that_is_migrated_come_and_go(
    world, process, disk, steps
):
    golden = Image(world.ceph.fsid, 'images', '', disk.glance_image_id)
    golden = dataclasses.replace(golden, id=disk.parent.snapshot.image.id)
    for step in STEPS[:steps]:
        world.ceph.migrate(golden, step)
    before = [one for one in world.ceph.inventory() if 'images/' in one]
    process.survey.look()
    deleted(process, disk)
    settle(world, process)
    assert world.ceph.named('vms') == {}
    assert [o for o in world.ceph.inventory() if 'images/' in o] == before

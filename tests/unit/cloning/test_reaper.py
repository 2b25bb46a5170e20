# SPDX-License-Identifier: Apache-2.0
"""What is left of an import goes, whoever gave it up and when."""

import pytest

from rbdcloner import errors
from rbdcloner.cloning import recovery
from rbdcloner.db import releasing
from rbdcloner.model import CloneFormat
from rbdcloner.states import BaseState
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.unit.cloning import bases
from tests.unit.cloning import service

EXPIRED = -1.0


@pytest.fixture(params=list(CloneFormat))
def importer(request):
    with service.Service(request.param) as world:
        yield bases.Importer(world)


def test_a_dropped_base_goes_though_glance_has_its_image(importer):
    base = importer.make()
    importer.lineage.drop_base(base, 'idle')
    importer.process.sweep_until_quiet()
    importer.assert_nothing_left()
    now = importer.lineage.base(base.uuid)
    assert now.state is BaseState.DROPPED
    assert now.clone.state is State.DELETED


def test_a_releasing_snapshot_of_a_base_may_go_before_its_image(importer):
    base = importer.make()
    dropped = importer.lineage.drop_base(base, 'idle')
    (parent,) = importer.lineage.unneeded_parents(0, 10)
    importer.process.recovery.releaser.release(parent)
    assert importer.world.ceph.snapshots(dropped.clone.image) == []
    importer.process.sweep_until_quiet()
    importer.assert_nothing_left()


def test_a_base_stays_while_nobody_drops_it(importer):
    base = importer.make()
    importer.world.pass_time()
    importer.process.sweep_until_quiet()
    importer.process.survey.look()
    now = importer.lineage.base(base.uuid)
    assert (now.state, now.clone.state) == (BaseState.READY, State.READY)
    assert importer.lineage.parent_of_base(base) is not None
    disk = importer.disk_of(base)
    importer.process.engine.remove(disk, service.ASKED)
    importer.process.sweep_until_quiet()
    assert importer.lineage.parent_of_base(base) is not None


def test_a_base_is_dropped_once_its_disks_are_gone(importer):
    base = importer.make()
    disk = importer.disk_of(base)
    with pytest.raises(errors.ParentHasChildren):
        importer.lineage.drop_base(base, 'idle')
    importer.process.engine.remove(disk, service.ASKED)
    importer.process.sweep_until_quiet()
    importer.lineage.drop_base(base, 'idle')
    importer.process.sweep_until_quiet()
    importer.assert_nothing_left()


@pytest.mark.parametrize('steps', range(6))
def test_what_a_dead_importer_left_is_undone(importer, steps):
    base = importer.run(EXPIRED)
    clone = importer.reserve(base, EXPIRED)
    acts = [
        lambda: importer.create(clone),
        lambda: importer.tag(clone),
        lambda: importer.plan(importer.lineage.bases()[0].clone),
        lambda: importer.take(
            importer.plan(importer.lineage.bases()[0].clone)
        ),
    ]
    for act in acts[:steps]:
        act()
    importer.process.sweep_until_quiet()
    importer.assert_nothing_left()
    again = importer.run()
    assert again.id == base.id
    assert again.clone.state is State.FAILED
    made = importer.reserve(again)
    assert made.image.name != clone.image.name


@pytest.mark.parametrize('steps', range(5))
def test_a_living_importers_image_is_left_alone(importer, steps):
    base = importer.run()
    clone = importer.reserve(base)
    if steps > 0:
        importer.create(clone)
    if steps > 1:
        clone = importer.tag(clone)
    if steps > 2:
        planned = importer.plan(clone)
    if steps > 3:
        importer.take(planned)
    before = importer.world.ceph.inventory()
    importer.process.recovery.sweep()
    importer.process.recovery.take_over()
    importer.process.reaper.sweep()
    importer.process.survey.look()
    assert importer.world.ceph.inventory() == before
    assert importer.lineage.bases()[0].clone.state is State.RESERVED


def test_parents_that_cannot_be_released_keep_no_other_from_it(monkeypatch):
    """More of them than one sweep looks at, and all are older."""
    monkeypatch.setattr(recovery, '_AT_ONCE', 2)
    with service.Service(CloneFormat.V1) as world:
        process = world.process()
        images = [world.add_image(protected=False) for _ in range(5)]
        for image_id in images:
            disk = process.engine.create_disk(service.request(image_id))
            world.ceph.fail('unprotect', errors.CephForbidden(act='', pool=''))
            process.engine.remove(disk, service.ASKED)
            process.reaper.sweep()
        world.pass_time()
        *stay, goes = process.lineage.unneeded_parents(0, 10)
        forbidden = errors.CephForbidden(act='', pool='')
        world.ceph.fail('unprotect', forbidden, times=len(stay))
        for _ in range(3):
            process.recovery.sweep()
        left = {each.id for each in process.lineage.unneeded_parents(0, 10)}
        assert goes.id not in left


def test_a_parent_whose_children_are_hidden_takes_new_ones():
    with service.Service(CloneFormat.V1) as world:
        process = world.process()
        image_id = world.add_image(protected=False)
        disk = process.engine.create_disk(service.request(image_id))
        hidden = errors.ChildrenHidden(snapshot='', user='', act='', pool='')
        world.ceph.fail('children', hidden, times=99)
        process.engine.remove(disk, service.ASKED)
        process.reaper.sweep()
        world.pass_time()
        process.recovery.sweep()
        another = process.engine.create_disk(service.request(image_id))
        assert another.state is State.READY


def test_a_child_that_was_taken_at_once_keeps_its_parent(monkeypatch):
    """Two writers of a Galera cluster see each other's rows a moment later."""
    with service.Service(CloneFormat.V2) as world:
        process = world.process()
        request = service.request(world.add_image())
        world.ceph.fail('clone', errors.CephUnavailable(act='clone'))
        with pytest.raises(errors.CephUnavailable):
            process.engine.create_disk(request)
        (parent,) = process.lineage.parents()
        # The count in the releaser's own transaction misses it. One server
        # is never like that.
        monkeypatch.setattr(releasing, 'refuse_children', lambda *given: None)
        with pytest.raises(errors.ParentHasChildren):
            process.recovery.releaser.remove(parent, service.ASKED)
        (now,) = process.lineage.parents()
        assert now.state is ParentState.ACTIVE
        assert process.engine.create_disk(request).state is State.READY

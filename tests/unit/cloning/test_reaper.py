# SPDX-License-Identifier: Apache-2.0
"""What is left of an import goes, whoever gave it up and when."""

import pytest

from rbdcloner import errors
from rbdcloner.model import CloneFormat
from rbdcloner.states import BaseState
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
    importer.process.engine.remove(disk)
    importer.process.sweep_until_quiet()
    assert importer.lineage.parent_of_base(base) is not None


def test_a_base_is_dropped_once_its_disks_are_gone(importer):
    base = importer.make()
    disk = importer.disk_of(base)
    with pytest.raises(errors.ParentHasChildren):
        importer.lineage.drop_base(base, 'idle')
    importer.process.engine.remove(disk)
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

# SPDX-License-Identifier: Apache-2.0
"""Who comes after a process that died with a snapshot, or flattening."""

import fixtures

from rbdcloner.cloning import flattening
from rbdcloner.model import Clone
from rbdcloner.model import FlattenReason
from rbdcloner.model import Parent
from rbdcloner.model import Request
from rbdcloner.states import FlattenState
from rbdcloner.states import State
from tests.unit.cloning import dying
from tests.unit.cloning import service
from tests.unit.cloning import tree
from tests.unit.cloning.service import Process
from tests.unit.cloning.service import Service


def _disk(world: Service) -> str:
    golden = tree.grow(world, 1, protected=False)
    world.ceph.write(_child(world, golden), 0, b'before')
    return golden


def _with_snapshot(world: Service) -> str:
    golden = _disk(world)
    _create(world.process(), golden)
    world.ceph.write(_child(world, golden), 0, b'after!')
    return golden


def _child(world: Service, golden: str):
    return world.child(tree.name_of(golden))


def _create(process: Process, golden: str) -> Parent:
    # Sent again it is the same request.
    return process.snapshots.create_snapshot(
        'vms', tree.name_of(golden), 'then', Request(golden)
    )


def _remove(process: Process, golden: str) -> None:
    process.snapshots.remove_snapshot('vms', tree.name_of(golden), 'then')


def _roll_back(process: Process, golden: str) -> Clone:
    return process.snapshots.rollback_disk('vms', tree.name_of(golden), 'then')


class NamedSnapshotTest(dying.CrashTest):
    def taken(self, world: Service) -> list[str]:
        there = world.ceph.inventory()
        return [each for each in there if each.endswith('@then')]

    def assert_all_go(self, world: Service, golden: str) -> None:
        process = world.process()
        tree.delete(process, golden)
        process.sweep_until_quiet()
        self.assertEqual(2, len(world.ceph.inventory()))

    def test_creation_called_again_ends_in_one_snapshot(self) -> None:
        def check(world: Service, golden: str) -> None:
            made = _create(world.process(), golden)
            self.assertEqual(1, len(self.taken(world)))
            rows = world.process().lineage.snapshots_of(made.snapshot.image)
            self.assertEqual([made], rows)
            self.assert_all_go(world, golden)

        steps = self.each_death(_disk, _create, check)
        self.assertEqual(['commit', 'take_snapshot', 'commit'], steps)

    def test_creation_not_called_again_leaves_nothing_without_row(
        self,
    ) -> None:
        self.useFixture(
            fixtures.MonkeyPatch('rbdcloner.db.waiting._MIN_IDLE_PLAN_S', 0)
        )

        def check(world: Service, golden: str) -> None:
            process = world.process()
            tree.settle(process)
            disk = process.engine.get_disk('vms', tree.name_of(golden))
            rows = process.lineage.snapshots_of(disk.image)
            self.assertEqual(len(rows), len(self.taken(world)))
            self.assert_all_go(world, golden)

        self.each_death(_disk, _create, check)

    def test_removal_is_finished_or_was_not_begun(self) -> None:
        def check(world: Service, golden: str) -> None:
            process = world.process()
            tree.settle(process)
            disk = process.engine.get_disk('vms', tree.name_of(golden))
            rows = process.lineage.snapshots_of(disk.image)
            self.assertEqual(len(rows), len(self.taken(world)))
            _remove(process, golden)
            self.assertEqual([], self.taken(world))
            self.assertEqual(b'after!', world.ceph.read(disk.image, 0, 6))

        self.each_death(_with_snapshot, _remove, check)

    def test_rollback_is_finished_or_was_not_begun(self) -> None:
        def check(world: Service, golden: str) -> None:
            process = world.process()
            tree.settle(process)
            disk = process.engine.get_disk('vms', tree.name_of(golden))
            self.assertIs(State.READY, disk.state)
            self.assertIn(
                world.ceph.read(disk.image, 0, 6), (b'before', b'after!')
            )
            _roll_back(process, golden)
            self.assertEqual(b'before', world.ceph.read(disk.image, 0, 6))

        steps = self.each_death(_with_snapshot, _roll_back, check)
        self.assertEqual(['commit', 'rollback', 'commit'], steps)


class FlattenTest(dying.CrashTest):
    """Of an image whose disk is retired, and goes with that."""

    def setUp(self) -> None:
        super().setUp()
        progress = flattening._Pace.progress

        def told(pace: flattening._Pace, done: int, total: int) -> bool:
            pace._flattener.ceph.on_act('object', 'before')
            return progress(pace, done, total)

        self.useFixture(
            fixtures.MonkeyPatch(
                'rbdcloner.cloning.flattening._Pace.progress', told
            )
        )

    def prepare(self, world: Service) -> str:
        golden = tree.grow(world, 1)
        process = world.process()
        name = tree.name_of(golden)
        process.engine.resize_disk('vms', name, 9 * service.MIB)
        location = tree.snapshot(process, golden)
        tree.register(world, tree.next_id(golden), location)
        tree.delete(process, golden)
        image = process.lineage.find(
            world.ceph.fsid, 'images', '', tree.next_id(golden)
        )
        process.lineage.want_flatten(image, FlattenReason.RELEASE)
        return golden

    def test_it_is_finished_and_lets_go_what_was_above(self) -> None:
        def check(world: Service, golden: str) -> None:
            process = world.process()
            tree.settle(process)
            (flatten,) = process.lineage.flattens()
            self.assertIs(FlattenState.DONE, flatten.state)
            image = flatten.clone
            self.assertFalse(image.attached)
            self.assertIsNone(world.ceph.find_image(image.image).parent)
            self.assertEqual(b'golden', world.ceph.read(image.image, 0, 6))
            self.assertEqual(b'1', world.ceph.read(image.image, 1000, 1))
            self.assertEqual(4, len(world.ceph.inventory()))

        def run(process: Process, _: str) -> None:
            process.flattener.run_next()

        steps = self.each_death(self.prepare, run, check)
        self.assertEqual(3, steps.count('object'))

# SPDX-License-Identifier: Apache-2.0
"""Who comes after a process that died while it imported an image."""

import contextlib

from rbdcloner import errors
from rbdcloner.states import BaseState
from rbdcloner.states import State
from tests.unit.cloning import dying
from tests.unit.cloning import service
from tests.unit.cloning.service import MIB
from tests.unit.cloning.service import Process
from tests.unit.cloning.service import Service

DATA = b'elsewhere' + bytes(MIB - 9)


def _wanted(world: Service) -> str:
    """Have an image wanted; its id."""
    image_id = world.add_elsewhere(DATA)
    _ask(world.process(), image_id)
    return image_id


def _ready(world: Service) -> str:
    """Have an image imported; its id."""
    image_id = _wanted(world)
    world.process().importer.run_next()
    return image_id


def _ask(process: Process, image_id: str) -> None:
    asked = service.request(image_id, imports=True)
    with contextlib.suppress(errors.ImageImporting):
        process.engine.create_disk(asked)


def _import(process: Process, image_id: str) -> None:
    process.importer.run_next()


def _drop(process: Process, image_id: str) -> None:
    (base,) = process.lineage.bases((BaseState.READY,))
    process.lineage.drop_base(base, 'enough')
    process.recovery.retire_begun()
    process.reaper.sweep()


class BaseCrashTest(dying.CrashTest):
    def assert_whole(self, world: Service, image_id: str) -> None:
        """Assert that a disk of it has its data, and that all goes again."""
        process = world.process()
        asked = service.request(image_id, imports=True)
        disk = process.engine.create_disk(asked)
        self.assertIs(State.READY, disk.state)
        self.assertEqual(DATA[:9], world.ceph.read(disk.image, 0, 9))
        process.sweep_until_quiet()
        (base,) = process.lineage.bases((BaseState.READY,))
        self.assertEqual(
            {disk.image.name, base.clone.image.name},
            set(world.ceph.named('vms')),
        )
        process.engine.delete_disk('vms', asked.name)
        process.sweep_until_quiet()
        del world.glance.images[image_id]
        self.assertEqual(1, process.upkeep.look())
        self.assert_nothing(world)

    def assert_nothing(self, world: Service) -> None:
        world.process().sweep_until_quiet()
        self.assertEqual({}, world.ceph.named('vms'))
        self.assertEqual({}, world.ceph.trashed('vms'))


class ImportTest(BaseCrashTest):
    def test_another_imports_it_whole(self) -> None:
        def check(world: Service, image_id: str) -> None:
            process = world.process()
            process.importer.run_next()
            self.assert_whole(world, image_id)

        steps = self.each_death(_wanted, _import, check)
        self.assertEqual(
            [
                *('commit', 'commit', 'create', 'tag', 'write', 'commit'),
                *('commit', 'take_snapshot', 'commit', 'protect', 'commit'),
            ],
            steps,
        )

    def test_nothing_half_written_is_ever_a_parent(self) -> None:
        def check(world: Service, image_id: str) -> None:
            process = world.process()
            (base,) = process.lineage.bases()
            parent = process.lineage.parent_of_base(base)
            self.assertEqual(base.state is BaseState.READY, parent is not None)

        self.each_death(_wanted, _import, check)

    def test_dropped_instead_it_leaves_nothing(self) -> None:
        def check(world: Service, image_id: str) -> None:
            process = world.process()
            (base,) = process.lineage.bases()
            process.lineage.drop_base(base, 'enough')
            self.assert_nothing(world)

        self.each_death(_wanted, _import, check)


class DropTest(BaseCrashTest):
    def test_base_is_there_or_goes_for_good(self) -> None:
        def check(world: Service, image_id: str) -> None:
            process = world.process()
            (base,) = process.lineage.bases()
            if base.state is BaseState.READY:
                self.assert_whole(world, image_id)
            self.assert_nothing(world)

        self.each_death(_ready, _drop, check)

# SPDX-License-Identifier: Apache-2.0
"""Who comes after a process that died while it worked on a disk."""

from collections.abc import Iterator
import typing

import testtools

from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.states import State
from tests import ceph_double
from tests.unit.cloning import dying
from tests.unit.cloning import service
from tests.unit.cloning.service import Process
from tests.unit.cloning.service import Service


def create(process: Process, image_id: str) -> Clone:
    return process.engine.create_disk(_request(image_id))


def delete(process: Process, image_id: str) -> Clone:
    return process.engine.delete_disk('vms', _request(image_id).name)


def _request(image_id: str):
    return service.request(
        image_id, name=f'{image_id}_disk', instance_uuid=image_id
    )


def _image(world: Service) -> str:
    return world.add_image(protected=False)


def _disk(world: Service) -> str:
    image_id = _image(world)
    create(world.process(), image_id)
    return image_id


class CreateTest(dying.CrashTest):
    def test_called_again_it_ends_in_the_same_place(self) -> None:
        def check(world: Service, image_id: str) -> None:
            clone = create(world.process(), image_id)
            self.assertIs(State.READY, clone.state)
            self.assertEqual(
                {clone.image.name: clone.image.id}, world.ceph.named('vms')
            )
            facts = world.ceph.find_image(clone.image)
            self.assertEqual(clone.uuid, facts.tag)
            self.assertEqual(clone.size_bytes, facts.size_bytes)
            self.assertEqual([(clone.image.name, 'ready')], world.rows())

        steps = self.each_death(_image, create, check)
        self.assertEqual(
            [
                *('commit', 'commit', 'clone'),
                *('resize', 'mark_delivered', 'commit'),
            ],
            steps[:2] + steps[-4:],
        )

    def test_not_called_again_it_leaves_nothing_or_the_disk(self) -> None:
        def check(world: Service, image_id: str) -> None:
            world.process().sweep_until_quiet()
            states = {state for _name, state in world.rows()}
            if 'ready' not in states:
                self.assertEqual({}, world.ceph.named('vms'))
                self.assertFalse(_protected(world, image_id))
            self.assertLessEqual(states, {'ready', 'failed'})
            self.assertEqual({}, world.ceph.trashed('vms'))

        self.each_death(_image, create, check)

    def test_deleted_instead_it_leaves_nothing(self) -> None:
        def check(world: Service, image_id: str) -> None:
            if world.rows():
                delete(world.process(), image_id)
            world.process().sweep_until_quiet()
            self.assertEqual({}, world.ceph.named('vms'))
            self.assertEqual({}, world.ceph.trashed('vms'))

        self.each_death(_image, create, check)


class DeleteTest(dying.CrashTest):
    def test_called_again_it_ends_in_the_same_place(self) -> None:
        def check(world: Service, image_id: str) -> None:
            clone = delete(world.process(), image_id)
            self.assertIs(State.RETIRED, clone.state)
            self._assert_gone(world, image_id)

        steps = self.each_death(_disk, delete, check)
        self.assertEqual(['commit', 'trash', 'commit'], steps)

    def test_not_called_again_it_is_finished_all_the_same(self) -> None:
        def check(world: Service, image_id: str) -> None:
            world.process().sweep_until_quiet()
            if world.rows() == [(f'{image_id}_disk', 'ready')]:
                delete(world.process(), image_id)
            self._assert_gone(world, image_id)

        self.each_death(_disk, delete, check)

    def test_the_name_can_be_used_again_at_once(self) -> None:
        def check(world: Service, image_id: str) -> None:
            clone = create(world.process(), image_id)
            self.assertIs(State.READY, clone.state)
            self.assertEqual(
                {clone.image.name: clone.image.id}, world.ceph.named('vms')
            )

        self.each_death(_disk, delete, check)

    def _assert_gone(self, world: Service, image_id: str) -> None:
        world.process().sweep_until_quiet()
        self.assertEqual({}, world.ceph.named('vms'))
        self.assertEqual({}, world.ceph.trashed('vms'))
        self.assertEqual([(f'{image_id}_disk', 'deleted')], world.rows())
        self.assertFalse(_protected(world, image_id))


class ResizeTest(dying.CrashTest):
    def test_row_and_image_agree_afterwards(self) -> None:
        def grow(process: Process, image_id: str) -> Clone:
            return process.engine.resize_disk(
                'vms', f'{image_id}_disk', 5 * service.MIB
            )

        def check(world: Service, image_id: str) -> None:
            world.process().sweep_until_quiet()
            row = world.process().engine.get_disk('vms', f'{image_id}_disk')
            self.assertIs(State.READY, row.state)
            facts = world.ceph.find_image(row.image)
            self.assertEqual(facts.size_bytes, row.size_bytes)
            grown = grow(world.process(), image_id)
            self.assertEqual(5 * service.MIB, grown.size_bytes)

        steps = self.each_death(_disk, grow, check)
        self.assertEqual(['commit', 'resize', 'commit'], steps)


class InsideCloneTest(testtools.TestCase):
    """The one act that a death can leave in part; the suite of the driver,
    on a real cluster, is where these parts were seen."""

    def each_remains(self) -> Iterator[tuple[Service, str]]:
        for clone_format in CloneFormat:
            for half in typing.get_args(ceph_double.Half):
                with Service(clone_format) as world:
                    image_id = world.add_image()
                    process = world.process()
                    world.ceph.on_act = _die_in_clone
                    self.assertRaises(service.Died, create, process, image_id)
                    world.end_leases()
                    world.ceph.on_act = lambda name, when: None
                    world.ceph.half_clone(
                        world.parent_of(image_id),
                        world.child(f'{image_id}_disk'),
                        half,
                    )
                    yield world, image_id

    def test_called_again_it_ends_in_a_whole_child(self) -> None:
        for world, image_id in self.each_remains():
            clone = create(world.process(), image_id)
            self.assertEqual(
                {clone.image.name: clone.image.id}, world.ceph.named('vms')
            )
            self.assertEqual({}, world.ceph.trashed('vms'))
            children = world.ceph.children(clone.parent.snapshot)
            self.assertEqual([clone.image], children)
            self.assertEqual(b'golden', world.ceph.read(clone.image, 0, 6))

    def test_not_called_again_it_leaves_nothing(self) -> None:
        for world, image_id in self.each_remains():
            world.process().sweep_until_quiet()
            self.assertEqual([(f'{image_id}_disk', 'failed')], world.rows())
            self.assert_gone(world, image_id)

    def test_deleted_instead_it_leaves_nothing(self) -> None:
        for world, image_id in self.each_remains():
            delete(world.process(), image_id)
            world.process().sweep_until_quiet()
            self.assert_gone(world, image_id)

    def assert_gone(self, world: Service, image_id: str) -> None:
        self.assertEqual({}, world.ceph.named('vms'))
        self.assertEqual({}, world.ceph.trashed('vms'))
        world.ceph.add_image('vms', f'{image_id}_disk', service.MIB)


def _die_in_clone(name: str, when: str) -> None:
    if name == 'clone':
        raise service.Died(name)


def _protected(world: Service, image_id: str) -> bool:
    facts = world.ceph.find_snapshot('images', '', image_id, 'snap')
    return facts.protected

# SPDX-License-Identifier: Apache-2.0
"""Who comes after a process that died with a disk that others write."""

import json

from rbdcloner import errors
from rbdcloner.model import Clone
from rbdcloner.model import DiskRequest
from rbdcloner.states import State
from tests.unit.cloning import dying
from tests.unit.cloning import service
from tests.unit.cloning.service import MIB
from tests.unit.cloning.service import Process
from tests.unit.cloning.service import Service

INSTANCE = '1c9b6a52-1de1-4c77-8a43-7f7b2f0d3a10'
NAME = f'{INSTANCE}_disk'


def _request(call: str = 'a-call') -> DiskRequest:
    return service.request('', name=NAME, instance_uuid=INSTANCE, call=call)


def _nothing(world: Service) -> str:
    return NAME


def _begun(world: Service) -> str:
    """Begin an import, half written; its RBD id."""
    clone = world.process().imports.begin(_request('before'))
    world.ceph.write(clone.image, 0, b'half')
    return clone.image.id


def _begin(process: Process, _: str) -> Clone:
    return process.imports.begin(_request())


def _finish(process: Process, image_id: str) -> Clone:
    return process.imports.finish('vms', NAME, image_id, 5 * MIB)


def _delete(process: Process) -> None:
    process.engine.delete_disks(INSTANCE, '')


class ImportCrashTest(dying.CrashTest):
    def states(self, world: Service) -> set[str]:
        return {state for _name, state in world.rows()}

    def assert_gone(self, world: Service) -> None:
        process = world.process()
        _delete(process)
        process.sweep_until_quiet()
        self.assertEqual([], world.ceph.inventory())


class BeginTest(ImportCrashTest):
    def check(self, world: Service, _: str) -> None:
        clone = _begin(world.process(), '')
        self.assertIs(State.IMPORTING, clone.state)
        facts = world.ceph.find_image(world.child(NAME))
        self.assertEqual(clone.image, facts.image)
        self.assertEqual(clone.uuid, facts.tag)
        self.assertEqual(bytes(4), world.ceph.read(clone.image, 0, 4))
        world.process().sweep_until_quiet(State.IMPORTING)
        self.assertEqual({}, world.ceph.trashed('vms'))
        ready = _finish(world.process(), clone.image.id)
        self.assertIs(State.READY, ready.state)
        self.assert_gone(world)

    def test_called_again_it_ends_in_one_empty_image(self) -> None:
        steps = self.each_death(_nothing, _begin, self.check)
        self.assertEqual(
            ['commit', 'create', 'mark_delivered', 'commit'], steps
        )

    def test_begun_anew_it_ends_in_another_empty_image(self) -> None:
        steps = self.each_death(_begun, _begin, self.check)
        self.assertEqual(
            [
                *('trash', 'commit', 'commit'),
                *('create', 'mark_delivered', 'commit'),
            ],
            steps[-6:],
        )

    def test_not_called_again_it_leaves_nothing_or_the_image(self) -> None:
        def check(world: Service, _: str) -> None:
            world.process().sweep_until_quiet(State.IMPORTING)
            self.assertLessEqual(self.states(world), {'importing', 'failed'})
            there = world.ceph.named('vms')
            importing = 'importing' in self.states(world)
            self.assertEqual([NAME] if importing else [], list(there))
            self.assertEqual({}, world.ceph.trashed('vms'))
            self.assert_gone(world)

        self.each_death(_nothing, _begin, check)

    def test_begun_anew_and_left_nothing_half_begun_is_a_disk(self) -> None:
        def check(world: Service, image_id: str) -> None:
            world.process().sweep_until_quiet(State.IMPORTING)
            self.assertNotIn('ready', self.states(world))
            self.assertEqual({}, world.ceph.trashed('vms'))
            self.assert_gone(world)

        self.each_death(_begun, _begin, check)

    def test_deleted_instead_it_leaves_nothing(self) -> None:
        def check(world: Service, _: str) -> None:
            self.assert_gone(world)

        self.each_death(_nothing, _begin, check)
        self.each_death(_begun, _begin, check)


class FinishTest(ImportCrashTest):
    def test_called_again_it_ends_in_the_whole_disk(self) -> None:
        def check(world: Service, image_id: str) -> None:
            ready = _finish(world.process(), image_id)
            self.assertIs(State.READY, ready.state)
            self.assertEqual(5 * MIB, ready.size_bytes)
            facts = world.ceph.find_image(ready.image)
            self.assertEqual(5 * MIB, facts.size_bytes)
            self.assertEqual(b'half', world.ceph.read(ready.image, 0, 4))

        steps = self.each_death(_begun, _finish, check)
        self.assertEqual(
            ['commit', 'resize', 'mark_committed', 'commit'], steps
        )

    def test_not_called_again_it_is_a_disk_or_is_not(self) -> None:
        def check(world: Service, _: str) -> None:
            process = world.process()
            process.sweep_until_quiet(State.IMPORTING)
            process.survey.look()
            self.assertLessEqual(self.states(world), {'importing', 'ready'})
            self.assert_gone(world)

        self.each_death(_begun, _finish, check)

    def test_begun_anew_instead_only_a_committed_image_is_used(self) -> None:
        def check(world: Service, image_id: str) -> None:
            if self.states(world) == {'ready'}:
                return
            facts = world.ceph.find_image(world.child(NAME))
            if facts.committed:
                process = world.process()
                self.assertRaises(errors.DiskExists, _begin, process, '')
                self.assertEqual({'ready'}, self.states(world))
                self.assertEqual(5 * MIB, facts.size_bytes)
                self.assertEqual(b'half', world.ceph.read(facts.image, 0, 4))
                return
            clone = _begin(world.process(), '')
            self.assertNotEqual(image_id, clone.image.id)
            world.process().sweep_until_quiet(State.IMPORTING)
            self.assertEqual([NAME], list(world.ceph.named('vms')))

        self.each_death(_begun, _finish, check)


class AdoptTest(ImportCrashTest):
    def prepare(self, world: Service) -> str:
        image_id = world.add_image()
        world.ceph.clone(
            world.parent_of(image_id),
            world.child(NAME),
            world.clone_format,
            22,
        )
        world.ceph.note('vms', NAME, json.dumps({'instance_uuid': INSTANCE}))
        return image_id

    def test_whoever_looks_next_adopts_it(self) -> None:
        def look(process: Process, _: str) -> None:
            process.noted.look()

        def check(world: Service, image_id: str) -> None:
            world.process().noted.look()
            process = world.process()
            clone = process.engine.get_disk('vms', NAME)
            facts = world.ceph.find_image(clone.image)
            self.assertEqual(
                (State.READY, 1), (clone.state, len(world.rows()))
            )
            self.assertEqual(clone.uuid, facts.tag)
            self.assertEqual(image_id, clone.parent.glance_image_id)
            self.assertEqual({}, world.ceph.notes('vms'))
            _delete(process)
            process.sweep_until_quiet()
            self.assertEqual({}, world.ceph.named('vms'))
            self.assertEqual({}, world.ceph.trashed('vms'))

        steps = self.each_death(self.prepare, look, check)
        self.assertEqual(
            ['commit', 'commit', 'mark_delivered', 'strike_note'], steps
        )


class UnwantedTest(ImportCrashTest):
    def prepare(self, world: Service) -> str:
        text = json.dumps({'instance_uuid': INSTANCE, 'unwanted': 'yes'})
        world.ceph.note('vms', f'{INSTANCE}_unwanted', text)
        return _begun(world)

    def test_whoever_looks_next_deletes_it(self) -> None:
        def look(process: Process, _: str) -> None:
            process.noted.look()

        def check(world: Service, image_id: str) -> None:
            process = world.process()
            process.noted.look()
            self.assertEqual({}, world.ceph.notes('vms'))
            process.sweep_until_quiet()
            self.assertEqual({'deleted'}, self.states(world))
            self.assertEqual([], world.ceph.inventory())

        steps = self.each_death(self.prepare, look, check)
        self.assertEqual('strike_note', steps[-1])

# SPDX-License-Identifier: Apache-2.0
"""Disks without a parent, which their callers write into."""

import dataclasses
import typing
import uuid

import testtools

from rbdcloner import errors
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import DiskRequest
from rbdcloner.states import State
from tests import ceph_double
from tests.unit.cloning import service
from tests.unit.cloning.service import MIB


class ImportCase(testtools.TestCase):
    """One process, and a request with the call of a client."""

    def setUp(self) -> None:
        super().setUp()
        self.service = self.useFixture(service.Service())
        self.ceph = self.service.ceph
        self.process = self.service.process()
        self.request = service.request('', call='a-call', after=0)

    def begin(self, request: DiskRequest | None = None) -> Clone:
        """Begin as a client does, who learns of deletions."""
        request = request or self.request
        while True:
            try:
                return self.process.imports.begin(request)
            except errors.CreationOutdated as exc:
                deletion = exc.kwargs['later']
                self.assertGreater(deletion, request.after)
                request = dataclasses.replace(request, after=deletion)

    def begin_again(self) -> Clone:
        call = uuid.uuid4().hex
        return self.begin(dataclasses.replace(self.request, call=call))

    def finish(self, clone: Clone, size_bytes: int = 2 * MIB) -> Clone:
        return self.process.imports.finish(
            'vms', clone.image.name, clone.image.id, size_bytes
        )

    def refused(self, error: type, act: typing.Any, *given: object) -> None:
        with testtools.ExpectedException(error):
            act(*given)

    def assert_settles(self, *names: str) -> None:
        """Assert that only the images of *names* are left in the end."""
        self.process.sweep_until_quiet(State.IMPORTING)
        self.assertEqual(sorted(names), sorted(self.ceph.named('vms')))
        self.assertEqual({}, self.ceph.trashed('vms'))


class BeginTest(ImportCase):
    def test_it_makes_an_empty_tagged_image(self) -> None:
        clone = self.begin()
        self.assertIs(State.IMPORTING, clone.state)
        self.assertIsNone(clone.parent)
        self.assertFalse(clone.attached)
        self.assertIsNone(clone.lease_expires_at)
        facts = self.ceph.find_image(clone.image)
        self.assertEqual(clone.uuid, facts.tag)
        self.assertEqual(2 * MIB, facts.size_bytes)
        self.assertIsNone(facts.parent)

    def test_the_same_call_gets_the_same_image(self) -> None:
        first = self.begin()
        self.assertEqual(first, self.process.imports.begin(self.request))
        self.assertEqual(1, len(self.service.rows()))

    def test_another_call_gets_another_image(self) -> None:
        first = self.begin()
        self.ceph.write(first.image, 0, b'half')
        second = self.begin_again()
        self.assertNotEqual(first.image.id, second.image.id)
        self.assertEqual(bytes(4), self.ceph.read(second.image, 0, 4))
        self.assert_settles(first.image.name)

    def test_a_late_call_does_not_end_what_was_begun_after_it(self) -> None:
        self.begin()
        second = self.begin_again()
        self.refused(
            errors.CreationOutdated, self.process.imports.begin, self.request
        )
        third = dataclasses.replace(self.request, call='never-executed-yet')
        self.refused(
            errors.CreationOutdated, self.process.imports.begin, third
        )
        self.assertIs(State.READY, self.finish(second).state)

    def test_callers_that_know_nothing_of_deletions_begin_again(self) -> None:
        request = dataclasses.replace(self.request, after=None, call='')
        first = self.process.imports.begin(request)
        second = self.process.imports.begin(request)
        self.assertNotEqual(first.image.id, second.image.id)

    def test_what_is_whole_is_not_begun_again(self) -> None:
        ready = self.finish(self.begin())
        self.refused(errors.DiskExists, self.begin_again)
        self.refused(errors.DiskExists, self.begin)
        self.assertEqual(ready, self.finish(ready))

    def test_a_disk_of_an_image_is_not_begun_again(self) -> None:
        image_id = self.service.add_image()
        asked = dataclasses.replace(self.request, image_id=image_id, call='')
        self.process.engine.create_disk(asked)
        self.refused(errors.DiskExists, self.begin)

    def test_another_instances_disk_is_another(self) -> None:
        self.begin()
        other = dataclasses.replace(
            self.request, instance_uuid=str(uuid.uuid4()), call='another'
        )
        self.refused(errors.DiskDiffers, self.begin, other)

    def test_an_image_of_others_keeps_its_name(self) -> None:
        theirs = self.ceph.add_image('vms', self.request.name, 2 * MIB)
        self.refused(errors.NameTaken, self.begin)
        self.assertEqual(theirs, self.ceph.find_image(theirs).image)
        self.assertEqual([(self.request.name, 'failed')], self.service.rows())

    def test_a_full_pool_leaves_nothing(self) -> None:
        self.ceph.add_pool('vms', full=True)
        self.refused(errors.OutOfSpace, self.begin)
        self.ceph.add_pool('vms')
        self.assert_settles()
        # The same call, sent again: nothing of it was delivered.
        self.assertIs(State.IMPORTING, self.begin().state)

    def test_another_pool_is_not_served(self) -> None:
        request = dataclasses.replace(self.request, pool='elsewhere')
        self.refused(errors.PoolNotServed, self.begin, request)

    def test_what_is_still_written_goes_when_it_is_closed(self) -> None:
        first = self.begin()
        with self.ceph.watch(first.image):
            self.refused(errors.DiskInUse, self.begin_again)
            self.ceph.write(first.image, 0, b'goes on')
            self.refused(errors.DiskNotFound, self.finish, first)
        second = self.begin_again()
        self.assertNotEqual(first.image.id, second.image.id)
        self.assert_settles(second.image.name)


class FinishTest(ImportCase):
    def test_it_makes_the_image_a_disk(self) -> None:
        clone = self.begin()
        self.ceph.write(clone.image, 0, b'data')
        ready = self.finish(clone)
        self.assertIs(State.READY, ready.state)
        self.assertEqual(clone.image, ready.image)
        self.assertEqual(b'data', self.ceph.read(ready.image, 0, 4))

    def test_repeated_it_gives_the_same_answer(self) -> None:
        clone = self.begin()
        self.assertEqual(self.finish(clone), self.finish(clone))

    def test_the_disk_grows_and_never_shrinks(self) -> None:
        clone = self.begin()
        grown = self.finish(clone, 5 * MIB)
        self.assertEqual(5 * MIB, grown.size_bytes)
        self.assertEqual(5 * MIB, self.ceph.find_image(grown.image).size_bytes)
        self.assertEqual(grown, self.finish(clone, MIB))

    def test_the_rows_size_is_what_ceph_has(self) -> None:
        clone = self.begin()
        with self.ceph.open(clone.image) as opened:
            opened.resize(7 * MIB)
        self.assertEqual(7 * MIB, self.finish(clone, MIB).size_bytes)

    def test_the_first_image_is_refused_once_a_second_was_begun(self) -> None:
        first = self.begin()
        second = self.begin_again()
        self.refused(errors.DiskDiffers, self.finish, first)
        self.assertIs(State.READY, self.finish(second).state)
        self.refused(errors.DiskDiffers, self.finish, first)

    def test_an_image_that_is_open_is_not_whole(self) -> None:
        clone = self.begin()
        with self.ceph.watch(clone.image):
            self.refused(errors.DiskInUse, self.finish, clone)
        self.assertIs(State.READY, self.finish(clone).state)

    def test_a_deleted_disk_is_not_finished(self) -> None:
        clone = self.begin()
        self.process.engine.delete_disk('vms', clone.image.name)
        self.refused(errors.DiskNotFound, self.finish, clone)
        self.assert_settles()

    def test_what_ceph_refuses_can_be_finished_later(self) -> None:
        clone = self.begin()
        self.ceph.fail('resize', errors.CephRefused(act='x', reason='y'))
        self.refused(errors.CephRefused, self.finish, clone, 5 * MIB)
        self.assertEqual(5 * MIB, self.finish(clone, 5 * MIB).size_bytes)


class ImportingTest(ImportCase):
    """What can be done to a disk that is being written."""

    def test_it_is_busy_for_all_but_its_deletion(self) -> None:
        clone = self.begin()
        name = clone.image.name
        engine, snapshots = self.process.engine, self.process.snapshots
        for act, *given in (
            (engine.resize_disk, 'vms', name, 9 * MIB),
            (snapshots.create_snapshot, 'vms', name, 'snap'),
            (snapshots.rollback_disk, 'vms', name, 'snap'),
            (snapshots.snapshot_disk, 'vms', name, name, 'images'),
        ):
            self.refused(errors.DiskBusy, act, *given)
        self.assertIs(State.RETIRED, engine.delete_disk('vms', name).state)
        self.assert_settles()

    def test_no_disk_of_an_image_is_made_in_its_place(self) -> None:
        self.begin()
        asked = dataclasses.replace(
            self.request, image_id=self.service.add_image(), after=2**62
        )
        self.refused(
            errors.DiskDiffers, self.process.engine.create_disk, asked
        )

    def test_recovery_and_survey_leave_it_alone(self) -> None:
        clone = self.begin()
        self.service.pass_time()
        self.process.recovery.sweep()
        self.process.recovery.take_over()
        self.process.survey.look()
        self.assertIs(State.READY, self.finish(clone).state)

    def test_its_row_ends_when_others_removed_its_image(self) -> None:
        clone = self.begin()
        self.ceph.remove_image(clone.image)
        self.process.survey.look()
        self.process.sweep_until_quiet()
        self.assertEqual([(clone.image.name, 'deleted')], self.service.rows())

    def test_it_goes_with_its_instance(self) -> None:
        clone = self.begin()
        self.process.engine.delete_disks(clone.instance_uuid, '')
        self.assert_settles()
        self.refused(
            errors.CreationOutdated, self.process.imports.begin, self.request
        )

    def test_deletion_while_it_is_written_ends_when_it_is_closed(self) -> None:
        clone = self.begin()
        delete = self.process.engine.delete_disks
        with self.ceph.watch(clone.image):
            self.refused(errors.DiskInUse, delete, clone.instance_uuid, '')
        self.service.pass_time()
        self.assert_settles()

    def test_a_deletion_that_came_with_its_beginning(self) -> None:
        def delete(act: str, when: str) -> None:
            if (act, when) == ('create', 'before'):
                self.process.lineage.note_deletion(
                    '', self.service.child(self.request.name)
                )

        self.ceph.on_act = delete
        self.refused(
            errors.CreationOutdated, self.process.imports.begin, self.request
        )
        self.assert_settles()

    def test_a_finished_disk_has_snapshots_and_images(self) -> None:
        clone = self.begin()
        self.ceph.write(clone.image, 0, b'data')
        self.finish(clone)
        image_id = str(uuid.uuid4())
        location = self.process.snapshots.snapshot_disk(
            'vms', clone.image.name, image_id, 'images'
        )
        self.process.engine.delete_disk('vms', clone.image.name)
        image = self.service.child(image_id, 'images')
        self.assertEqual(b'data', self.ceph.read(image, 0, 4))
        self.process.snapshots.discard_snapshot(location)
        self.assert_settles()


class InsideCreateTest(testtools.TestCase):
    """What a death inside ``create`` leaves, as the cluster's tests saw."""

    def test_whatever_is_left_the_next_call_gets_a_whole_image(self) -> None:
        for half in ('name', 'orphan'):
            for call in ('a-call', 'another'):
                with service.Service() as world:
                    request = service.request('', call='a-call')
                    self.die(world, request, half)
                    again = dataclasses.replace(request, call=call)
                    clone = world.process().imports.begin(again)
                    facts = world.ceph.find_image(clone.image)
                    self.assertEqual(clone.uuid, facts.tag)
                    process = world.process()
                    process.sweep_until_quiet(State.IMPORTING)
                    self.assertEqual({}, world.ceph.trashed('vms'))

    def test_recovery_leaves_nothing(self) -> None:
        for half in ('name', 'orphan'):
            with service.Service(CloneFormat.V1) as world:
                request = service.request('', call='a-call')
                self.die(world, request, half)
                world.process().sweep_until_quiet()
                self.assertEqual([], world.ceph.inventory())
                world.ceph.add_image('vms', request.name, MIB)

    def test_what_others_made_since_stays(self) -> None:
        with service.Service() as world:
            request = service.request('', call='a-call')
            self.die(world, request, None)
            theirs = world.ceph.add_image('vms', request.name, MIB)
            world.process().sweep_until_quiet()
            self.assertEqual(theirs, world.ceph.find_image(theirs).image)

    def die(
        self,
        world: service.Service,
        request: DiskRequest,
        half: ceph_double.Half | None,
    ) -> None:
        def die(name: str, when: str) -> None:
            if name == 'create':
                raise service.Died(name)

        world.ceph.on_act = die
        self.assertRaises(service.Died, world.process().imports.begin, request)
        world.ceph.on_act = lambda name, when: None
        world.end_leases()
        if half is not None:
            world.ceph.half_create(
                world.child(request.name), request.size_bytes, half
            )

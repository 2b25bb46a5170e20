# SPDX-License-Identifier: Apache-2.0
"""What is missing is not taken for deleted: not at once, and not in crowds."""

import dataclasses
import uuid

import fixtures
import testtools

from rbdcloner import errors
from rbdcloner.cloning.disk_adoption import DiskAdoption
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Filters
from rbdcloner.model import Kind
from rbdcloner.states import BaseState
from rbdcloner.states import State
from tests.unit.cloning import bases
from tests.unit.cloning import service
from tests.unit.cloning import tree

DAY_S = 86400
LIMIT = 2


class AbsenceTest(testtools.TestCase):
    """An image that ``snapshot_disk`` made, and Glance has it."""

    def setUp(self) -> None:
        super().setUp()
        self.logged = self.useFixture(fixtures.FakeLogger())
        self.service = self.useFixture(
            service.Service(absence_delay=DAY_S, brake_limit=LIMIT)
        )
        self.ceph = self.service.ceph
        self.glance = self.service.glance
        self.process = self.service.process()
        self.image_id = self.service.add_image()
        self.disk = self.process.engine.create_disk(
            service.request(self.image_id)
        )

    def snapshot(self) -> str:
        """Make an image of the disk; its id."""
        image_id = str(uuid.uuid4())
        location = self.process.snapshots.snapshot_disk(
            'vms', self.disk.image.name, image_id, 'images'
        )
        self.service.register_image(image_id, location, self.disk.size_bytes)
        return image_id

    def row(self, image_id: str) -> Clone:
        (clone,) = self.process.lineage.page(
            Filters(glance_image_id=image_id, kind=Kind.IMAGE)
        )
        return clone

    def state(self, image_id: str) -> State:
        return self.row(image_id).state

    def look(self) -> None:
        """Look, recover and reap once, long after everything was made."""
        self.service.pass_created()
        self.process.survey.look()
        self.process.upkeep.look()
        self.process.recovery.sweep()
        self.process.reaper.sweep()

    def forget(self, *images: str) -> dict[str, object]:
        """Have Glance know the images no more; what it knew."""
        return {one: self.glance.images.pop(one) for one in images}


class ClockTest(AbsenceTest):
    def setUp(self) -> None:
        super().setUp()
        self.image = self.snapshot()
        self.known = self.forget(self.image)

    def test_absent_image_stays_for_the_delay_in_its_pool(self) -> None:
        self.look()
        self.look()
        self.assertIs(State.READY, self.state(self.image))
        self.assertIn(self.image, self.ceph.named('images'))

    def test_absent_image_stays_for_as_long_again_in_the_trash(self) -> None:
        self.look()
        self.service.pass_time()
        self.look()
        self.assertIs(State.RETIRED, self.state(self.image))
        self.look()
        self.assertIn(
            self.row(self.image).image.id, self.ceph.trashed('images')
        )
        self.service.pass_time()
        self.look()
        self.assertIs(State.DELETED, self.state(self.image))

    def test_image_that_is_seen_again_has_its_clock_stopped(self) -> None:
        self.look()
        self.glance.images.update(self.known)
        self.look()
        self.forget(self.image)
        self.service.pass_time()
        self.look()
        self.assertIs(State.READY, self.state(self.image))

    def test_trashed_image_that_is_seen_again_has_its_name_again(self) -> None:
        self.look()
        self.service.pass_time()
        self.look()
        self.glance.images.update(self.known)
        self.look()
        self.assertIs(State.READY, self.state(self.image))
        self.assertIn(self.image, self.ceph.named('images'))
        self.service.pass_time()
        self.look()
        self.assertIs(State.READY, self.state(self.image))

    def test_image_that_an_operator_restored_has_its_whole_delay(self) -> None:
        self.glance.images.update(self.known)
        child = self.process.engine.create_disk(service.request(self.image))
        self.forget(self.image)
        self.look()
        self.service.pass_time()
        self.look()
        self.assertIs(State.RETIRED, self.state(self.image))
        # Its child keeps it for weeks.
        self.service.pass_time()
        tree.release(self.process).restore(self.row(self.image))
        self.service.end_leases()
        self.look()
        self.look()
        self.assertIs(State.READY, self.state(self.image))
        self.assertIn(self.image, self.ceph.named('images'))
        self.service.pass_time()
        self.look()
        self.assertIs(State.RETIRED, self.state(self.image))
        self.assertIs(State.READY, tree.row(self.process, child).state)

    def test_deletion_that_glance_delays_has_the_same_clock(self) -> None:
        known = self.known[self.image]
        self.glance.images[self.image] = dataclasses.replace(
            known, status='pending_delete'
        )
        self.process.absent_images.image_deleted(self.image)
        self.look()
        self.assertIs(State.READY, self.state(self.image))
        self.service.pass_time()
        self.look()
        self.assertIs(State.RETIRED, self.state(self.image))

    def test_glance_that_hides_images_proves_nothing(self) -> None:
        self.look()
        self.service.pass_time()
        self.glance.hides_images = True
        for _ in range(2):
            self.look()
        self.assertRaises(
            errors.GlanceHidesImages,
            self.process.absent_images.image_deleted,
            self.image,
        )
        self.assertIs(State.READY, self.state(self.image))
        self.assertEqual(1, self.logged.output.count('the roles admin and'))

    def test_trashed_image_is_kept_by_a_glance_that_hides_images(self) -> None:
        self.look()
        self.service.pass_time()
        self.look()
        self.service.pass_time()
        self.glance.hides_images = True
        self.look()
        self.assertIs(State.RETIRED, self.state(self.image))

    def test_notification_of_a_deletion_is_an_order(self) -> None:
        for _ in range(2):
            self.process.absent_images.image_deleted(self.image)
        self.process.sweep_until_quiet()
        self.assertIs(State.DELETED, self.state(self.image))

    def test_image_that_its_caller_discards_needs_no_clock(self) -> None:
        self.look()
        location = f'rbd://{self.ceph.fsid}/images/{self.image}/snap'
        self.process.snapshots.discard_snapshot(location)
        self.look()
        self.look()
        self.assertIs(State.DELETED, self.state(self.image))


class AdoptionTest(AbsenceTest):
    def test_image_of_glance_waits_in_the_trash(self) -> None:
        self.ceph.trash(self.service.parent_of(self.image_id).image)
        known = self.forget(self.image_id)
        self.look()
        self.process.engine.remove(self.disk, service.ASKED)
        self.look()
        (adopted,) = self.process.lineage.page(Filters(kind=Kind.ADOPTED))
        self.assertIs(State.RETIRED, adopted.state)
        self.service.pass_time()
        self.glance.images.update(known)
        self.look()
        self.assertIn(adopted.image.id, self.ceph.trashed('images'))
        self.forget(self.image_id)
        self.service.pass_time()
        self.look()
        self.service.pass_time()
        self.look()
        self.assertNotIn(adopted.image.id, self.ceph.trashed('images'))

    def test_parent_that_is_not_glances_is_its_makers(self) -> None:
        golden = self.ceph.add_image('images', 'golden', service.MIB)
        self.ceph.add_snapshot(golden, 'snap', True)
        parent = self.ceph.find_snapshot('images', '', 'golden', 'snap')
        asked = service.request(str(uuid.uuid4()), size_bytes=0)
        made = self.service.child(asked.name)
        self.ceph.clone(parent.snapshot, made, CloneFormat.V2, 22)
        adoption = DiskAdoption(self.process.engine, self.ceph)
        disk = adoption.adopt(asked)
        self.ceph.trash(golden)
        self.look()
        self.process.engine.remove(disk, service.ASKED)
        for _ in range(3):
            self.service.pass_time()
            self.look()
        self.assertIn(parent.snapshot.image.id, self.ceph.trashed('images'))
        self.assertNotIn('golden', self.logged.output)


class ForeignChildTest(AbsenceTest):
    def test_child_that_has_no_row_is_told_of_once(self) -> None:
        parent = self.service.parent_of(self.image_id)
        volume = self.service.child('a-volume')
        self.ceph.clone(parent, volume, CloneFormat.V2, 22)
        self.ceph.trash(parent.image)
        self.forget(self.image_id)
        self.look()
        self.process.engine.remove(self.disk, service.ASKED)
        for _ in range(4):
            self.service.pass_time()
            self.look()
        self.assertIn(parent.image.id, self.ceph.trashed('images'))
        told = f'({parent.image.id}) stays in the trash'
        self.assertEqual(1, self.logged.output.count(told))
        self.assertIn('vms/a-volume', self.logged.output)


class BaseTest(testtools.TestCase):
    def test_base_of_an_absent_image_stays_for_both_delays(self) -> None:
        world = self.useFixture(service.Service(absence_delay=DAY_S))
        importer = bases.Importer(world)
        base, process = importer.make(), importer.process
        del world.glance.images[importer.image_id]
        for expected in (BaseState.READY, BaseState.READY, BaseState.DROPPED):
            if expected is BaseState.DROPPED:
                world.pass_time()
            process.upkeep.look()
            process.recovery.sweep()
            process.reaper.sweep()
            now = process.lineage.base(base.uuid)
            self.assertIs(expected, now.state)
        self.assertIs(State.RETIRED, now.clone.state)
        world.pass_time()
        process.reaper.sweep()
        now = process.lineage.base(base.uuid)
        self.assertIs(State.DELETED, now.clone.state)


class BrakeTest(AbsenceTest):
    def setUp(self) -> None:
        super().setUp()
        self.images = [self.snapshot() for _ in range(LIMIT + 1)]

    def states(self) -> set[State]:
        return {self.state(image) for image in self.images}

    def age(self) -> None:
        self.look()
        self.service.pass_time()
        self.look()

    def test_crowd_of_absent_images_stays(self) -> None:
        self.forget(*self.images)
        self.age()
        self.age()
        self.assertEqual({State.READY}, self.states())
        self.assertEqual(1, self.logged.output.count('brake is engaged'))
        (brake,) = self.process.lineage.brakes()
        self.assertIn('3 of 4 Glance images are missing', brake.reason)

    def test_few_absent_images_go(self) -> None:
        self.forget(*self.images[:LIMIT])
        self.age()
        self.assertEqual([], self.process.lineage.brakes())
        self.assertEqual({State.READY, State.RETIRED}, self.states())

    def test_brake_is_off_when_the_images_are_back(self) -> None:
        known = self.forget(*self.images)
        self.look()
        self.glance.images.update(known)
        self.look()
        self.assertEqual([], self.process.lineage.brakes())

    def test_administrator_releases_the_brake(self) -> None:
        self.forget(*self.images)
        self.look()
        self.assertEqual(1, self.process.lineage.release_brakes())
        self.age()
        self.assertEqual({State.RETIRED}, self.states())
        self.assertEqual([], self.process.lineage.brakes())

    def test_brake_keeps_what_is_in_the_trash(self) -> None:
        self.forget(self.images[0])
        self.age()
        self.service.pass_time()
        self.process.lineage.engage_brake(self.ceph.fsid, 'upkeep', 'a test')
        self.process.reaper.sweep()
        self.assertIs(State.RETIRED, self.state(self.images[0]))

    def test_crowd_of_removed_disks_stays(self) -> None:
        disks = [
            self.process.engine.create_disk(service.request(self.image_id))
            for _ in range(LIMIT + 1)
        ]
        for disk in disks:
            self.ceph.trash(disk.image)
            self.ceph.purge(disk.image)
        self.look()
        for disk in disks:
            self.assertIs(
                State.READY,
                self.process.engine.get_disk('vms', disk.image.name).state,
            )


class PoolTest(AbsenceTest):
    def setUp(self) -> None:
        super().setUp()
        self.look()

    def rename(self) -> None:
        """Rename the disks' pool away, and make an empty one of its name."""
        self.ceph.rename_pool('vms', 'vms-old')
        self.ceph.add_pool('vms')

    def disk_state(self) -> State:
        name = self.disk.image.name
        return self.process.engine.get_disk('vms', name).state

    def test_row_of_a_pool_that_was_renamed_away_stays(self) -> None:
        self.rename()
        for process in (self.process, self.service.process()):
            process.survey.look()
        self.assertIs(State.READY, self.disk_state())
        (brake,) = self.process.lineage.brakes()
        self.assertIn('Pool vms', brake.reason)

    def test_retired_row_of_a_pool_that_was_renamed_away_stays(self) -> None:
        self.process.engine.remove(self.disk, service.ASKED)
        self.rename()
        self.process.reaper.sweep()
        (clone,) = self.process.lineage.page(Filters(uuid=self.disk.uuid))
        self.assertIs(State.RETIRED, clone.state)

    def test_pool_that_has_its_name_again_is_the_one_it_was(self) -> None:
        self.rename()
        self.look()
        self.ceph.rename_pool('vms', 'empty')
        self.ceph.rename_pool('vms-old', 'vms')
        self.look()
        self.assertEqual([], self.process.lineage.brakes())
        self.assertIs(State.READY, self.disk_state())

    def test_administrator_says_that_a_new_pool_is_the_right_one(self) -> None:
        self.rename()
        self.look()
        self.process.lineage.release_brakes()
        self.look()
        self.assertEqual([], self.process.lineage.brakes())
        self.assertRaises(errors.DiskNotFound, self.disk_state)

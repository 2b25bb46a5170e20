# SPDX-License-Identifier: Apache-2.0
"""What was delivered is never undone, whatever its row says.

A row says less than it once did where a backup of the database is restored:
the tests put back the row as it was while the disk was made.
"""

from typing import Any
import uuid

import fixtures
import sqlalchemy as sa
import testtools

from rbdcloner import errors
from rbdcloner.db.tables import clones
from rbdcloner.db.tables import parents
from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.model import Image
from rbdcloner.model import Request
from rbdcloner.model import SnapshotFacts
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.unit.cloning import service
from tests.unit.cloning.service import MIB


class DeliveryTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.world = self.useFixture(service.Service())
        self.process = self.world.process()
        self.ceph = self.world.ceph
        self.image_id = self.world.add_image()
        self.request = service.request(self.image_id, after=0)

    def disk(self) -> Clone:
        """Make the disk, and let its guest write."""
        disk = self.process.engine.create_disk(self.request)
        self.ceph.write(disk.image, 0, b'guest!')
        return disk

    def snapshot(self, disk: Clone) -> str:
        return self.process.snapshots.snapshot_disk(
            'vms', disk.image.name, str(uuid.uuid4()), 'images'
        )

    def put_back(
        self, clone: Clone, state: State = State.RESERVED, **values: Any
    ) -> None:
        """Let the row say what a backup of the time says."""
        ours = clones.c.id == clone.id
        self._update(clones, ours, state=state, image_id='', live=1, **values)

    def _update(self, table: sa.Table, *where: Any, **values: Any) -> None:
        with self.process.lineage.writer.begin() as connection:
            connection.execute(sa.update(table).where(*where).values(values))

    def now(self, clone: Clone) -> Clone:
        (row,) = self.process.lineage.page(Filters(uuid=clone.uuid))
        return row

    def recover(self) -> None:
        process = self.world.process()
        process.recovery.sweep()
        process.reaper.sweep()

    def assert_lives(self, disk: Clone) -> None:
        self.assertEqual(
            {disk.image.name: disk.image.id}, self.ceph.named('vms')
        )
        self.assertEqual(b'guest!', self.ceph.read(disk.image, 0, 6))


class RestoredTest(DeliveryTest):
    def test_delivered_disk_of_a_reserved_row_is_ready_again(self) -> None:
        disk = self.disk()
        self.put_back(disk)
        self.recover()
        self.assert_lives(disk)
        now = self.now(disk)
        self.assertEqual((State.READY, disk.image), (now.state, now.image))

    def test_disk_that_grew_since_keeps_its_size(self) -> None:
        disk = self.grown()
        self.recover()
        self.assert_size(disk, 8 * MIB)

    def test_disk_that_grew_since_is_delivered_with_its_size(self) -> None:
        disk = self.grown()
        self.world.process().engine.create_disk(self.request)
        self.assert_size(disk, 8 * MIB)

    def grown(self) -> Clone:
        """Return a disk that has grown since its row was backed up."""
        disk = self.disk()
        self.process.engine.resize_disk('vms', disk.image.name, 8 * MIB)
        self.put_back(disk, size_bytes=2 * MIB)
        return disk

    def assert_size(self, disk: Clone, size_bytes: int) -> None:
        self.assert_lives(disk)
        facts = self.ceph.find_image(disk.image)
        self.assertEqual(size_bytes, facts.size_bytes)
        self.assertEqual(size_bytes, self.now(disk).size_bytes)

    def test_flattened_disk_is_delivered_to_who_asks_again(self) -> None:
        disk = self.disk()
        self.ceph.flatten_image(disk.image)
        self.put_back(disk)
        again = self.world.process().engine.create_disk(self.request)
        self.assertEqual((disk.uuid, disk.image), (again.uuid, again.image))
        self.assert_lives(disk)

    def test_open_disk_is_ready_again(self) -> None:
        disk = self.disk()
        with self.ceph.open(disk.image):
            self.put_back(disk)
            self.recover()
            self.assert_lives(disk)
        self.recover()
        self.assert_lives(disk)
        self.assertIs(State.READY, self.now(disk).state)

    def test_glance_image_of_a_reserved_row_is_ready_again(self) -> None:
        disk = self.disk()
        location = self.snapshot(disk)
        (image,) = self.process.lineage.page(Filters(pool='images'))
        self._update(
            parents,
            parents.c.image_id == image.image.id,
            state=ParentState.PLANNED,
            snapshot_id=None,
        )
        self.put_back(image)
        self.recover()
        self.assertIs(State.READY, self.now(image).state)
        self.assertTrue(location)
        self.assertEqual(b'guest!', self.ceph.read(image.image, 0, 6))

    def test_deleted_disk_goes_to_the_trash_for_a_while(self) -> None:
        disk = self.disk()
        self.put_back(disk)
        self.process.lineage.note_deletion('a call', disk.image)
        self.recover()
        self.assert_in_trash(disk)

    def test_image_in_doubt_is_purged_after_the_delay(self) -> None:
        disk = self.disk()
        self.put_back(disk, State.UNDOING)
        self.recover()
        self.assert_in_trash(disk)
        self.world.pass_time()
        self.world.process().sweep_until_quiet()
        self.assertIs(State.DELETED, self.now(disk).state)
        self.assertEqual({}, self.ceph.trashed('vms'))

    def test_image_in_doubt_stays_when_its_child_goes(self) -> None:
        disk = self.disk()
        self.snapshot(disk)
        (image,) = self.process.lineage.page(Filters(pool='images'))
        self.put_back(disk, State.UNDOING)
        self.recover()
        self.process.engine.remove(image, service.ASKED)
        self.recover()
        self.recover()
        self.assert_in_trash(disk)

    def test_image_in_doubt_comes_back_when_asked_for(self) -> None:
        disk = self.disk()
        self.put_back(disk, State.UNDOING)
        self.recover()
        retired = self.process.lineage.hold(self.now(disk), 'admin', 30)
        self.process.lineage.move(retired, State.RESTORING)
        self.recover()
        self.assert_lives(disk)

    def test_image_in_doubt_is_left_alone_while_it_is_open(self) -> None:
        disk = self.disk()
        with self.ceph.open(disk.image):
            self.put_back(disk, State.UNDOING)
            self.recover()
            self.assert_lives(disk)
            now = self.now(disk)
            self.assertIs(State.UNDOING, now.state)
            self.assertIn('DiskInUse', now.reason)

    def assert_in_trash(self, disk: Clone) -> None:
        self.assertEqual(
            {disk.image.id: disk.image.name}, self.ceph.trashed('vms')
        )
        now = self.now(disk)
        self.assertEqual((State.RETIRED, 0), (now.state, now.attempts))
        self.assertIsNotNone(now.retry_at)
        self.assertIn('may have been delivered', now.reason)


class UndeliveredTest(DeliveryTest):
    def test_image_of_a_dead_maker_goes_at_once(self) -> None:
        self.ceph.fail('mark_delivered', service.Died('killed'))
        self.assertRaises(service.Died, self.disk)
        self.ceph.expire_watches()
        self.world.end_leases()
        self.recover()
        self.assertEqual({}, self.ceph.named('vms'))
        self.assertEqual({}, self.ceph.trashed('vms'))

    def test_image_that_was_deleted_meanwhile_goes_at_once(self) -> None:
        def delete(act: str, when: str) -> None:
            if (act, when) == ('mark_delivered', 'after'):
                name = self.world.child(self.request.name)
                self.world.process().lineage.note_deletion('a call', name)

        self.ceph.on_act = delete
        self.assertRaises(errors.CreationOutdated, self.disk)
        self.assertEqual({}, self.ceph.named('vms'))
        self.assertEqual({}, self.ceph.trashed('vms'))
        self.assertEqual([(self.request.name, 'failed')], self.world.rows())

    def test_image_without_a_tag_and_with_data_is_not_ours(self) -> None:
        """Nova's own code made it, in the place of what a worker left."""
        self.ceph.fail('clone', service.Died('killed'))
        self.assertRaises(service.Died, self.disk)
        self.world.end_leases()
        theirs = self._made_by_others()
        self.recover()
        self.assertEqual(b'theirs', self.ceph.read(theirs, 0, 6))
        self.assertEqual([(self.request.name, 'failed')], self.world.rows())

    def test_image_without_a_tag_and_with_data_keeps_its_name(self) -> None:
        self.ceph.fail('clone', service.Died('killed'))
        self.assertRaises(service.Died, self.disk)
        self.world.end_leases()
        theirs = self._made_by_others()
        self.assertRaises(
            errors.NameTaken,
            self.world.process().engine.create_disk,
            self.request,
        )
        self.assertEqual(b'theirs', self.ceph.read(theirs, 0, 6))

    def _made_by_others(self) -> Any:
        child = self.world.child(self.request.name)
        parent = self.world.parent_of(self.image_id)
        self.ceph.clone(parent, child, self.world.clone_format, 22)
        made = self.ceph.find_image(child).image
        self.ceph.write(made, 0, b'theirs')
        return made


class NamedSnapshotTest(DeliveryTest):
    """A caller's snapshot whose row says that it is still to be taken."""

    def setUp(self) -> None:
        super().setUp()
        self.made = self.disk()
        self.ceph.write(self.made.image, 0, b'before')

    def take(self) -> None:
        self.process.snapshots.create_snapshot(
            'vms', self.made.image.name, 'nova-resize', Request('a call', 0)
        )

    def snapshots(self) -> list[str]:
        found = self.ceph.snapshots(self.made.image)
        return [each.snapshot.name for each in found]

    def recover(self) -> None:
        self.world.pass_time()
        super().recover()

    def roll_back(self) -> None:
        self.ceph.write(self.made.image, 0, b'after!')
        self.process.snapshots.rollback_disk(
            'vms', self.made.image.name, 'nova-resize', Request('another', 9)
        )

    def test_taken_one_of_a_restored_backup_stays(self) -> None:
        def back_up_once(act: str, when: str) -> None:
            if (act, when) == ('take_snapshot', 'before'):
                self.ceph.on_act = lambda *_: None
                self.world.back_up()

        self.ceph.on_act = back_up_once
        self.take()
        self.world.restore()
        self.recover()
        self.assertEqual(['nova-resize'], self.snapshots())
        self.roll_back()
        self.assertEqual(b'before', self.ceph.read(self.made.image, 0, 6))

    def test_one_that_others_took_instead_stays(self) -> None:
        self.ceph.fail('take_snapshot', errors.CephForbidden(act='', pool=''))
        self.assertRaises(errors.CephForbidden, self.take)
        self.ceph.add_snapshot(self.made.image, 'nova-resize')
        self.recover()
        self.assertEqual(['nova-resize'], self.snapshots())

    def test_one_that_is_taken_while_it_is_released_stays(self) -> None:
        self.ceph.fail('take_snapshot', errors.CephForbidden(act='', pool=''))
        self.assertRaises(errors.CephForbidden, self.take)
        found = self.ceph.snapshots
        looks: list[int] = []

        def look(image: Image) -> list[SnapshotFacts]:
            looks.append(1)
            if len(looks) == 2:
                self.ceph.add_snapshot(image, 'nova-resize')
            return found(image)

        self.useFixture(fixtures.MockPatchObject(self.ceph, 'snapshots', look))
        self.recover()
        self.assertGreaterEqual(len(looks), 2)
        self.assertIn('nova-resize', self.snapshots())

    def test_one_that_is_not_there_has_no_row_left(self) -> None:
        self.ceph.fail('take_snapshot', errors.CephForbidden(act='', pool=''))
        self.assertRaises(errors.CephForbidden, self.take)
        self.recover()
        left = self.process.lineage.snapshots_of(self.made.image)
        self.assertEqual([], left)
        self.take()
        self.assertEqual(['nova-resize'], self.snapshots())

    def test_it_goes_with_its_disk(self) -> None:
        self.test_one_that_others_took_instead_stays()
        self.process.engine.remove(self.made, service.ASKED)
        self.recover()
        self.assertEqual({}, self.ceph.trashed('vms'))

# SPDX-License-Identifier: Apache-2.0
"""Snapshots: taken, protected, rolled back to, removed."""

import dataclasses
import datetime
import time

import fixtures

from rbdcloner import errors
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import Snapshot
from tests.driver_suite.claims import MIB
from tests.driver_suite.claims import DriverSuite
from tests.driver_suite.flattening import go_on


class ProtectionSuite(DriverSuite):
    def test_protecting_twice_is_protecting(self):
        parent = self.parent(protected=False)
        for _twice in range(2):
            self.driver.protect(parent)
            self.assertTrue(self.is_protected(parent))

    def test_unprotecting_twice_is_unprotecting(self):
        parent = self.parent()
        for _twice in range(2):
            self.driver.unprotect(parent)
            self.assertFalse(self.is_protected(parent))

    def test_another_snapshot_of_the_name_is_left_alone(self):
        gone = self.parent(protected=False)
        self.cluster.drop_snapshot(gone)
        for protected in (True, False):
            again = self.cluster.add_snapshot(
                gone.image, gone.name, protected=protected
            )
            self.assertNotEqual(gone.id, again.id)
            self.assertRaises(
                errors.SnapshotNotFound, self.driver.protect, gone
            )
            self.driver.unprotect(gone)
            self.assertEqual(protected, self.is_protected(again))
            self.driver.unprotect(again)
            self.cluster.drop_snapshot(again)

    def test_what_is_not_there_is_not_protected(self):
        gone = self.parent(protected=False)
        self.cluster.drop_snapshot(gone)
        self.assertRaises(errors.SnapshotNotFound, self.driver.protect, gone)
        self.driver.unprotect(gone)
        self.remove(gone.image)
        self.assertRaises(errors.RbdImageNotFound, self.driver.protect, gone)
        self.driver.unprotect(gone)

    def test_v1_children_alone_hold_protection(self):
        parent = self.parent()
        child = self.child(parent)
        if self.clone_format == CloneFormat.V1:
            self.assertRaises(
                errors.SnapshotHasChildren, self.driver.unprotect, parent
            )
            self.assertTrue(self.is_protected(parent))
            self.driver.trash(child)
            self.assertRaises(
                errors.SnapshotHasChildren, self.driver.unprotect, parent
            )
            self.driver.purge(child)
        self.driver.unprotect(parent)
        self.assertFalse(self.is_protected(parent))

    def test_unprotecting_in_a_trashed_image(self):
        parent = self.parent()
        self.cluster.trash_image(parent.image)
        self.driver.unprotect(parent)
        self.cluster.drop_snapshot(parent)
        self.driver.purge(parent.image)


class SnapshotSuite(DriverSuite):
    def disk(self) -> Image:
        return self.child(self.parent())

    def snapshot(self, image: Image, name: str = 'own') -> Snapshot:
        return self.driver.take_snapshot(image, name).snapshot

    def names(self, image: Image) -> list[tuple[str, bool]]:
        return [
            (facts.snapshot.name, facts.trashed)
            for facts in self.driver.snapshots(image)
        ]

    def test_a_snapshot_is_taken_once(self):
        disk = self.disk()
        before = datetime.datetime.now(datetime.UTC)
        facts = self.driver.take_snapshot(disk, 'own')
        self.assertEqual((disk, 'own'), (facts.snapshot.image, 'own'))
        self.assertEqual((8 * MIB, 22), (facts.size_bytes, facts.order))
        self.assertFalse(facts.protected or facts.trashed)
        age = facts.created_at - before
        self.assertLess(abs(age.total_seconds()), 2)
        self.cluster.write(disk, 0, b'later!')
        self.assertEqual(facts, self.driver.take_snapshot(disk, 'own'))
        self.assertEqual([facts], self.driver.snapshots(disk))
        found = self.driver.find_snapshot(disk.pool, '', disk.name, 'own')
        self.assertEqual(facts, found)

    def test_times_of_images_and_snapshots_are_utc_in_each_time_zone(self):
        disk = self.disk()
        self.driver.take_snapshot(disk, 'own')
        self.cluster.write(disk, 0, b'later!')
        now = datetime.datetime.now(datetime.UTC)
        hour = datetime.timedelta(hours=1)
        self.addCleanup(time.tzset)
        for zone in ('EST5', 'JST-9'):
            self.useFixture(fixtures.EnvironmentVariable('TZ', zone))
            time.tzset()
            image = self.found(disk)
            (snapshot,) = self.driver.snapshots(disk)
            told = (image.created_at, image.modified_at, snapshot.created_at)
            for moment in told:
                self.assertLess(abs(moment - now), hour, zone)

    def test_no_snapshot_is_taken_of_what_is_not_there(self):
        disk = self.disk()
        self.driver.trash(disk)
        for _trashed_then_gone in range(2):
            self.assertRaises(
                errors.RbdImageNotFound, self.driver.take_snapshot, disk, 'own'
            )
            self.driver.purge(disk)
        self.assertEqual([], self.driver.snapshots(disk))

    def test_a_snapshot_is_taken_under_a_guest(self):
        disk = self.disk()
        with self.cluster.watch(disk):
            snapshot = self.snapshot(disk)
        self.assertEqual([('own', False)], self.names(disk))
        self.driver.remove_snapshot(snapshot)

    def test_snapshots_are_listed_in_the_order_of_their_ids(self):
        disk = self.disk()
        taken = [self.snapshot(disk, name) for name in ('c', 'a', 'b')]
        self.driver.protect(taken[1])
        found = self.driver.snapshots(dataclasses.replace(disk, name='old'))
        self.assertEqual(taken, [facts.snapshot for facts in found])
        self.assertEqual(
            [False, True, False], [facts.protected for facts in found]
        )

    def test_removing_a_snapshot_twice_is_removing_it(self):
        disk = self.disk()
        first, second = self.snapshot(disk, 'a'), self.snapshot(disk, 'b')
        for _twice in range(2):
            self.driver.remove_snapshot(first)
            self.assertEqual([('b', False)], self.names(disk))
        self.driver.remove_snapshot(dataclasses.replace(second, id=None))
        self.assertEqual([], self.names(disk))
        self.remove(disk)
        self.driver.remove_snapshot(second)

    def test_removal_leaves_the_next_snapshot_of_the_name_alone(self):
        disk = self.disk()
        gone = self.snapshot(disk)
        self.driver.remove_snapshot(gone)
        again = self.snapshot(disk)
        self.assertNotEqual(gone.id, again.id)
        self.driver.remove_snapshot(gone)
        self.assertEqual([('own', False)], self.names(disk))

    def test_a_protected_snapshot_is_not_removed(self):
        parent = self.parent()
        self.assertRaises(
            errors.SnapshotProtected, self.driver.remove_snapshot, parent
        )
        self.driver.unprotect(parent)
        self.driver.remove_snapshot(parent)
        self.assertEqual([], self.names(parent.image))

    def test_a_snapshot_with_children_is_not_removed(self):
        parent = self.parent()
        child = self.child(parent)
        refused = (
            errors.SnapshotHasChildren, self.driver.remove_snapshot, parent,
        )  # fmt: skip
        self.assertRaises(*refused)
        if self.clone_format == CloneFormat.V2:
            self.driver.unprotect(parent)
            self.assertRaises(*refused)
        self.driver.trash(parent.image)
        self.driver.trash(child)
        self.assertRaises(*refused)
        self.assertEqual([('snap', False)], self.names(parent.image))
        self.driver.purge(child)
        self.driver.unprotect(parent)
        self.driver.remove_snapshot(parent)
        self.driver.purge(parent.image)

    def test_a_trashed_snapshot_says_what_it_was(self):
        if self.clone_format == CloneFormat.V1:
            return
        parent = self.parent(protected=False)
        child = self.child(parent)
        (before,) = self.driver.snapshots(parent.image)
        self.cluster.drop_snapshot(parent)
        self.assertEqual(
            [dataclasses.replace(before, trashed=True)],
            self.driver.snapshots(parent.image),
        )
        self.assertRaises(
            errors.SnapshotHasChildren, self.driver.remove_snapshot, parent
        )
        self.assertRaises(errors.SnapshotTrashed, self.driver.rollback, parent)
        self.assertEqual(parent.image, self.found(child).parent)
        again = self.snapshot(parent.image, 'snap')
        self.assertEqual(
            [('snap', True), ('snap', False)], self.names(parent.image)
        )
        self.driver.remove_snapshot(again)
        self.remove(child)
        self.assertEqual([], self.names(parent.image))
        self.driver.remove_snapshot(parent)

    def test_rolling_back_twice_is_rolling_back(self):
        disk = self.disk()
        self.cluster.write(disk, 4 * MIB, b'first!')
        snapshot = self.snapshot(disk)
        self.cluster.write(disk, 0, b'later!')
        self.cluster.write(disk, 4 * MIB, b'later!')
        with self.driver.open(disk) as opened:
            opened.resize(16 * MIB)
        renamed = dataclasses.replace(snapshot, name='forgotten')
        for _twice in range(2):
            self.driver.rollback(renamed)
            self.assertEqual(b'parent', self.cluster.read(disk, 0, 6))
            self.assertEqual(b'first!', self.cluster.read(disk, 4 * MIB, 6))
            self.assertEqual(8 * MIB, self.found(disk).size_bytes)

    def test_a_flattened_disk_rolls_back_to_before(self):
        for deep_flatten in (True, False):
            parent = self.parent(deep_flatten=deep_flatten)
            disk = self.child(parent)
            snapshot = self.snapshot(disk)
            self.cluster.write(disk, 0, b'later!')
            self.driver.flatten(disk, go_on)
            self.driver.rollback(snapshot)
            self.assertEqual(b'parent', self.cluster.read(disk, 0, 6))

    def test_an_image_that_is_open_is_not_rolled_back(self):
        disk = self.disk()
        snapshot = self.snapshot(disk)
        self.cluster.write(disk, 0, b'later!')
        with self.cluster.watch(disk) as address:
            error = self.assertRaises(
                errors.RbdImageInUse, self.driver.rollback, snapshot
            )
            self.assertEqual([address], error.kwargs['watchers'])
        with self.driver.open(disk):
            self.assertRaises(
                errors.RbdImageInUse, self.driver.rollback, snapshot
            )
        self.assertEqual(b'later!', self.cluster.read(disk, 0, 6))

    def test_nothing_is_rolled_back_to_what_is_not_there(self):
        disk = self.disk()
        gone = self.snapshot(disk)
        self.driver.remove_snapshot(gone)
        self.snapshot(disk)
        self.assertRaises(errors.SnapshotNotFound, self.driver.rollback, gone)
        self.driver.remove_snapshot(dataclasses.replace(gone, id=None))
        self.remove(disk)
        self.assertRaises(errors.RbdImageNotFound, self.driver.rollback, gone)

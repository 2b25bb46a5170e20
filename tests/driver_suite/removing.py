# SPDX-License-Identifier: Apache-2.0
"""What goes, in any order: by the service, and by Glance."""

import dataclasses
import datetime

from rbdcloner import errors
from rbdcloner.model import CloneFormat
from rbdcloner.model import Snapshot
from tests.driver_suite.claims import MIB
from tests.driver_suite.claims import DriverSuite
from tests.driver_suite.flattening import go_on


class RemovalSuite(DriverSuite):
    def test_a_trashed_image_gives_up_its_name_and_keeps_its_id(self):
        parent = self.parent()
        child = self.child(parent)
        for _twice in range(2):
            self.driver.trash(child)
            by_name = dataclasses.replace(child, id='')
            self.assertIsNone(self.driver.find_image(by_name))
            self.assertEqual(child, self.found(child).image)
            self.assertRaises(errors.RbdImageNotFound, self.open, by_name)

    def open(self, image):
        with self.driver.open(image):
            pass

    def test_removal_leaves_the_next_image_of_the_name_alone(self):
        parent = self.parent()
        first = self.child(parent)
        self.driver.trash(first)
        by_name = dataclasses.replace(first, id='')
        second = self.clone(parent, by_name)
        self.assertNotEqual(first.id, second.id)
        replaced = errors.RbdImageReplaced
        self.assertRaises(replaced, self.driver.trash, first)
        self.assertTrue(self.driver.is_trashed(first))
        self.assertEqual(second, self.found(by_name).image)
        self.driver.purge(first)
        self.assertRaises(replaced, self.driver.trash, first)
        self.driver.purge(first)
        self.assertEqual(second, self.found(by_name).image)

    def test_an_image_that_was_renamed_is_left_alone(self):
        child = self.child(self.parent())
        old = self.cluster.add_snapshot(child, 'old')
        self.cluster.rename_image(child, self.name('renamed'))
        renamed = errors.RbdImageRenamed
        for act in (
            lambda: self.driver.trash(child),
            lambda: self.open(child),
            lambda: self.driver.take_snapshot(child, 'new'),
            lambda: self.driver.rollback(old),
            lambda: self.driver.remove_snapshot(old),
            lambda: self.driver.flatten(child, go_on),
        ):
            self.assertRaises(renamed, act)
        facts = self.found(child)
        self.assertTrue(facts.parent_image_id)
        self.assertEqual(
            [old.id], [s.snapshot.id for s in self.driver.snapshots(child)]
        )
        # Another image has the name by now.
        other = self.clone(self.parent(), dataclasses.replace(child, id=''))
        self.assertRaises(renamed, self.driver.trash, child)
        self.assertEqual(other, self.found(other).image)

    def test_an_image_that_is_being_migrated_is_left_alone(self):
        child = self.child(self.parent())
        self.cluster.write(child, 0, b'child!')
        by_name = dataclasses.replace(child, id='')
        migrating = errors.RbdImageMigrating
        self.cluster.migrate(child, 'prepare')
        for step in ('execute', 'commit'):
            for image in (child, self.found(by_name).image):
                self.assertRaises(migrating, self.driver.trash, image)
                self.assertRaises(migrating, self.open, image)
            self.assertRaises(migrating, self.driver.purge, child)
            self.assertRaises(migrating, self.driver.restore, child)
            self.assertRaises(migrating, self.driver.is_trashed, child)
            self.cluster.migrate(child, step)
        self.assertIsNone(self.driver.find_image(child))
        self.assertRaises(errors.RbdImageReplaced, self.driver.trash, child)
        self.assertEqual(b'child!', self.cluster.read(by_name, 0, 6))
        self.remove(self.found(by_name).image)

    def test_purge_destroys(self):
        child = self.child(self.parent())
        self.cluster.write(child, 0, b'child!')
        self.driver.trash(child)
        for _twice in range(2):
            self.driver.purge(child)
            self.assertIsNone(self.driver.find_image(child))

    def test_purge_refuses_what_is_not_in_the_trash(self):
        child = self.child(self.parent())
        self.assertRaises(errors.CephRefused, self.driver.purge, child)
        self.assertEqual(child, self.found(child).image)

    def test_an_image_that_is_open_is_not_removed(self):
        child = self.child(self.parent())
        with self.cluster.watch(child) as address:
            error = self.assertRaises(
                errors.RbdImageInUse, self.driver.trash, child
            )
            self.assertEqual([address], error.kwargs['watchers'])
            by_name = dataclasses.replace(child, id='')
            self.assertEqual(child, self.found(by_name).image)
        self.driver.trash(child)
        with self.cluster.watch(child) as address:
            error = self.assertRaises(
                errors.RbdImageInUse, self.driver.purge, child
            )
            self.assertEqual([address], error.kwargs['watchers'])
        self.driver.purge(child)

    def test_an_image_that_we_hold_open_is_not_removed(self):
        child = self.child(self.parent())
        with self.driver.open(child):
            self.assertRaises(errors.RbdImageInUse, self.driver.trash, child)
        self.remove(child)

    def test_an_image_with_snapshots_is_trashed_and_not_purged(self):
        child = self.child(self.parent())
        snapshot = self.cluster.add_snapshot(child, 'own')
        self.driver.trash(child)
        self.assertRaises(
            errors.RbdImageHasSnapshots, self.driver.purge, child
        )
        self.cluster.drop_snapshot(snapshot)
        self.driver.purge(child)

    def test_a_missing_image_is_not_trashed(self):
        missing = dataclasses.replace(self.image('no-such'), id='102f4a5b6c7d')
        self.assertRaises(errors.RbdImageNotFound, self.driver.trash, missing)
        self.driver.purge(missing)


class RetirementSuite(DriverSuite):
    """What has children goes to the trash and comes back."""

    def test_a_parent_in_the_trash_is_still_the_parent(self):
        for namespace in ('', 'own'):
            parent = self.parent_in(namespace)
            child = self.image(self.name('child'), parent.image.pool)
            child = dataclasses.replace(
                child, namespace=parent.image.namespace
            )
            child = self.clone(parent, child)
            self.assertEqual(parent.image, self.found(child).parent)
            self.driver.trash(parent.image)
            self.assertEqual(parent.image, self.found(child).parent)
            self.assertEqual(b'parent', self.cluster.read(child, 0, 6))

    def parent_in(self, namespace: str) -> Snapshot:
        if not namespace:
            return self.parent()
        made = self.cluster.add_namespace(self.cluster.image_pool)
        return self.parent(namespace=made)

    def test_an_image_says_whether_it_is_trashed(self):
        child = self.child(self.parent())
        self.assertFalse(self.driver.is_trashed(child))
        self.driver.trash(child)
        self.assertTrue(self.driver.is_trashed(child))
        self.driver.purge(child)
        self.assertFalse(self.driver.is_trashed(child))

    def test_an_image_says_which_name_it_has(self):
        child = self.child(self.parent())
        other = dataclasses.replace(child, name='other')
        self.assertEqual(child.name, self.driver.name_of(other))
        self.driver.trash(child)
        self.assertEqual('', self.driver.name_of(child))
        self.driver.restore(other)
        self.assertEqual('other', self.driver.name_of(child))
        self.driver.trash(other)
        self.driver.purge(other)
        self.assertEqual('', self.driver.name_of(child))

    def test_restoring_twice_is_restoring(self):
        parent = self.parent()
        child = self.child(parent)
        self.driver.trash(parent.image)
        for _twice in range(2):
            self.driver.restore(parent.image)
            self.assertFalse(self.driver.is_trashed(parent.image))
            by_name = dataclasses.replace(parent.image, id='')
            self.assertEqual(parent.image, self.found(by_name).image)
        self.assertEqual([child], self.driver.children(parent))

    def test_an_image_is_restored_to_another_name(self):
        child = self.child(self.parent())
        self.driver.trash(child)
        renamed = dataclasses.replace(child, name=self.name('renamed'))
        self.driver.restore(renamed)
        self.assertEqual(renamed, self.found(child).image)

    def test_nothing_is_restored_to_a_taken_name(self):
        parent = self.parent()
        first = self.child(parent)
        self.driver.trash(first)
        second = self.clone(parent, dataclasses.replace(first, id=''))
        for _twice in range(2):
            self.assertRaises(
                errors.RbdImageExists, self.driver.restore, first
            )
            self.assertTrue(self.driver.is_trashed(first))
        self.assertFalse(self.driver.is_trashed(second))
        self.remove(second)
        self.driver.restore(first)
        self.assertFalse(self.driver.is_trashed(first))

    def test_what_is_gone_is_not_restored(self):
        child = self.child(self.parent())
        self.remove(child)
        self.driver.restore(child)
        self.assertIsNone(self.driver.find_image(child))

    def test_the_images_of_a_pool_are_listed_without_its_trash(self):
        parent = self.parent()
        first, second = self.child(parent), self.child(parent)
        self.driver.trash(first)
        found = self.driver.images(first.pool)
        self.assertEqual(second.name, found[second.id])
        self.assertNotIn(first.id, found)

    def test_watchers_are_those_who_may_write(self):
        child = self.child(self.parent())
        self.assertEqual([], self.driver.watchers(child))
        with self.cluster.watch(child) as address:
            self.assertEqual([address], self.driver.watchers(child))
        self.driver.trash(child)
        with self.cluster.watch(child) as address:
            self.assertEqual([address], self.driver.watchers(child))
        self.remove(child)
        self.assertEqual([], self.driver.watchers(child))

    def test_an_image_uses_what_was_written_to_it(self):
        parent = self.parent()
        self.assertEqual(4 * MIB, self.driver.used_bytes(parent.image))
        child = self.child(parent)
        self.assertEqual(0, self.driver.used_bytes(child))
        self.cluster.write(child, 4 * MIB, b'child!')
        self.assertEqual(4 * MIB, self.driver.used_bytes(child))
        self.driver.take_snapshot(child, 'own')
        self.assertEqual(4 * MIB, self.driver.used_bytes(child))
        self.cluster.write(child, 4 * MIB, b'later!')
        self.assertEqual(8 * MIB, self.driver.used_bytes(child))
        self.driver.trash(child)
        self.assertEqual(8 * MIB, self.driver.used_bytes(child))
        gone = dataclasses.replace(child, id='102f4a5b6c7d')
        self.assertRaises(
            errors.RbdImageNotFound, self.driver.used_bytes, gone
        )

    def test_a_flattened_child_uses_its_parents_objects_too(self):
        child = self.child(self.parent())
        self.driver.flatten(child, go_on)
        self.assertEqual(4 * MIB, self.driver.used_bytes(child))

    def test_an_image_says_when_it_was_written(self):
        child = self.child(self.parent())
        before = self.found(child).modified_at
        self.cluster.write(child, 0, b'later!')
        after = self.found(child).modified_at
        now = datetime.datetime.now(datetime.UTC)
        self.assertTrue(before <= after)
        self.assertLess(abs((now - after).total_seconds()), 2)


class GlanceSuite(DriverSuite):
    """What is left where Glance deletes an image without asking."""

    def test_glance_deletes_what_has_no_children(self):
        parent = self.parent()
        self.cluster.glance_delete(parent.image)
        self.assertIsNone(self.driver.find_image(parent.image))
        self.assertRaises(
            errors.RbdImageNotFound, self.cluster.glance_delete, parent.image
        )

    def test_glance_trashes_v2_parents_and_refuses_v1_parents(self):
        parent = self.parent()
        child = self.child(parent)
        if self.clone_format == CloneFormat.V1:
            self.assertRaises(
                errors.RbdImageInUse, self.cluster.glance_delete, parent.image
            )
            self.assertTrue(self.is_protected(parent))
            # Once it is in the trash, Glance has nothing left to delete.
            self.driver.trash(parent.image)
            self.assertRaises(
                errors.RbdImageNotFound,
                self.cluster.glance_delete,
                parent.image,
            )
        else:
            self.cluster.glance_delete(parent.image)
            (facts,) = self.driver.snapshots(parent.image)
            self.assertTrue(facts.trashed)
        self.assertTrue(self.driver.is_trashed(parent.image))
        self.assertEqual([child], self.driver.children(parent))
        self.remove(child)
        self.driver.unprotect(parent)
        self.driver.remove_snapshot(parent)
        self.driver.purge(parent.image)
        self.assertIsNone(self.driver.find_image(parent.image))

    def test_glance_does_not_delete_what_somebody_has_open(self):
        parent = self.parent()
        with self.cluster.watch(parent.image):
            self.assertRaises(
                errors.RbdImageInUse, self.cluster.glance_delete, parent.image
            )
        self.assertEqual([], self.driver.snapshots(parent.image))

    def test_glance_trashes_what_has_other_snapshots(self):
        parent = self.parent()
        other = self.driver.take_snapshot(parent.image, 'other').snapshot
        self.cluster.glance_delete(parent.image)
        self.assertTrue(self.driver.is_trashed(parent.image))
        (facts,) = self.driver.snapshots(parent.image)
        self.assertEqual(other, facts.snapshot)

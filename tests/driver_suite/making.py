# SPDX-License-Identifier: Apache-2.0
"""Images that are made, and what is done to one that is open."""

from concurrent import futures
import contextlib
import dataclasses
import datetime

from rbdcloner import errors
from rbdcloner.model import CloneFormat
from tests.driver_suite.claims import MIB
from tests.driver_suite.claims import DriverSuite


class CreateSuite(DriverSuite):
    def test_a_new_image_is_empty_and_nobodys(self):
        named = self.image(self.name('new'))
        self.driver.create(named, 8 * MIB)
        facts = self.found(named)
        self.assertEqual(8 * MIB, facts.size_bytes)
        self.assertIsNone(facts.parent)
        self.assertEqual('', facts.tag)
        self.assertEqual(0, self.driver.used_bytes(facts.image))
        self.assertEqual(bytes(6), self.cluster.read(facts.image, 0, 6))
        self.cluster.write(facts.image, 4 * MIB, b'data')
        self.assertEqual(b'data', self.cluster.read(facts.image, 4 * MIB, 4))

    def test_a_size_that_fills_no_object_is_kept(self):
        named = self.image(self.name('new'))
        self.driver.create(named, 458752)
        self.assertEqual(458752, self.found(named).size_bytes)

    def test_no_image_is_created_under_a_taken_name(self):
        taken = self.image(self.name('new'))
        self.driver.create(taken, MIB)
        made = self.found(taken)
        create = self.driver.create
        self.assertRaises(errors.RbdImageExists, create, taken, 2 * MIB)
        self.assertEqual(made, self.found(taken))

    def test_a_new_image_says_when_it_was_made(self):
        before = datetime.datetime.now(datetime.UTC)
        named = self.image(self.name('new'))
        self.driver.create(named, MIB)
        after = datetime.datetime.now(datetime.UTC)
        second = datetime.timedelta(seconds=1)
        created_at = self.found(named).created_at
        self.assertTrue(before - second <= created_at <= after)

    def test_a_new_image_can_be_a_parent(self):
        named = self.image(self.name('new'))
        self.driver.create(named, MIB)
        made = self.found(named).image
        snapshot = self.cluster.add_snapshot(made, 'own', protected=True)
        child = self.child(snapshot)
        self.assertEqual(made.id, self.found(child).parent_image_id)


class CloneSuite(DriverSuite):
    def test_a_clone_reads_as_its_parent(self):
        parent = self.parent()
        child = self.child(parent)
        facts = self.found(child)
        self.assertEqual(8 * MIB, facts.size_bytes)
        self.assertEqual(parent.image.id, facts.parent_image_id)
        self.assertEqual(b'parent', self.cluster.read(child, 0, 6))

    def test_writing_to_a_clone_leaves_its_parent(self):
        parent = self.parent()
        child = self.child(parent)
        self.cluster.write(child, 0, b'child!')
        self.assertEqual(b'child!', self.cluster.read(child, 0, 6))
        self.assertEqual(b'parent', self.cluster.read(parent.image, 0, 6))

    def test_a_clone_does_not_see_what_its_parent_gets_later(self):
        parent = self.parent()
        child = self.child(parent)
        self.cluster.write(parent.image, 0, b'later!')
        self.assertEqual(b'parent', self.cluster.read(child, 0, 6))

    def test_a_clone_has_no_tag_but_its_own(self):
        parent = self.parent()
        with self.driver.open(parent.image) as opened:
            opened.tag('of-the-parent')
        child = self.child(parent)
        self.assertEqual('', self.found(child).tag)
        with self.driver.open(child) as opened:
            self.assertEqual('', opened.facts().tag)
            opened.tag('of-the-child')
            self.assertEqual('of-the-child', opened.facts().tag)
        self.assertEqual('of-the-child', self.found(child).tag)
        self.assertEqual('of-the-parent', self.found(parent.image).tag)

    def test_delivery_is_marked_on_the_image_alone(self):
        parent = self.parent()
        child = self.child(parent)
        self.assertFalse(self.found(child).delivered)
        with self.driver.open(child) as opened:
            opened.tag('row')
            self.assertFalse(opened.facts().delivered)
        self.assertFalse(self.found(child).delivered)
        with self.driver.open(child) as opened:
            opened.mark_delivered('row')
            self.assertTrue(opened.facts().delivered)
        found = self.found(child)
        self.assertEqual(('row', True), (found.tag, found.delivered))
        with self.driver.open(child) as opened:
            # Nobody asks Ceph for it.
            self.assertEqual('', opened.facts().tag)
        snapshot = self.cluster.add_snapshot(child, 'snap', protected=True)
        self.assertFalse(self.found(self.child(snapshot)).delivered)
        self.driver.trash(child)
        self.assertTrue(self.found(child).delivered)
        self.driver.restore(child)
        with self.driver.open(child) as opened:
            opened.tag('row')
        self.assertFalse(self.found(child).delivered)

    def test_commit_of_a_blank_disk_is_marked_on_the_image(self):
        blank = self.image(self.name('blank'))
        self.driver.create(blank, MIB)
        with self.driver.open(blank) as opened:
            opened.mark_delivered('row', writing=True)
            self.assertFalse(opened.facts().committed)
            self.assertTrue(opened.facts().writing)
        found = self.found(blank)
        self.assertEqual(
            ('row', True, False, True),
            (found.tag, found.delivered, found.committed, found.writing),
        )
        with self.driver.open(blank) as opened:
            opened.mark_committed('row')
            self.assertTrue(opened.facts().committed)
        found = self.found(blank)
        self.assertEqual(
            ('row', True, True, False),
            (found.tag, found.delivered, found.committed, found.writing),
        )
        with self.driver.open(blank) as opened:
            opened.tag('row')
        found = self.found(blank)
        self.assertEqual(
            ('row', False, False),
            (found.tag, found.delivered, found.committed),
        )

    def test_a_taken_name_is_not_touched(self):
        parent = self.parent()
        other = self.cluster.add_image(
            self.cluster.disk_pool, self.name('other'), MIB
        )
        taken = dataclasses.replace(other, id='')
        self.assertRaises(errors.RbdImageExists, self.clone, parent, taken)
        self.assertEqual(MIB, self.found(other).size_bytes)
        self.assertEqual([], self.driver.children(parent))

    def test_of_many_clones_to_one_name_one_is_made(self):
        parent = self.parent()
        child = self.image(self.name('child'))

        def attempt(_number):
            try:
                self.driver.clone(parent, child, self.clone_format, 22)
            except errors.RbdImageExists:
                return 'taken'
            return 'made'

        with futures.ThreadPoolExecutor(8) as threads:
            came_of = list(threads.map(attempt, range(8)))
        self.assertEqual(1, came_of.count('made'), came_of)
        self.assertEqual(
            [self.found(child).image], self.driver.children(parent)
        )

    def test_clone_says_which_part_of_the_parent_is_missing(self):
        parent = self.parent()
        child = self.image(self.name('child'))
        no_snapshot = dataclasses.replace(parent, name='no-such')
        no_image = dataclasses.replace(
            parent, image=dataclasses.replace(parent.image, name='no-such')
        )
        for error, wrong in (
            (errors.SnapshotNotFound, no_snapshot),
            (errors.RbdImageNotFound, no_image),
        ):
            self.assertRaises(error, self.clone, wrong, child)
        self.assertIsNone(self.driver.find_image(child))

    def test_only_v1_needs_a_protected_parent(self):
        parent = self.parent(protected=False)
        child = self.image(self.name('child'))
        if self.clone_format == CloneFormat.V1:
            self.assertRaises(
                errors.SnapshotUnprotected, self.clone, parent, child
            )
            self.assertIsNone(self.driver.find_image(child))
        else:
            self.clone(parent, child)

    def test_only_v2_clones_into_another_namespace(self):
        parent = self.parent()
        namespace = self.cluster.add_namespace(self.cluster.disk_pool)
        child = self.image(self.name('child'), namespace=namespace)
        if self.clone_format == CloneFormat.V1:
            self.assertRaises(errors.CephRefused, self.clone, parent, child)
        else:
            made = self.clone(parent, child)
            self.assertEqual([made], self.driver.children(parent))
            self.remove(made)
            self.assertIsNone(self.driver.find_image(made))

    def test_a_parent_with_big_objects_can_be_cloned(self):
        parent = self.parent(order=23)
        child = self.image(self.name('child'))
        self.clone(parent, child, order=23)
        self.assertEqual(b'parent', self.cluster.read(child, 0, 6))

    def test_another_image_with_bigger_objects_is_not_the_parent(self):
        parent = self.parent()
        image = parent.image
        self.driver.unprotect(parent)
        self.driver.remove_snapshot(parent)
        self.remove(image)
        again = self.cluster.add_image(image.pool, image.name, MIB, order=23)
        now = self.cluster.add_snapshot(again, 'snap', protected=True)
        child = self.image(self.name('child'))
        self.assertRaises(errors.SnapshotNotFound, self.clone, parent, child)
        self.assertIsNone(self.driver.find_image(child))
        # That is another matter than an order which is too small.
        self.assertRaises(errors.CephRefused, self.clone, now, child)

    def test_a_clone_can_be_cloned(self):
        first = self.child(self.parent())
        snapshot = self.cluster.add_snapshot(first, 'own', protected=True)
        second = self.child(snapshot)
        self.assertEqual(first.id, self.found(second).parent_image_id)
        self.assertEqual(b'parent', self.cluster.read(second, 0, 6))

    def test_a_clone_says_when_it_was_made(self):
        before = datetime.datetime.now(datetime.UTC)
        child = self.child(self.parent())
        after = datetime.datetime.now(datetime.UTC)
        second = datetime.timedelta(seconds=1)
        created_at = self.found(child).created_at
        self.assertTrue(before - second <= created_at <= after)

    def test_freeing_a_name_spares_an_image(self):
        child = self.child(self.parent())
        free = self.driver.free_name
        self.assertRaises(errors.RbdImageExists, free, child)
        self.assertEqual(child, self.found(child).image)
        free(self.image(self.name('free')))


class OpenSuite(DriverSuite):
    def test_an_image_opens_by_name_and_by_id(self):
        child = self.child(self.parent())
        for wanted in (
            dataclasses.replace(child, id=''),
            dataclasses.replace(child, name=''),
        ):
            with self.driver.open(wanted) as opened:
                self.assertEqual(self.found(child), opened.facts())

    def test_a_missing_image_does_not_open(self):
        missing = self.image('no-such')
        self.assertRaises(errors.RbdImageNotFound, self.enter, missing)

    def enter(self, image):
        with self.driver.open(image):
            pass

    def test_an_image_grows_and_reads_zeros_at_its_end(self):
        child = self.child(self.parent())
        with self.driver.open(child) as opened:
            for _twice in range(2):
                opened.resize(16 * MIB)
                self.assertEqual(16 * MIB, opened.facts().size_bytes)
        self.assertEqual(16 * MIB, self.found(child).size_bytes)
        end = self.cluster.read(child, 12 * MIB, 4)
        self.assertEqual(
            (b'parent', bytes(4)), (self.cluster.read(child, 0, 6), end)
        )

    def test_an_error_of_the_caller_goes_through(self):
        child = self.child(self.parent())
        with (
            contextlib.suppress(ZeroDivisionError),
            self.driver.open(child),
        ):
            raise ZeroDivisionError
        self.remove(child)

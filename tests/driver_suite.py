# SPDX-License-Identifier: Apache-2.0
"""What the engine relies on, claimed of any driver and in both formats.

A concrete class sets :attr:`DriverSuite.clone_format` and gives ``cluster``:
a driver under ``cluster.driver``, and around it what other clients of Ceph
do. Names are new in every test, so that one cluster serves them all.
"""

from concurrent import futures
import contextlib
import dataclasses
import datetime
import itertools
import os
from typing import Any

from rbdcloner import errors
from rbdcloner.model import CloneFormat
from rbdcloner.model import Descent
from rbdcloner.model import Image
from rbdcloner.model import PoolFacts
from rbdcloner.model import Snapshot

MIB = 1 << 20
NOWHERE = 'no-such-pool'

_numbers = itertools.count(1)


class DriverSuite:
    """Mixed into a test case."""

    clone_format: CloneFormat
    cluster: Any

    @property
    def driver(self) -> Any:
        return self.cluster.driver

    def name(self, what: str) -> str:
        return f'{what}-{os.getpid()}-{next(_numbers)}'

    def image(self, name: str, pool: str = '', namespace: str = '') -> Image:
        """A noun: nothing is made."""
        pool = pool or self.cluster.disk_pool
        return Image(self.driver.fsid, pool, namespace, name)

    def parent(self, protected: bool = True, **keywords: Any) -> Snapshot:
        made = self.cluster.add_image(
            self.cluster.image_pool, self.name('parent'), 8 * MIB, **keywords
        )
        self.cluster.write(made, 0, b'parent')
        return self.cluster.add_snapshot(made, 'snap', protected=protected)

    def clone(self, parent: Snapshot, child: Image, order: int = 22) -> Image:
        self.driver.clone(parent, child, self.clone_format, order)
        return self.found(child).image

    def child(self, parent: Snapshot, pool: str = '') -> Image:
        return self.clone(parent, self.image(self.name('child'), pool))

    def found(self, image: Image) -> Any:
        facts = self.driver.find_image(image)
        self.assertIsNotNone(facts, f'{image} is not there')
        return facts

    def remove(self, image: Image) -> None:
        self.driver.trash(image)
        self.driver.purge(image)

    def is_protected(self, snapshot: Snapshot) -> bool:
        image = snapshot.image
        return self.driver.find_snapshot(
            image.pool, image.namespace, image.name, snapshot.name
        ).protected


class LookingSuite(DriverSuite):
    def test_a_snapshot_is_found_with_its_ids(self):
        parent = self.parent(protected=False)
        image = parent.image
        facts = self.driver.find_snapshot(
            image.pool, '', image.name, parent.name
        )
        self.assertEqual(parent, facts.snapshot)
        self.assertTrue(facts.snapshot.image.id)
        self.assertEqual(8 * MIB, facts.size_bytes)
        self.assertEqual(22, facts.order)
        self.assertFalse(facts.protected)

    def test_looking_for_a_snapshot_says_what_is_missing(self):
        parent = self.parent()
        pool, name = parent.image.pool, parent.image.name
        look = self.driver.find_snapshot
        for error, place in (
            (errors.PoolNotFound, (NOWHERE, '', name, 'snap')),
            (errors.RbdImageNotFound, (pool, '', 'no-such', 'snap')),
            (errors.SnapshotNotFound, (pool, '', name, 'no-such')),
        ):
            self.assertRaises(error, look, *place)

    def test_an_image_is_found_by_name_and_by_id(self):
        made = self.cluster.add_image(
            self.cluster.disk_pool, self.name('image'), 4 * MIB
        )
        by_name = dataclasses.replace(made, id='')
        by_id = dataclasses.replace(made, name='forgotten')
        for wanted in (made, by_name, by_id):
            facts = self.found(wanted)
            self.assertEqual(made, facts.image)
            self.assertEqual(4 * MIB, facts.size_bytes)
            self.assertEqual('', facts.parent_image_id)
            self.assertEqual('', facts.tag)

    def test_an_image_that_is_not_there_is_none(self):
        missing = self.image('no-such')
        self.assertIsNone(self.driver.find_image(missing))
        missing = dataclasses.replace(missing, id='102f4a5b6c7d')
        self.assertIsNone(self.driver.find_image(missing))

    def test_no_verb_finds_a_missing_pool(self):
        image = dataclasses.replace(
            self.image('x', pool=NOWHERE), id='102f4a5b6c7d'
        )
        snapshot = Snapshot(image, 'snap', 4)
        for verb, noun in (
            (self.driver.find_image, image),
            (self.driver.trash, image),
            (self.driver.purge, image),
            (self.driver.protect, snapshot),
            (self.driver.unprotect, snapshot),
            (self.driver.children, snapshot),
            (self.driver.restore, image),
            (self.driver.is_trashed, image),
            (self.driver.find_parent, image),
            (self.driver.notes, NOWHERE),
            (self.driver.watchers, image),
            (self.driver.used_bytes, image),
            (self.driver.images, NOWHERE),
            (self.driver.snapshots, image),
            (self.driver.remove_snapshot, snapshot),
            (self.driver.rollback, snapshot),
        ):
            self.assertRaises(errors.PoolNotFound, verb, noun)
        parent = self.parent()
        self.assertRaises(errors.PoolNotFound, self.clone, parent, image)
        create = self.driver.create
        self.assertRaises(errors.PoolNotFound, create, image, MIB)

    def test_looking_does_not_hold_an_image(self):
        child = self.child(self.parent())
        self.found(child)
        self.remove(child)

    def test_probing_says_what_the_key_can_do(self):
        for pool, facts in (
            (self.cluster.disk_pool, (True, True, True, True, False)),
            (self.cluster.read_only_pool, (True, True, True, False, False)),
            (self.cluster.forbidden_pool, (True, True, False, False, False)),
            (self.cluster.bare_pool, (True, False, True, True, False)),
            (NOWHERE, (False, False, False, False, False)),
        ):
            self.assertEqual(PoolFacts(pool, *facts), self.driver.probe(pool))


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


class NotesSuite(DriverSuite):
    @property
    def pool(self):
        return self.cluster.disk_pool

    def note(self, name, text='{"host": "compute"}'):
        self.cluster.note(self.pool, name, text)
        self.addCleanup(self.strike, name)
        return {name: text}

    def strike(self, name):
        for text in self.driver.notes(self.pool, name).values():
            self.driver.strike_note(self.pool, name, text)
        self.assertEqual({}, self.driver.notes(self.pool, name))

    def test_nothing_is_noted_at_first(self):
        self.assertEqual({}, self.driver.notes(self.cluster.image_pool))
        self.driver.strike_note(self.cluster.image_pool, 'name', 'text')

    def test_notes_are_read_in_pages_by_name(self):
        noted = self.note('a') | self.note('b', '') | self.note('c')
        read = self.driver.notes
        self.assertEqual(noted, read(self.pool))
        self.assertEqual(['a', 'b'], list(read(self.pool, limit=2)))
        self.assertEqual(['c'], list(read(self.pool, after='b', limit=2)))
        self.assertEqual({'b': ''}, read(self.pool, prefix='b'))
        self.assertEqual({}, read(self.pool, prefix='d'))

    def test_a_note_is_struck_out_if_it_is_as_it_was_read(self):
        old = self.note('a', 'old')['a']
        other = self.note('b')
        self.note('a', 'new')
        self.driver.strike_note(self.pool, 'a', old)
        self.assertEqual('new', self.driver.notes(self.pool)['a'])
        for _twice in range(2):
            self.driver.strike_note(self.pool, 'a', 'new')
        self.assertEqual(other, self.driver.notes(self.pool))

    def test_a_note_of_anything_can_be_struck_out(self):
        for text in (b'\xff\xfe', '\u00e4\u20ac'.encode(), b'', b'x' * 9999):
            self.note('odd', text)
            (found,) = self.driver.notes(self.pool).values()
            self.driver.strike_note(self.pool, 'odd', found)
            self.assertEqual({}, self.driver.notes(self.pool))


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
            dataclasses.replace(child, name='forgotten'),
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


class AboveSuite(DriverSuite):
    def test_a_child_says_which_snapshot_is_its_parent(self):
        parent = self.parent()
        self.cluster.add_snapshot(parent.image, 'another')
        child = self.child(parent)
        image = parent.image
        facts = self.driver.find_snapshot(
            image.pool, '', image.name, parent.name
        )
        self.assertEqual(
            Descent(facts, self.clone_format), self.driver.find_parent(child)
        )

    def test_who_has_no_parent_says_so(self):
        child = self.child(self.parent())
        self.cluster.flatten_image(child)
        self.assertIsNone(self.driver.find_parent(child))
        made = self.cluster.add_image(
            self.cluster.disk_pool, self.name('image'), MIB
        )
        self.assertIsNone(self.driver.find_parent(made))

    def test_a_parent_in_the_trash_is_found_by_its_ids(self):
        parent = self.parent(protected=False)
        if self.clone_format == CloneFormat.V1:
            self.driver.protect(parent)
        child = self.child(parent)
        self.cluster.trash_image(parent.image)
        found = self.driver.find_parent(child).parent
        self.assertEqual(parent.image.id, found.snapshot.image.id)
        self.assertEqual(parent.id, found.snapshot.id)
        self.assertFalse(found.trashed)

    def test_a_snapshot_in_the_trash_is_found_by_its_id(self):
        # Under the other format a snapshot with children is in no trash.
        parent = self.parent(protected=False)
        child = self.image(self.name('child'))
        self.driver.clone(parent, child, CloneFormat.V2, 22)
        self.cluster.drop_snapshot(parent)
        # Of the same name, and nobody's parent.
        self.cluster.add_snapshot(parent.image, parent.name)
        found = self.driver.find_parent(child).parent
        self.assertEqual(parent, found.snapshot)
        self.assertTrue(found.trashed)

    def test_what_is_not_there_has_no_parent_to_tell(self):
        missing = dataclasses.replace(self.image('no-such'), id='102f4a5b6c7d')
        self.assertRaises(
            errors.RbdImageNotFound, self.driver.find_parent, missing
        )


class ChildrenSuite(DriverSuite):
    def test_children_are_listed_by_their_ids(self):
        parent = self.parent()
        self.assertEqual([], self.driver.children(parent))
        made = [self.child(parent) for _each in range(3)]
        self.assertCountEqual(made, self.driver.children(parent))

    def test_a_trashed_child_is_a_child_until_it_is_purged(self):
        parent = self.parent()
        child = self.child(parent)
        self.driver.trash(child)
        self.assertEqual([child], self.driver.children(parent))
        self.driver.purge(child)
        self.assertEqual([], self.driver.children(parent))

    def test_the_children_of_a_trashed_image_are_listed(self):
        parent = self.parent()
        child = self.child(parent)
        self.cluster.trash_image(parent.image)
        self.assertEqual([child], self.driver.children(parent))
        self.assertEqual(b'parent', self.cluster.read(child, 0, 6))
        self.assertEqual(parent.image.id, self.found(child).parent_image_id)

    def test_what_is_not_there_has_no_children(self):
        parent = self.parent(protected=False)
        self.cluster.drop_snapshot(parent)
        again = self.cluster.add_snapshot(
            parent.image, parent.name, protected=True
        )
        self.child(again)
        self.assertEqual([], self.driver.children(parent))
        image = dataclasses.replace(parent.image, id='102f4a5b6c7d')
        gone = dataclasses.replace(parent, image=image)
        self.assertEqual([], self.driver.children(gone))

    def test_a_removed_snapshot_lives_on_for_v2_children(self):
        if self.clone_format == CloneFormat.V1:
            return
        parent = self.parent()
        child = self.child(parent)
        self.driver.unprotect(parent)
        self.cluster.drop_snapshot(parent)
        self.assertRaises(errors.SnapshotTrashed, self.is_protected, parent)
        self.assertRaises(errors.SnapshotTrashed, self.child, parent)
        self.assertRaises(errors.SnapshotTrashed, self.driver.protect, parent)
        self.driver.unprotect(parent)
        self.assertEqual([child], self.driver.children(parent))
        self.assertEqual(b'parent', self.cluster.read(child, 0, 6))
        # Its name is free, and the new one is no less a parent.
        again = self.cluster.add_snapshot(
            parent.image, parent.name, protected=True
        )
        other = self.child(again)
        self.assertEqual([other], self.driver.children(again))
        self.remove(other)
        self.driver.unprotect(again)
        self.cluster.drop_snapshot(again)
        # With its last child it goes by itself.
        self.remove(child)
        self.remove(parent.image)


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
        self.driver.trash(first)
        self.assertEqual(second, self.found(by_name).image)
        self.driver.purge(first)
        self.assertRaises(errors.RbdImageNotFound, self.driver.trash, first)
        self.driver.purge(first)
        self.assertEqual(second, self.found(by_name).image)

    def test_trash_goes_by_id_where_the_name_is_old(self):
        child = self.child(self.parent())
        self.driver.trash(dataclasses.replace(child, name='forgotten'))
        by_name = dataclasses.replace(child, id='')
        self.assertIsNone(self.driver.find_image(by_name))

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

    def test_a_snapshot_is_taken_by_the_images_id(self):
        disk = self.disk()
        old = dataclasses.replace(disk, name='forgotten')
        self.assertEqual(disk, self.snapshot(old).image)

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


def go_on(done: int, total: int) -> bool:
    """Let a flattening go on."""
    return True


class FlattenSuite(DriverSuite):
    def flattened(self, child: Image, **options: Any) -> None:
        self.driver.flatten(child, go_on, **options)

    def test_flattening_ends_the_relation_and_keeps_the_data(self):
        parent = self.parent()
        child = self.child(parent)
        self.cluster.write(child, 4 * MIB, b'child!')
        for _twice in range(2):
            self.flattened(dataclasses.replace(child, name='forgotten'))
            self.assertIsNone(self.found(child).parent)
            self.assertEqual([], self.driver.children(parent))
        self.driver.unprotect(parent)
        self.driver.remove_snapshot(parent)
        self.remove(parent.image)
        self.assertEqual(b'parent', self.cluster.read(child, 0, 6))
        self.assertEqual(b'child!', self.cluster.read(child, 4 * MIB, 6))

    def test_progress_is_told_in_objects(self):
        child = self.child(self.parent())
        told = []

        def progress(done, total):
            told.append((done, total))
            return True

        self.driver.flatten(child, progress)
        self.assertEqual([(0, 2), (1, 2)], told)
        self.driver.flatten(child, progress)
        self.assertEqual(2, len(told))

    def test_a_trashed_child_is_flattened(self):
        parent = self.parent()
        child = self.child(parent)
        self.driver.trash(child)
        self.driver.trash(parent.image)
        self.flattened(child)
        self.assertEqual([], self.driver.children(parent))
        self.assertTrue(self.driver.is_trashed(child))
        self.assertEqual(b'parent', self.cluster.read(child, 0, 6))

    def test_the_snapshots_of_a_child_are_flattened_with_it(self):
        parent = self.parent()
        child = self.child(parent)
        self.driver.take_snapshot(child, 'own')
        self.flattened(child)
        self.assertEqual([], self.driver.children(parent))

    def test_without_deep_flatten_snapshots_stay_children(self):
        parent = self.parent(deep_flatten=False)
        child = self.child(parent)
        own = self.driver.take_snapshot(child, 'own').snapshot
        for _twice in range(2):
            self.flattened(child)
            self.assertIsNone(self.found(child).parent)
            self.assertEqual([child], self.driver.children(parent))
        self.driver.remove_snapshot(own)
        self.assertEqual([], self.driver.children(parent))

    def test_the_children_of_a_flattened_image_stay_its_children(self):
        first = self.child(self.parent())
        snapshot = self.driver.take_snapshot(first, 'own').snapshot
        self.driver.protect(snapshot)
        second = self.child(snapshot)
        self.flattened(first)
        self.assertEqual([second], self.driver.children(snapshot))
        self.assertEqual(b'parent', self.cluster.read(second, 0, 6))

    def test_a_trashed_snapshot_goes_with_its_last_flattened_child(self):
        if self.clone_format == CloneFormat.V1:
            return
        parent = self.parent(protected=False)
        children = [self.child(parent) for _each in range(2)]
        self.cluster.drop_snapshot(parent)
        self.flattened(children[0])
        self.assertEqual(1, len(self.driver.snapshots(parent.image)))
        self.flattened(children[1])
        self.assertEqual([], self.driver.snapshots(parent.image))

    def test_flattening_stops_when_it_is_told(self):
        parent = self.parent()
        child = self.child(parent)
        told = []

        def stop(done, total):
            told.append(done)
            return False

        error = self.assertRaises(
            errors.FlattenStopped, self.driver.flatten, child, stop
        )
        self.assertEqual(child.name, error.kwargs['image'])
        self.assertEqual([0], told)
        self.assertEqual(parent.image, self.found(child).parent)
        self.assertEqual([child], self.driver.children(parent))
        self.assertEqual([], self.driver.watchers(child))
        self.flattened(child)
        self.assertEqual(b'parent', self.cluster.read(child, 0, 6))

    def test_what_progress_raises_stops_it_and_comes_out(self):
        parent = self.parent()
        child = self.child(parent)

        def fail(done, total):
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, self.driver.flatten, child, fail)
        self.assertEqual(parent.image, self.found(child).parent)

    def test_an_open_image_is_flattened_only_by_force(self):
        child = self.child(self.parent())
        with self.cluster.watch(child) as address:
            error = self.assertRaises(
                errors.RbdImageInUse, self.driver.flatten, child, go_on
            )
            self.assertEqual([address], error.kwargs['watchers'])
            self.flattened(child, forced=True)
            self.assertIsNone(self.found(child).parent)

    def test_others_do_not_remove_what_is_flattened(self):
        child = self.child(self.parent())

        def progress(done, total):
            self.assertRaises(errors.RbdImageInUse, self.driver.trash, child)
            self.assertEqual(1, len(self.driver.watchers(child)))
            return True

        self.driver.flatten(child, progress)

    def test_what_is_not_there_is_not_flattened(self):
        child = self.child(self.parent())
        self.remove(child)
        self.assertRaises(
            errors.RbdImageNotFound, self.driver.flatten, child, go_on
        )
        self.assertRaises(
            errors.PoolNotFound, self.driver.flatten,
            dataclasses.replace(child, pool=NOWHERE), go_on,
        )  # fmt: skip


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


class RefusalSuite(DriverSuite):
    def test_a_forbidden_pool_is_forbidden_to_every_verb(self):
        pool = self.cluster.forbidden_pool
        made = self.cluster.add_image(pool, self.name('image'), MIB)
        snapshot = self.cluster.add_snapshot(made, 'snap', protected=True)
        child = self.image(self.name('child'))
        for verb, *nouns in (
            (self.driver.find_image, made),
            (self.driver.find_snapshot, pool, '', made.name, 'snap'),
            (self.driver.children, snapshot),
            (self.driver.protect, snapshot),
            (self.driver.unprotect, snapshot),
            (self.driver.trash, made),
            (self.driver.purge, made),
            (self.driver.restore, made),
            (self.driver.is_trashed, made),
            (self.driver.find_parent, made),
            (self.driver.notes, pool),
            (self.driver.watchers, made),
            (self.driver.used_bytes, made),
            (self.driver.images, pool),
            (self.driver.snapshots, made),
            (self.driver.take_snapshot, made, 'own'),
            (self.driver.remove_snapshot, snapshot),
            (self.driver.rollback, snapshot),
            (self.driver.flatten, made, go_on),
            (self.clone, snapshot, child),
            (self.clone, self.parent(), self.image('child', pool=pool)),
            (self.driver.create, self.image('child', pool=pool), MIB),
        ):
            error = self.assertRaises(errors.CephForbidden, verb, *nouns)
            self.assertEqual(pool, error.kwargs['pool'])
        self.assertIsNone(self.driver.find_image(child))

    def test_a_pool_to_read_gives_parents_and_takes_nothing(self):
        pool = self.cluster.read_only_pool
        made = self.cluster.add_image(pool, self.name('image'), MIB)
        snapshot = self.cluster.add_snapshot(made, 'snap', protected=True)
        child = self.clone(snapshot, self.image(self.name('child')))
        self.assertEqual([child], self.driver.children(snapshot))
        self.remove(child)
        other = self.cluster.add_snapshot(made, 'other')
        spare = self.cluster.add_image(pool, self.name('spare'), MIB)
        for verb, *nouns in (
            (self.driver.protect, other),
            (self.driver.unprotect, snapshot),
            (self.driver.trash, spare),
            (self.driver.take_snapshot, spare, 'own'),
            (self.driver.remove_snapshot, other),
            (self.driver.rollback, other),
            (self.clone, self.parent(), self.image('child', pool=pool)),
            (self.driver.create, self.image('child', pool=pool), MIB),
        ):
            error = self.assertRaises(errors.CephForbidden, verb, *nouns)
            self.assertEqual(pool, error.kwargs['pool'])
        self.assertEqual(spare, self.found(spare).image)

    def test_a_full_pool_takes_nothing_and_gives_up_all(self):
        pool = self.cluster.small_pool
        self.driver.probe(pool)
        parent = self.parent()
        child = self.child(parent, pool)
        another = self.image(self.name('child'), pool)
        own = self.driver.take_snapshot(child, 'own')
        with self.cluster.filled(pool):
            self.assertTrue(self.driver.probe(pool).full)
            error = self.assertRaises(
                errors.OutOfSpace, self.clone, parent, another
            )
            self.assertEqual(pool, error.kwargs['pool'])
            self.assertIsNone(self.driver.find_image(another))
            self.assertEqual([child], self.driver.children(parent))
            create = self.driver.create
            self.assertRaises(errors.OutOfSpace, create, another, MIB)
            self.assertIsNone(self.driver.find_image(another))
            with self.driver.open(child) as opened:
                self.assertRaises(errors.OutOfSpace, opened.resize, 16 * MIB)
                opened.resize(8 * MIB)
            self.assertEqual(8 * MIB, self.found(child).size_bytes)
            for verb, *nouns in (
                (self.driver.take_snapshot, child, 'another'),
                (self.driver.flatten, child, go_on),
            ):
                self.assertRaises(errors.OutOfSpace, verb, *nouns)
            self.assertEqual(own, self.driver.take_snapshot(child, 'own'))
            self.driver.rollback(own.snapshot)
            self.driver.remove_snapshot(own.snapshot)
            self.driver.trash(child)
            self.assertRaises(errors.OutOfSpace, self.driver.restore, child)
            self.driver.purge(child)
            self.assertIsNone(self.driver.find_image(child))
        self.clone(parent, another)


class PermitSuite(DriverSuite):
    """Each act asks first, and what is refused is not done."""

    def setUp(self):
        super().setUp()
        self.allowed = True
        self.asked = 0
        self.cluster.permit = self.permit
        self.addCleanup(setattr, self.cluster, 'permit', lambda: None)

    def permit(self):
        self.asked += 1
        if not self.allowed:
            raise errors.LeaseLost(name='image', expected='fence 1')

    def assertAsks(self, act, *given):
        """Refuse *act*, then permit it; what it returns then."""
        self.allowed = False
        before = self.asked
        self.assertRaises(errors.LeaseLost, act, *given)
        self.assertEqual(before + 1, self.asked)
        self.allowed = True
        return act(*given)

    def test_making_asks(self):
        parent = self.parent(protected=False)
        self.assertAsks(self.driver.protect, parent)
        named = self.image(self.name('child'))
        self.allowed = False
        self.assertRaises(errors.LeaseLost, self.clone, parent, named)
        self.assertIsNone(self.driver.find_image(named))
        new = self.image(self.name('new'))
        self.assertAsks(self.driver.create, new, MIB)
        child = self.assertAsks(self.clone, parent, named)
        with self.driver.open(child) as opened:
            self.assertAsks(opened.tag, 'the-tag')
            self.assertAsks(opened.resize, 16 * MIB)
            self.assertAsks(opened.take_snapshot, 'inside')
            self.assertAsks(opened.protect, 'inside')
        self.assertEqual('the-tag', self.found(child).tag)

    def test_removing_asks(self):
        parent = self.parent()
        child = self.child(parent)
        snapshot = self.driver.take_snapshot(child, 'own').snapshot
        self.assertAsks(self.driver.rollback, snapshot)
        self.assertAsks(self.driver.flatten, child, go_on)
        self.assertAsks(self.driver.remove_snapshot, snapshot)
        self.assertAsks(self.driver.unprotect, parent)
        self.assertAsks(self.driver.trash, child)
        self.assertAsks(self.driver.restore, child)
        self.driver.trash(child)
        self.assertAsks(self.driver.purge, child)
        self.assertAsks(self.driver.free_name, child)
        self.assertIsNone(self.driver.find_image(child))

    def test_taking_a_snapshot_asks(self):
        child = self.child(self.parent())
        self.allowed = False
        self.assertRaises(
            errors.LeaseLost, self.driver.take_snapshot, child, 'own'
        )
        self.assertEqual([], self.driver.snapshots(child))

    def test_looking_does_not_ask(self):
        parent = self.parent()
        child = self.child(parent)
        self.allowed = False
        self.found(child)
        self.is_protected(parent)
        self.assertEqual([child], self.driver.children(parent))
        self.assertEqual([], self.driver.snapshots(child))
        self.assertEqual([], self.driver.watchers(child))
        self.assertFalse(self.driver.is_trashed(child))
        self.driver.used_bytes(child)
        self.driver.probe(self.cluster.disk_pool)
        with self.driver.open(child) as opened:
            opened.facts()


class WholeSuite(
    LookingSuite,
    CreateSuite,
    NotesSuite,
    CloneSuite,
    OpenSuite,
    ProtectionSuite,
    AboveSuite,
    ChildrenSuite,
    RemovalSuite,
    SnapshotSuite,
    FlattenSuite,
    RetirementSuite,
    GlanceSuite,
    PermitSuite,
    RefusalSuite,
):
    """All of it."""

# SPDX-License-Identifier: Apache-2.0
"""What looks: at images, their snapshots, what is above and below."""

import dataclasses

from rbdcloner import errors
from rbdcloner.model import CloneFormat
from rbdcloner.model import Descent
from rbdcloner.model import PoolFacts
from rbdcloner.model import Snapshot
from tests.driver_suite.claims import MIB
from tests.driver_suite.claims import NOWHERE
from tests.driver_suite.claims import DriverSuite


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
            (self.driver.name_of, image),
            (self.driver.find_parent, image),
            (self.driver.notes, NOWHERE),
            (self.driver.lineage_mark, NOWHERE),
            (self.driver.watchers, image),
            (self.driver.used_bytes, image),
            (self.driver.images, NOWHERE),
            (self.driver.trashed_images, NOWHERE),
            (self.driver.snapshots, image),
            (self.driver.remove_snapshot, snapshot),
            (self.driver.rollback, snapshot),
        ):
            self.assertRaises(errors.PoolNotFound, verb, noun)
        parent = self.parent()
        self.assertRaises(errors.PoolNotFound, self.clone, parent, image)
        create = self.driver.create
        self.assertRaises(errors.PoolNotFound, create, image, MIB)

    def test_the_trash_of_a_pool_is_listed_whoever_filled_it(self):
        parent = self.parent()
        pool = self.cluster.disk_pool
        other = self.cluster.add_image(pool, self.name('other'), MIB)
        children = [self.child(parent) for _ in range(2)]
        self.child(parent)
        before = self.driver.trashed_images(pool)
        self.cluster.trash_image(other)
        for child in children:
            self.driver.trash(child)
        trashed = [other, *children]
        self.assertEqual(
            before | {each.id: each.name for each in trashed},
            self.driver.trashed_images(pool),
        )
        for each in trashed:
            self.driver.purge(each)
        self.assertEqual(before, self.driver.trashed_images(pool))

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


class LineageMarkSuite(DriverSuite):
    @property
    def mark(self):
        return self.driver.lineage_mark(self.cluster.disk_pool)

    def mark_lineage(self, before, mark):
        pool = self.cluster.disk_pool
        self.addCleanup(self.cluster.unmark_lineage, pool)
        return self.driver.mark_lineage(pool, before, mark)

    def test_a_pool_has_no_lineage_mark_at_first(self):
        self.assertEqual('', self.mark)

    def test_a_lineage_mark_replaces_the_one_that_was_read(self):
        self.assertTrue(self.mark_lineage('', 'first'))
        self.assertFalse(self.mark_lineage('', 'other'))
        self.assertFalse(self.mark_lineage('another', 'other'))
        self.assertEqual('first', self.mark)
        self.assertTrue(self.mark_lineage('first', 'second'))
        self.assertEqual('second', self.mark)

    def test_a_lineage_mark_is_of_one_pool(self):
        self.mark_lineage('', 'ours')
        other = self.cluster.image_pool
        self.assertEqual('', self.driver.lineage_mark(other))

    def test_a_pool_that_lost_its_lineage_mark_can_get_one(self):
        self.mark_lineage('', 'first')
        self.cluster.unmark_lineage(self.cluster.disk_pool)
        self.assertEqual('', self.mark)
        self.assertFalse(self.mark_lineage('first', 'second'))
        self.assertTrue(self.mark_lineage('', 'second'))

    def test_a_key_that_may_not_write_gives_no_lineage_mark(self):
        pool = self.cluster.read_only_pool
        self.assertRaises(
            errors.CephForbidden, self.driver.mark_lineage, pool, '', 'ours'
        )
        self.assertEqual('', self.driver.lineage_mark(pool))


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

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
        ):
            self.assertRaises(errors.PoolNotFound, verb, noun)
        parent = self.parent()
        self.assertRaises(errors.PoolNotFound, self.clone, parent, image)

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
            (self.clone, snapshot, child),
            (self.clone, self.parent(), self.image('child', pool=pool)),
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
            (self.clone, self.parent(), self.image('child', pool=pool)),
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
        with self.cluster.filled(pool):
            self.assertTrue(self.driver.probe(pool).full)
            error = self.assertRaises(
                errors.OutOfSpace, self.clone, parent, another
            )
            self.assertEqual(pool, error.kwargs['pool'])
            self.assertIsNone(self.driver.find_image(another))
            self.assertEqual([child], self.driver.children(parent))
            with self.driver.open(child) as opened:
                self.assertRaises(errors.OutOfSpace, opened.resize, 16 * MIB)
                opened.resize(8 * MIB)
            self.assertEqual(8 * MIB, self.found(child).size_bytes)
            self.remove(child)
            self.assertIsNone(self.driver.find_image(child))
        self.clone(parent, another)


class WholeSuite(
    LookingSuite,
    CloneSuite,
    OpenSuite,
    ProtectionSuite,
    ChildrenSuite,
    RemovalSuite,
    RefusalSuite,
):
    """All of it."""

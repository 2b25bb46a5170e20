# SPDX-License-Identifier: Apache-2.0
"""A child that gets its parent's data as its own."""

import dataclasses
from typing import Any

from rbdcloner import errors
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from tests.driver_suite.claims import MIB
from tests.driver_suite.claims import NOWHERE
from tests.driver_suite.claims import DriverSuite


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
            self.flattened(child)
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

# SPDX-License-Identifier: Apache-2.0
"""What keys, pools and the permit do not allow."""

from rbdcloner import errors
from tests.driver_suite.claims import MIB
from tests.driver_suite.claims import DriverSuite
from tests.driver_suite.flattening import go_on


class PermitSuite(DriverSuite):
    """Each act asks first, and what is refused is not done."""

    def setUp(self):
        super().setUp()
        self.allowed = True
        self.asked = 0
        self.cluster.permit = self.permit
        self.addCleanup(
            setattr, self.cluster, 'permit', lambda connected_at: None
        )

    def permit(self, connected_at):
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
            self.assertAsks(opened.write, [(0, b'data')])
            self.assertAsks(opened.take_snapshot, 'inside')
            self.assertAsks(opened.protect, 'inside')
        self.assertEqual('the-tag', self.found(child).tag)

    def test_writing_asks_before_each_block(self):
        new = self.image(self.name('new'))
        self.driver.create(new, 16 * MIB)

        def written():
            yield 0, b'first'
            yield 4 * MIB, b'second'
            self.allowed = False
            yield 8 * MIB, b'third'

        before = self.asked
        with self.driver.open(new) as opened:
            self.assertRaises(errors.LeaseLost, opened.write, written())
        self.assertEqual(before + 3, self.asked)
        self.allowed = True
        read = [self.cluster.read(new, at * 4 * MIB, 2) for at in range(3)]
        self.assertEqual([b'fi', b'se', bytes(2)], read)

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
            (self.driver.name_of, made),
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
        new = self.image(self.name('new'), pool)
        self.driver.create(new, 64 * MIB)
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
            with self.driver.open(new) as opened:
                written = [(at * 4 * MIB, b'data') for at in range(12)]
                self.assertRaises(errors.OutOfSpace, opened.write, written)
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

# SPDX-License-Identifier: Apache-2.0
"""The double does what the suite claims of a driver, and fails on demand."""

from collections.abc import Iterator
import contextlib

import testtools

from rbdcloner import errors
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from tests.ceph_double import CephDouble
from tests.driver_suite import WholeSuite


class DoubleCluster(CephDouble):
    """The double with the suite's pools."""

    image_pool = 'images'
    disk_pool = 'vms'
    small_pool = 'small'
    bare_pool = 'bare'
    read_only_pool = 'read-only'
    forbidden_pool = 'forbidden'

    def __init__(self) -> None:
        super().__init__(self.image_pool, self.disk_pool, self.small_pool)
        self.add_pool(self.bare_pool, initialised=False)
        self.add_pool(self.read_only_pool, access='read')
        self.add_pool(self.forbidden_pool, access='none')

    @property
    def driver(self) -> CephDouble:
        return self

    @contextlib.contextmanager
    def filled(self, pool: str) -> Iterator[None]:
        self.add_pool(pool, full=True)
        yield
        self.add_pool(pool)


class DoubleV1Test(WholeSuite, testtools.TestCase):
    clone_format = CloneFormat.V1

    def setUp(self):
        self.cluster = DoubleCluster()
        super().setUp()


class DoubleV2Test(DoubleV1Test):
    clone_format = CloneFormat.V2


class HalfCloneTest(testtools.TestCase):
    def half_clone(self, half):
        self.ceph = CephDouble()
        made = self.ceph.add_image('images', 'parent', 1 << 20)
        self.parent = self.ceph.add_snapshot(made, 'snap', protected=True)
        self.child = Image(self.ceph.fsid, 'vms', '', 'child')
        self.ceph.half_clone(self.parent, self.child, half)
        self.assertRaises(errors.RbdImageExists, self.clone)
        return self.ceph.find_image(self.child)

    def clone(self):
        self.ceph.clone(self.parent, self.child, CloneFormat.V2, 22)

    def test_a_name_alone_can_be_freed(self):
        self.assertIsNone(self.half_clone('name'))
        self.ceph.free_name(self.child)
        self.clone()

    def test_half_an_image_is_removed_like_a_whole_one(self):
        for half in ('orphan', 'uncounted'):
            facts = self.half_clone(half)
            self.assertEqual('', facts.tag)
            self.assertEqual(half == 'orphan', facts.parent_image_id == '')
            self.assertEqual([], self.ceph.children(self.parent))
            self.ceph.trash(facts.image)
            self.ceph.purge(facts.image)
            self.clone()


class Died(BaseException):
    """The process was killed here."""


class FaultTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.ceph = CephDouble()
        made = self.ceph.add_image('images', 'parent', 1 << 20)
        self.parent = self.ceph.add_snapshot(made, 'snap', protected=True)
        self.child = Image(self.ceph.fsid, 'vms', '', 'child')

    def clone(self):
        self.ceph.clone(self.parent, self.child, CloneFormat.V2, 22)

    def die(self, act, when):
        def on_act(name, moment):
            if (name, moment) == (act, when):
                raise Died

        self.ceph.on_act = on_act

    def test_death_before_an_act_leaves_it_undone(self):
        self.die('clone', 'before')
        self.assertRaises(Died, self.clone)
        self.assertEqual({}, self.ceph.named('vms'))

    def test_death_after_an_act_leaves_it_done(self):
        self.die('clone', 'after')
        self.assertRaises(Died, self.clone)
        self.assertIn('child', self.ceph.named('vms'))

    def test_a_dead_clients_watch_stays_until_it_expires(self):
        self.clone()
        child = self.ceph.find_image(self.child).image
        self.die('tag', 'before')

        def tag():
            with self.ceph.open(child) as opened:
                opened.tag('row')

        self.assertRaises(Died, tag)
        self.assertRaises(errors.RbdImageInUse, self.ceph.trash, child)
        self.ceph.expire_watches()
        self.ceph.trash(child)
        self.assertEqual({child.id: 'child'}, self.ceph.trashed('vms'))

    def test_a_fault_lasts_as_often_as_it_was_asked(self):
        self.ceph.fail('clone', errors.CephUnavailable(act='clone'), times=2)
        for _each in range(2):
            self.assertRaises(errors.CephUnavailable, self.clone)
        self.clone()

    def test_an_answer_can_be_lost_after_the_act(self):
        lost = errors.CephUnavailable(act='clone')
        self.ceph.fail('clone', lost, when='after')
        self.assertRaises(errors.CephUnavailable, self.clone)
        self.assertIn('child', self.ceph.named('vms'))

    def test_death_while_flattening_leaves_parent_and_watch(self):
        self.clone()
        child = self.ceph.find_image(self.child).image

        def die_within(done, total):
            raise Died

        self.assertRaises(Died, self.ceph.flatten, child, die_within)
        self.assertIsNotNone(self.ceph.find_image(child).parent)
        self.assertRaises(errors.RbdImageInUse, self.ceph.trash, child)
        self.ceph.expire_watches()
        self.ceph.flatten(child, lambda done, total: True)
        self.assertIsNone(self.ceph.find_image(child).parent)

    def test_every_act_can_fail(self):
        self.clone()
        child = self.ceph.find_image(self.child).image
        own = self.ceph.take_snapshot(child, 'own').snapshot
        for act, *nouns in (
            ('take_snapshot', child, 'other'),
            ('rollback', own),
            ('remove_snapshot', own),
            ('flatten', child, lambda done, total: True),
            ('trash', child),
            ('restore', child),
        ):
            error = errors.CephUnavailable(act=act)
            self.ceph.fail(act, error)
            verb = getattr(self.ceph, act)
            self.assertRaises(errors.CephUnavailable, verb, *nouns)

    def test_the_inventory_is_all_that_there_is(self):
        self.clone()
        self.ceph.unprotect(self.parent)
        self.ceph.glance_delete(self.parent.image)
        self.assertEqual(
            [
                'images/parent (trashed)',
                'images/parent (trashed)@snap (trashed)',
                'vms/child',
            ],
            self.ceph.inventory(),
        )
        self.assertEqual(1, self.ceph.total_snapshots())

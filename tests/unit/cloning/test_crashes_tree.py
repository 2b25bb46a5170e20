# SPDX-License-Identifier: Apache-2.0
"""Who comes after a process that died while it worked on a tree.

Whoever comes: what anybody still wants reads as it did, and of what nobody
wants nothing is left, neither in Ceph nor as work in the database.
"""

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Purpose
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.unit.cloning import dying
from tests.unit.cloning import tree
from tests.unit.cloning.service import Process
from tests.unit.cloning.service import Service


class TreeCrashTest(dying.CrashTest):
    """Of a golden image A, its disk, an image B of that, and B's disk."""

    def assert_settled(self, world: Service) -> Process:
        """Assert that rows and Ceph agree when all work is done."""
        process = world.process()
        tree.settle(process)
        rows = process.lineage.page(Filters(), limit=1000)
        for clone in rows:
            self._assert_as_promised(world, clone)
        parents = {each.id: each for each in process.lineage.parents()}
        for parent in parents.values():
            wanted = process.lineage.has_children(parent)
            if parent.purpose is Purpose.EDGE and not wanted:
                self.assertIs(ParentState.RELEASED, parent.state)
            if wanted:
                self.assertIs(ParentState.ACTIVE, parent.state)
        return process

    def _assert_as_promised(self, world: Service, clone: Clone) -> None:
        facts = world.ceph.find_image(clone.image) if clone.image.id else None
        if clone.state in states.FINAL:
            self.assertIsNone(facts)
            return
        self.assertEqual(
            clone.state is State.RETIRED, world.ceph.is_trashed(clone.image)
        )
        if clone.kind is not Kind.ADOPTED:
            self.assertEqual(clone.uuid, facts.tag)
        if clone.attached:
            above = clone.parent.snapshot.image.id
            self.assertEqual(above, facts.parent_image_id)

    def assert_reads(
        self, world: Service, pool: str, name: str, *generations: int
    ) -> None:
        """Assert that an image has the data of these generations alone."""
        image = Image(world.ceph.fsid, pool, '', name)
        self.assertEqual(b'golden', world.ceph.read(image, 0, 6))
        for generation in (1, 2):
            expected = b'%d' % generation * (generation in generations)
            found = world.ceph.read(image, 1000 * generation, 1)
            self.assertEqual(expected or b'\0', found)

    def assert_gone(self, world: Service, golden: str) -> None:
        """Assert that only the golden image is left when all is deleted."""
        process = self.assert_settled(world)
        for image_id in tree.ids(golden, 2):
            for clone in process.engine.delete_disks(image_id, ''):
                self.assertIs(
                    True, clone.state in (State.RETIRED, State.DELETED)
                )
        process.snapshots.discard_snapshot(_location(world, golden))
        world.glance.images.pop(tree.next_id(golden), None)
        tree.make_due(process)
        self.assert_settled(world)
        left = world.ceph.inventory()
        self.assertEqual([], [each for each in left if golden not in each])
        self.assertLessEqual(len(left), 2)


def _location(world: Service, golden: str) -> str:
    made = tree.next_id(golden)
    return f'rbd://{world.ceph.fsid}/images/{made}/snap'


def one(world: Service) -> str:
    """Make A and its disk."""
    return tree.grow(world, 1, protected=False)


def two(world: Service) -> str:
    """Make A, its disk, B and its disk."""
    return tree.grow(world, 2, protected=False)


def snapshotted(world: Service) -> str:
    """Make A, its disk and B, which Glance does not know yet."""
    golden = one(world)
    tree.snapshot(world.process(), golden)
    return golden


def let_go(world: Service, process: Process, image_id: str) -> None:
    """Delete an image that has children, as each format allows it."""
    try:
        tree.glance_deletes(world, image_id)
    except errors.RbdImageInUse:
        tree.release(process).retire(image_id)
        process.recovery.sweep()
        tree.forget(world, image_id)
    process.survey.look()


class SnapshotDiskTest(TreeCrashTest):
    def assert_made_or_not(self, world: Service, golden: str) -> None:
        process = self.assert_settled(world)
        self.assert_reads(world, 'vms', tree.name_of(golden), 1)
        made = process.lineage.page(
            Filters(kind=Kind.IMAGE, states=(State.READY,))
        )
        if made:
            self.assert_reads(world, 'images', tree.next_id(golden), 1)
        else:
            self.assertEqual(3, len(world.ceph.inventory()))
        self.assert_gone(world, golden)

    def test_called_again_it_ends_in_the_same_place(self) -> None:
        def check(world: Service, golden: str) -> None:
            location = tree.snapshot(world.process(), golden)
            self.assertEqual(_location(world, golden), location)
            self.assertEqual(6, len(world.ceph.inventory()))
            self.assert_settled(world)
            self.assert_reads(world, 'images', tree.next_id(golden), 1)

        steps = self.each_death(one, tree.snapshot, check)
        self.assertEqual(
            [
                *('commit', 'take_snapshot', 'commit'),
                *('clone', 'tag', 'commit'),
                *('take_snapshot', 'commit', 'protect'),
                *('mark_delivered', 'commit'),
            ],
            steps,
        )

    def test_not_called_again_it_leaves_nothing_or_the_image(self) -> None:
        self.each_death(one, tree.snapshot, self.assert_made_or_not)

    def test_its_disk_deleted_instead_it_leaves_nothing_or_the_image(
        self,
    ) -> None:
        def check(world: Service, golden: str) -> None:
            tree.delete(world.process(), golden)
            self.assert_settled(world)
            if tree.next_id(golden) in world.ceph.named('images'):
                self.assert_reads(world, 'images', tree.next_id(golden), 1)
            else:
                self.assertEqual(2, len(world.ceph.inventory()))
            self.assert_gone(world, golden)

        self.each_death(one, tree.snapshot, check)


class DiscardTest(TreeCrashTest):
    def discard(self, process: Process, golden: str) -> None:
        made = tree.next_id(golden)
        url = f'rbd://{process.engine.fsid}/images/{made}/snap'
        process.snapshots.discard_snapshot(url)

    def test_called_again_nothing_is_left(self) -> None:
        def check(world: Service, golden: str) -> None:
            self.discard(world.process(), golden)
            self.assert_settled(world)
            self.assertEqual(3, len(world.ceph.inventory()))

        steps = self.each_death(snapshotted, self.discard, check)
        self.assertEqual(['commit', 'commit', 'trash', 'commit'], steps)

    def test_not_called_again_it_is_finished_or_was_not_begun(self) -> None:
        def check(world: Service, golden: str) -> None:
            self.assert_settled(world)
            self.assertIn(len(world.ceph.inventory()), (3, 6))
            self.assert_gone(world, golden)

        self.each_death(snapshotted, self.discard, check)


class RetireTest(TreeCrashTest):
    """A disk is deleted that B, and B's disk, descend from."""

    def assert_children_live(self, world: Service, golden: str) -> None:
        self.assert_settled(world)
        made = tree.next_id(golden)
        self.assert_reads(world, 'images', made, 1)
        self.assert_reads(world, 'vms', tree.name_of(made), 1, 2)

    def test_called_again_it_is_retired_and_children_read_on(self) -> None:
        def check(world: Service, golden: str) -> None:
            clone = tree.delete(world.process(), golden)
            self.assertIs(State.RETIRED, clone.state)
            self.assert_children_live(world, golden)
            tree.launch(world.process(), golden)
            self.assert_children_live(world, golden)

        self.each_death(two, tree.delete, check)

    def test_not_called_again_it_is_finished_or_was_not_begun(self) -> None:
        def check(world: Service, golden: str) -> None:
            self.assert_children_live(world, golden)
            if world.ceph.named('vms').get(tree.name_of(golden)):
                self.assert_reads(world, 'vms', tree.name_of(golden), 1)
            self.assert_gone(world, golden)

        self.each_death(two, tree.delete, check)


class LastChildTest(TreeCrashTest):
    """Everything is retired but the lowest disk, and then that goes."""

    def prepare(self, world: Service) -> str:
        golden = two(world)
        process = world.process()
        let_go(world, process, golden)
        tree.delete(process, golden)
        let_go(world, process, tree.next_id(golden))
        self.assert_settled(world)
        self.assert_reads(
            world, 'vms', tree.name_of(tree.next_id(golden)), 1, 2
        )
        return golden

    def act(self, process: Process, golden: str) -> None:
        tree.delete(process, tree.next_id(golden))
        process.reaper.sweep()

    def test_all_four_go_from_the_lowest_upwards(self) -> None:
        def check(world: Service, golden: str) -> None:
            self.assert_settled(world)
            lowest = tree.name_of(tree.next_id(golden))
            if lowest in world.ceph.named('vms'):
                self.assert_reads(world, 'vms', lowest, 1, 2)
                self.act(world.process(), golden)
                self.assert_settled(world)
            self.assertEqual([], world.ceph.inventory())
            self.assertEqual({'deleted'}, {s for _, s in world.rows()})

        steps = self.each_death(self.prepare, self.act, check)
        self.assertEqual(4, steps.count('purge'))


class AdoptTest(TreeCrashTest):
    """A is deleted in Glance, and the survey finds that out."""

    def prepare(self, world: Service) -> str:
        golden = one(world)
        image = world.parent_of(golden).image
        try:
            tree.glance_deletes(world, golden)
        except errors.RbdImageInUse:
            world.ceph.trash_image(image)
            tree.forget(world, golden)
        return golden

    def test_image_is_adopted_once_and_goes_with_its_last_child(self) -> None:
        def check(world: Service, golden: str) -> None:
            world.process().survey.look()
            process = self.assert_settled(world)
            (adopted,) = process.lineage.page(Filters(kind=Kind.ADOPTED))
            self.assertIs(State.RETIRED, adopted.state)
            self.assert_reads(world, 'vms', tree.name_of(golden), 1)
            tree.delete(process, golden)
            self.assert_settled(world)
            self.assertEqual([], world.ceph.inventory())

        self.each_death(
            self.prepare, lambda process, _: process.survey.look(), check
        )


class ReleaseTest(TreeCrashTest):
    """An administrator retires A, and brings it back."""

    def retire(self, process: Process, golden: str) -> None:
        release = tree.release(process)
        release.retire(golden)
        process.recovery.sweep()

    def restore(self, process: Process, golden: str) -> None:
        release = tree.release(process)
        for clone in release_images(process, golden):
            if clone.state is State.RETIRED:
                release.restore(clone)
        process.recovery.sweep()

    def retired(self, world: Service) -> str:
        golden = one(world)
        self.retire(world.process(), golden)
        return golden

    def test_retired_image_goes_with_its_last_child(self) -> None:
        def check(world: Service, golden: str) -> None:
            self.retire(world.process(), golden)
            self.assert_settled(world)
            self.assertEqual({}, world.ceph.named('images'))
            self.assert_reads(world, 'vms', tree.name_of(golden), 1)
            tree.forget(world, golden)
            tree.delete(world.process(), golden)
            self.assert_settled(world)
            self.assertEqual([], world.ceph.inventory())

        self.each_death(one, self.retire, check)

    def test_restored_image_is_whole_and_can_be_cloned(self) -> None:
        def check(world: Service, golden: str) -> None:
            tree.expire(world.process())
            self.restore(world.process(), golden)
            self.assert_settled(world)
            self.assert_reads(world, 'images', golden)
            process = world.process()
            tree.delete(process, golden)
            tree.launch(process, golden)
            self.assert_settled(world)

        self.each_death(self.retired, self.restore, check)


def release_images(process: Process, golden: str) -> list[Clone]:
    """Return the rows of an image that was adopted."""
    return process.lineage.page(
        Filters(glance_image_id=golden, kind=Kind.ADOPTED)
    )

# SPDX-License-Identifier: Apache-2.0
"""Snapshots of disks: into Glance, and those that callers name."""

import dataclasses
import threading

import fixtures
import testtools
from testtools import matchers

from rbdcloner import errors
from rbdcloner.cloning import changes
from rbdcloner.model import CloneFormat
from rbdcloner.model import Filters
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Parent
from rbdcloner.model import Purpose
from rbdcloner.model import Request
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.unit.cloning import service
from tests.unit.cloning import tree

MIB = service.MIB


class SnapshotsTest(testtools.TestCase):
    clone_format = CloneFormat.V2

    def setUp(self) -> None:
        super().setUp()
        self.service = self.useFixture(service.Service(self.clone_format))
        self.ceph = self.service.ceph
        self.process = self.service.process()
        self.snapshots = self.process.snapshots
        self.image_id = self.service.add_image()
        self.disk = tree.launch(self.process, self.image_id)
        self.name = self.disk.image.name
        self.made = tree.next_id(self.image_id)

    def in_ceph(self) -> dict[str, bool]:
        """Return the disk's snapshots, name → protected."""
        return {
            each.snapshot.name: each.protected
            for each in self.ceph.snapshots(self.disk.image)
        }

    def image(self) -> Image:
        return self.ceph.find_image(
            Image(self.ceph.fsid, 'images', '', self.made)
        ).image

    def live(self) -> list[Parent]:
        return self.process.lineage.snapshots_of(self.disk.image)


class IntoGlanceTest(SnapshotsTest):
    def test_image_has_the_data_of_that_moment(self) -> None:
        self.ceph.write(self.disk.image, 0, b'before')
        location = tree.snapshot(self.process, self.image_id)
        self.assertEqual(
            f'rbd://{self.ceph.fsid}/images/{self.made}/snap', location
        )
        self.ceph.write(self.disk.image, 0, b'after!')
        self.assertEqual(b'before', self.ceph.read(self.image(), 0, 6))

    def test_glance_finds_a_protected_snapshot(self) -> None:
        tree.snapshot(self.process, self.image_id)
        facts = self.ceph.find_snapshot('images', '', self.made, 'snap')
        self.assertTrue(facts.protected)
        (row,) = self.process.lineage.snapshots_of(self.image())
        self.assertEqual(
            (Purpose.GLANCE, ParentState.ACTIVE), (row.purpose, row.state)
        )

    def test_repeated_it_gives_the_same_answer_and_makes_nothing(self) -> None:
        first = tree.snapshot(self.process, self.image_id)
        there = self.ceph.inventory()
        again = tree.snapshot(self.service.process(), self.image_id)
        self.assertEqual((first, there), (again, self.ceph.inventory()))

    def test_two_at_once_make_one_image(self) -> None:
        answers = []

        def ask() -> None:
            answers.append(
                tree.snapshot(self.service.process(), self.image_id)
            )

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertThat(answers, matchers.HasLength(4))
        self.assertThat(set(answers), matchers.HasLength(1))
        made = self.process.lineage.page(Filters(kind=Kind.IMAGE))
        self.assertThat(made, matchers.HasLength(1))
        self.assertThat(self.in_ceph(), matchers.HasLength(1))

    def test_image_of_another_disk_is_refused(self) -> None:
        tree.snapshot(self.process, self.image_id)
        other = self.process.engine.create_disk(service.request(self.image_id))
        error = self.assertRaises(
            errors.DiskDiffers,
            self.snapshots.snapshot_disk,
            'vms',
            other.image.name,
            self.made,
            'images',
        )
        self.assertEqual('disk', error.kwargs['field'])

    def test_name_that_others_took_is_never_touched(self) -> None:
        stranger = self.ceph.add_image('images', self.made, MIB)
        self.assertRaises(
            errors.NameTaken, tree.snapshot, self.process, self.image_id
        )
        tree.settle(self.process)
        self.assertEqual(stranger.id, self.ceph.named('images')[self.made])
        self.assertEqual('', self.ceph.find_image(stranger).tag)
        self.assertEqual({}, self.in_ceph())

    def test_pool_that_is_not_served_is_refused(self) -> None:
        self.assertRaises(
            errors.PoolNotServed,
            self.snapshots.snapshot_disk,
            'vms',
            self.name,
            self.made,
            'elsewhere',
        )
        self.assertEqual({}, self.in_ceph())

    def test_unknown_disk_is_named(self) -> None:
        self.assertRaises(
            errors.DiskNotFound,
            self.snapshots.snapshot_disk,
            'vms',
            'never',
            self.made,
            'images',
        )

    def test_full_pool_leaves_nothing(self) -> None:
        there = self.ceph.inventory()
        for act in (
            'take_snapshot',
            'clone',
            'tag',
            'protect',
            'mark_delivered',
        ):
            self.ceph.fail(act, errors.OutOfSpace(pool='images'))
            self.assertRaises(
                errors.OutOfSpace, tree.snapshot, self.process, self.image_id
            )
            self.assertEqual(there, self.ceph.inventory(), act)

    def test_lost_answers_are_resolved_by_the_next_call(self) -> None:
        lost = errors.CephUnavailable(act='something')
        acts = (
            'take_snapshot',
            'clone',
            'tag',
            'protect',
            'mark_delivered',
        )
        for act in acts:
            for when in ('before', 'after'):
                self.ceph.fail(act, lost, when=when)
                self.assertRaises(
                    errors.CephUnavailable,
                    tree.snapshot,
                    self.process,
                    self.image_id,
                )
        tree.snapshot(self.process, self.image_id)
        self.assertThat(self.in_ceph(), matchers.HasLength(1))
        self.assertEqual(b'golden', self.ceph.read(self.image(), 0, 6))


class IntoGlanceV1Test(IntoGlanceTest):
    clone_format = CloneFormat.V1

    def test_edge_is_protected_and_goes_with_the_image(self) -> None:
        location = tree.snapshot(self.process, self.image_id)
        self.assertEqual([True], list(self.in_ceph().values()))
        self.snapshots.discard_snapshot(location)
        tree.settle(self.process)
        self.assertEqual({}, self.in_ceph())


class DiscardTest(SnapshotsTest):
    def setUp(self) -> None:
        super().setUp()
        self.location = tree.snapshot(self.process, self.image_id)

    def test_nothing_is_left_but_the_disk(self) -> None:
        self.snapshots.discard_snapshot(self.location)
        self.assertNotIn(self.made, self.ceph.named('images'))
        tree.settle(self.process)
        self.assertEqual({}, self.ceph.trashed('images'))
        self.assertEqual({}, self.in_ceph())
        self.assertEqual([], self.live())

    def test_repeated_it_finds_nothing(self) -> None:
        self.snapshots.discard_snapshot(self.location)
        again = self.snapshots.discard_snapshot(self.location)
        self.assertIsNone(again)

    def test_disks_of_the_image_read_on(self) -> None:
        tree.register(self.service, self.made, self.location)
        child = tree.launch(self.process, self.made)
        self.snapshots.discard_snapshot(self.location)
        tree.forget(self.service, self.made)
        tree.settle(self.process)
        self.assertEqual(b'golden', self.ceph.read(child.image, 0, 6))
        self.assertThat(self.in_ceph(), matchers.HasLength(1))

    def test_image_that_others_made_is_never_touched(self) -> None:
        url = f'rbd://{self.ceph.fsid}/images/{self.image_id}/snap'
        self.assertRaises(
            errors.NameTaken, self.snapshots.discard_snapshot, url
        )
        self.assertIn(self.image_id, self.ceph.named('images'))

    def test_what_is_no_location_of_this_cluster_is_refused(self) -> None:
        for url in (
            'file:///etc/passwd',
            'rbd://elsewhere/images/x/snap',
            f'rbd://{self.ceph.fsid}/images/{self.made}',
        ):
            self.assertRaises(
                errors.InvalidArgument, self.snapshots.discard_snapshot, url
            )
        url = self.location.replace('/images/', '/vms/')
        self.assertRaises(
            errors.PoolNotServed, self.snapshots.discard_snapshot, url
        )


class NamedTest(SnapshotsTest):
    """A snapshot that a caller names."""

    def create(
        self, snapshot: str = 'first', request: Request = changes.UNNAMED
    ) -> Parent:
        return self.snapshots.create_snapshot(
            'vms', self.name, snapshot, request
        )

    def remove(
        self, snapshot: str = 'first', request: Request = changes.UNNAMED
    ) -> None:
        self.snapshots.remove_snapshot('vms', self.name, snapshot, request)

    def test_created_again_by_the_same_request_it_is_the_same(self) -> None:
        request = Request('call', 0)
        self.assertEqual(
            self.create(request=request), self.create(request=request)
        )
        self.assertEqual({'first': False}, self.in_ceph())

    def test_created_again_by_another_request_it_is_refused(self) -> None:
        first = self.create(request=Request('one', 0))
        self.assertRaises(errors.DiskSnapshotExists, self.create)
        self.assertRaises(
            errors.DiskSnapshotExists, self.create, request=Request('two', 0)
        )
        self.assertEqual([first], self.live())

    def test_one_that_others_took_is_not_taken_for_ours(self) -> None:
        self.ceph.add_snapshot(self.disk.image, 'first')
        self.assertRaises(
            errors.DiskSnapshotExists, self.create, request=Request('one', 0)
        )
        tree.settle(self.process)
        self.assertEqual(({'first': False}, []), (self.in_ceph(), self.live()))

    def test_one_that_others_removed_is_taken_anew(self) -> None:
        first = self.create()
        self.ceph.drop_snapshot(first.snapshot)
        second = self.create()
        self.assertNotEqual(first.id, second.id)
        self.assertEqual([second], self.live())

    def test_one_that_others_removed_from_under_a_child_is_taken_anew(
        self,
    ) -> None:
        first = self.create()
        child = self.service.child('other')
        self.ceph.clone(first.snapshot, child, CloneFormat.V2, 22)
        self.ceph.drop_snapshot(first.snapshot)
        second = self.create()
        self.assertIn('first', self.in_ceph())
        self.remove()
        self.assertEqual([first.id], [each.id for each in self.live()])
        self.assertNotEqual(first.id, second.id)

    def test_one_removed_since_is_not_taken_again_by_its_request(
        self,
    ) -> None:
        request = Request('one', 0)
        self.create(request=request)
        self.remove()
        self.assertRaises(errors.RequestOutdated, self.create, request=request)
        self.assertEqual({}, self.in_ceph())

    def test_removal_sent_again_lets_the_next_one_be(self) -> None:
        self.create()
        request = Request('gone', 2**40)
        self.remove(request=request)
        second = self.create()
        self.remove(request=request)
        self.assertEqual([second], self.live())
        self.assertEqual({'first': False}, self.in_ceph())

    def test_removal_that_comes_late_lets_the_next_one_be(self) -> None:
        self.create()
        self.remove()
        second = self.create()
        refused = self.assertRaises(
            errors.RequestOutdated, self.remove, request=Request('late', 1)
        )
        self.assertEqual([second], self.live())
        self.remove(request=Request('now', refused.kwargs['later']))
        self.assertEqual([], self.live())

    def test_late_removal_of_what_others_took_leaves_no_row(self) -> None:
        self.create('other')
        self.ceph.add_snapshot(self.disk.image, 'theirs')
        known = self.live()
        self.assertRaises(
            errors.RequestOutdated, self.remove, 'theirs', Request('late', 0)
        )
        self.assertEqual(known, self.live())

    def test_refused_removal_of_what_others_took_is_not_done_later(
        self,
    ) -> None:
        theirs = self.ceph.add_snapshot(self.disk.image, 'theirs')
        child = self.service.child('other')
        self.ceph.clone(theirs, child, CloneFormat.V2, 22)
        self.assertRaises(errors.DiskSnapshotInUse, self.remove, 'theirs')
        self.assertIs(ParentState.ACTIVE, self.live()[0].state)

    def test_removed_it_is_gone_and_removed_again_nothing(self) -> None:
        self.create()
        self.remove()
        self.remove()
        self.assertEqual(({}, []), (self.in_ceph(), self.live()))

    def test_created_after_a_removal_it_has_the_data_of_then(self) -> None:
        first = self.create()
        self.remove()
        second = self.create()
        self.assertNotEqual(first.snapshot.id, second.snapshot.id)

    def test_created_while_its_removal_waits_it_stays(self) -> None:
        self.create()
        lost = errors.CephUnavailable(act='remove_snapshot')
        self.ceph.fail('remove_snapshot', lost)
        self.assertRaises(errors.CephUnavailable, self.remove)
        made = self.create()
        self.assertIs(ParentState.ACTIVE, made.state)
        tree.settle(self.process)
        self.assertEqual({'first': False}, self.in_ceph())

    def test_one_with_children_that_others_made_stays(self) -> None:
        taken = self.create()
        self.ceph.clone(
            taken.snapshot, self.service.child('other'), CloneFormat.V2, 22
        )
        self.assertRaises(errors.DiskSnapshotInUse, self.remove)
        self.assertIs(
            ParentState.ACTIVE, tree.parent(self.process, taken).state
        )

    def test_one_that_an_image_descends_from_stays(self) -> None:
        tree.snapshot(self.process, self.image_id)
        (edge,) = self.in_ceph()
        self.assertRaises(errors.DiskSnapshotInUse, self.remove, edge)
        self.assertEqual([edge], list(self.in_ceph()))

    def test_one_that_others_took_is_removed_when_asked(self) -> None:
        self.ceph.add_snapshot(self.disk.image, 'theirs', protected=True)
        self.remove('theirs')
        self.assertEqual({}, self.in_ceph())

    def test_it_outlives_a_disk_that_others_cloned_from_it(self) -> None:
        taken = self.create()
        image_id = self.service.add_image()
        url = f'rbd://{self.ceph.fsid}/vms/{self.name}/first'
        tree.register(self.service, image_id, url)
        child = tree.launch(self.process, image_id)
        self.assertEqual(taken.id, child.parent.id)
        tree.delete(self.process, image_id)
        tree.settle(self.process)
        self.assertEqual({'first': False}, self.in_ceph())

    def test_it_goes_with_its_disk(self) -> None:
        self.create()
        tree.delete(self.process, self.image_id)
        tree.settle(self.process)
        self.assertEqual({}, self.ceph.trashed('vms'))

    def test_unknown_disk_is_named(self) -> None:
        tree.delete(self.process, self.image_id)
        self.assertRaises(errors.DiskNotFound, self.create)
        self.assertRaises(errors.DiskNotFound, self.remove)


class RollbackTest(SnapshotsTest):
    def setUp(self) -> None:
        super().setUp()
        self.log = self.useFixture(
            fixtures.FakeLogger(
                'rbdcloner', format='%(levelname)s %(message)s'
            )
        )
        self.ceph.write(self.disk.image, 0, b'old')
        self.target = self.snapshots.create_snapshot('vms', self.name, 'then')
        self.ceph.write(self.disk.image, 0, b'new')

    def roll_back(
        self, snapshot: str = 'then', request: Request = changes.UNNAMED
    ):
        return self.snapshots.rollback_disk(
            'vms', self.name, snapshot, request
        )

    def test_sent_again_it_leaves_what_was_written_since(self) -> None:
        request = Request('call', 2**40)
        first = self.roll_back(request=request)
        self.ceph.write(self.disk.image, 0, b'NEW')
        self.assertEqual(first, self.roll_back(request=request))
        self.assertEqual(b'NEW', self.read())

    def test_sent_again_after_a_refusal_it_is_done(self) -> None:
        request = Request('call', 2**40)
        with self.ceph.watch(self.disk.image):
            self.assertRaises(
                errors.DiskInUse, self.roll_back, request=request
            )
        self.roll_back(request=request)
        self.assertEqual(b'old', self.read())

    def test_ended_by_recovery_it_leaves_what_was_written_since(self) -> None:
        request = Request('call', 2**40)
        self.ceph.fail('rollback', errors.CephUnavailable(act='rollback'))
        self.assertRaises(
            errors.CephUnavailable, self.roll_back, request=request
        )
        tree.make_due(self.process)
        self.process.recovery.sweep()
        self.ceph.write(self.disk.image, 0, b'NEW')
        self.roll_back(request=request)
        self.assertEqual(b'NEW', self.read())

    def test_overtaken_by_another_it_is_not_done(self) -> None:
        request = Request('call', 2**40)
        self.ceph.fail('rollback', errors.CephUnavailable(act='rollback'))
        self.assertRaises(
            errors.CephUnavailable, self.roll_back, request=request
        )
        self.roll_back()
        self.ceph.write(self.disk.image, 0, b'NEW')
        self.roll_back(request=request)
        self.assertEqual(b'NEW', self.read())

    def test_late_it_leaves_the_disk(self) -> None:
        """Its caller knew of nothing that came after the snapshot."""
        self.process.engine.resize_disk('vms', self.name, 3 * MIB)
        refused = self.assertRaises(
            errors.RequestOutdated, self.roll_back, request=Request('late', 1)
        )
        self.assertEqual((b'new', State.READY), (self.read(), self.state()))
        self.roll_back(request=Request('now', refused.kwargs['later']))
        self.assertEqual(b'old', self.read())

    def test_late_it_does_not_go_to_a_newer_snapshot(self) -> None:
        self.snapshots.remove_snapshot('vms', self.name, 'then')
        self.snapshots.create_snapshot('vms', self.name, 'then')
        self.ceph.write(self.disk.image, 0, b'NEW')
        self.assertRaises(
            errors.RequestOutdated, self.roll_back, request=Request('late', 1)
        )
        self.assertEqual(b'NEW', self.read())

    def read(self) -> bytes:
        return self.ceph.read(self.disk.image, 0, 3)

    def fail_half_way(self) -> None:
        lost = errors.CephUnavailable(act='rollback')
        self.ceph.fail('rollback', lost)
        self.assertRaises(errors.CephUnavailable, self.roll_back)

    def state(self) -> State:
        return tree.row(self.process, self.disk).state

    def test_disk_has_the_data_and_the_size_of_then(self) -> None:
        self.process.engine.resize_disk('vms', self.name, 3 * MIB)
        row = self.roll_back()
        self.assertEqual(b'old', self.read())
        self.assertEqual((State.READY, 2 * MIB), (row.state, row.size_bytes))
        self.assertEqual(2 * MIB, self.ceph.find_image(row.image).size_bytes)

    def test_unknown_snapshot_is_named(self) -> None:
        self.assertRaises(errors.DiskSnapshotNotFound, self.roll_back, 'never')
        self.assertIs(State.READY, self.state())

    def lose_row(self) -> None:
        """Restore a backup of before the snapshot was taken."""
        self.service.execute("DELETE FROM parents WHERE purpose = 'caller'")

    def test_snapshot_without_a_row_is_gone_back_to(self) -> None:
        self.lose_row()
        self.roll_back()
        self.assertEqual((b'old', State.READY), (self.read(), self.state()))

    def test_snapshot_without_a_row_gets_one(self) -> None:
        """Nobody takes another under its name, or takes it for others'."""
        self.lose_row()
        self.roll_back()
        self.assertRaises(
            errors.DiskSnapshotExists,
            self.snapshots.create_snapshot,
            'vms',
            self.name,
            'then',
        )
        self.snapshots.remove_snapshot('vms', self.name, 'then')
        self.assertEqual({}, self.in_ceph())

    def test_late_it_records_no_snapshot(self) -> None:
        self.lose_row()
        self.process.engine.resize_disk('vms', self.name, 3 * MIB)
        self.assertRaises(
            errors.RequestOutdated, self.roll_back, request=Request('late', 1)
        )
        self.assertEqual([], self.live())

    def test_name_that_was_used_again_since_the_backup_is_the_new_one(
        self,
    ) -> None:
        self.ceph.drop_snapshot(self.target.snapshot)
        self.ceph.write(self.disk.image, 0, b'mid')
        self.ceph.add_snapshot(self.disk.image, 'then')
        self.ceph.write(self.disk.image, 0, b'new')
        self.roll_back()
        self.assertEqual((b'mid', State.READY), (self.read(), self.state()))

    def test_open_disk_stays_as_it_is(self) -> None:
        with self.ceph.watch(self.disk.image):
            self.assertRaises(errors.DiskInUse, self.roll_back)
        self.assertEqual((b'new', State.READY), (self.read(), self.state()))

    def test_snapshot_removed_by_others_leaves_the_disk(self) -> None:
        self.ceph.drop_snapshot(self.target.snapshot)
        self.assertRaises(errors.SnapshotNotFound, self.roll_back)
        self.assertEqual((b'new', State.READY), (self.read(), self.state()))

    def recover(self) -> None:
        tree.make_due(self.process)
        self.process.recovery.sweep()

    def assert_given_up(self, why: str) -> None:
        row = tree.row(self.process, self.disk)
        self.assertIs(State.READY, row.state)
        self.assertIn(why, row.reason)
        (line,) = (
            line
            for line in self.log.output.splitlines()
            if line.startswith('ERROR') and 'is given up' in line
        )
        self.assertIn(f'vms/{self.name} ({self.disk.image.id})', line)

    def test_half_done_under_a_user_it_is_given_up(self) -> None:
        """A rollback after the shutdown would destroy what a guest wrote."""
        self.fail_half_way()
        with self.ceph.watch(self.disk.image) as address:
            self.assertRaises(errors.DiskInUse, self.roll_back)
            self.assertIs(State.ROLLING_BACK, self.state())
            self.recover()
            self.assert_given_up(f'open at {address}')
            self.ceph.write(self.disk.image, 0, b'NEW')
        self.recover()
        self.assertEqual((b'NEW', State.READY), (self.read(), self.state()))
        self.roll_back()
        self.assertEqual(b'old', self.read())

    def test_half_done_it_waits_while_a_worker_has_it_open(self) -> None:
        self.fail_half_way()
        with self.ceph.watch(self.disk.image) as address:
            self.process.lineage.register_worker(
                'another', 'host', 1, '1', '1.0'
            )
            self.process.lineage.note_addresses('another', [address])
            self.recover()
            self.assertIs(State.ROLLING_BACK, self.state())
        self.recover()
        self.assertEqual((b'old', State.READY), (self.read(), self.state()))

    def test_half_done_it_waits_while_a_dead_worker_may_have_it_open(
        self,
    ) -> None:
        self.fail_half_way()
        recovery = self.process.recovery
        patient = dataclasses.replace(
            recovery,
            rollbacks=dataclasses.replace(recovery.rollbacks, open_for_s=60),
        )
        with self.ceph.watch(self.disk.image):
            tree.make_due(self.process)
            patient.sweep()
            self.assertIs(State.ROLLING_BACK, self.state())
        self.recover()
        self.assertEqual((b'old', State.READY), (self.read(), self.state()))

    def test_half_done_it_is_given_up_after_a_user_wrote(self) -> None:
        self.fail_half_way()
        self.ceph.write(self.disk.image, 0, b'NEW', later_s=600)
        self.recover()
        self.assert_given_up('was written to at')
        self.assertEqual(b'NEW', self.read())

    def test_given_up_its_request_is_never_done(self) -> None:
        """A message can arrive after its caller has given it up."""
        request = Request('call', 2**40)
        self.ceph.fail('rollback', errors.CephUnavailable(act='rollback'))
        self.assertRaises(
            errors.CephUnavailable, self.roll_back, request=request
        )
        self.ceph.write(self.disk.image, 0, b'NEW', later_s=600)
        for _twice in range(2):
            self.assertRaises(
                errors.RollbackAbandoned, self.roll_back, request=request
            )
        self.assertEqual((b'NEW', State.READY), (self.read(), self.state()))

    def test_requested_anew_it_overwrites_what_a_user_wrote(self) -> None:
        self.fail_half_way()
        self.ceph.write(self.disk.image, 0, b'NEW', later_s=-600)
        self.roll_back()
        self.assertEqual((b'old', State.READY), (self.read(), self.state()))

    def test_half_done_it_is_given_up_without_its_snapshot(self) -> None:
        self.fail_half_way()
        self.ceph.drop_snapshot(self.target.snapshot)
        self.recover()
        self.assert_given_up('then')
        self.process.engine.resize_disk('vms', self.name, 3 * MIB)

    def test_half_done_it_is_given_up_with_a_trashed_snapshot(self) -> None:
        child = dataclasses.replace(self.disk.image, name='child', id='')
        self.ceph.clone(self.target.snapshot, child, CloneFormat.V2, 22)
        self.fail_half_way()
        self.ceph.drop_snapshot(self.target.snapshot)
        self.recover()
        self.assert_given_up('then')

    def test_half_done_it_is_given_up_without_its_image(self) -> None:
        self.fail_half_way()
        self.ceph.remove_image(self.disk.image)
        self.recover()
        self.assert_given_up(self.name)
        self.process.survey.look()
        self.assertIsNot(State.READY, self.state())

    def test_order_is_logged_with_its_request(self) -> None:
        self.roll_back(request=Request('req-7', 2**40))
        (line,) = (
            line
            for line in self.log.output.splitlines()
            if 'Destruction: roll back' in line
        )
        self.assertIn('caller (request req-7)', line)

    def test_half_done_it_is_not_ready_after_a_refusal(self) -> None:
        self.ceph.fail('rollback', errors.OutOfSpace(pool='vms'))
        self.assertRaises(errors.OutOfSpace, self.roll_back)
        self.assertIs(State.ROLLING_BACK, self.state())
        self.roll_back()
        self.assertEqual((b'old', State.READY), (self.read(), self.state()))

    def test_half_done_it_goes_to_no_other_snapshot(self) -> None:
        self.fail_half_way()
        self.assertRaises(errors.DiskBusy, self.create_other)
        self.ceph.add_snapshot(self.disk.image, 'other')
        self.assertEqual(State.ROLLING_BACK, self.state())

    def create_other(self) -> None:
        self.snapshots.create_snapshot('vms', self.name, 'other')

    def test_asked_for_another_snapshot_it_waits_for_nobody(self) -> None:
        self.roll_back()
        self.create_other()
        self.fail_half_way()
        self.assertRaises(errors.DiskBusy, self.roll_back, 'other')
        self.assertIsNone(tree.row(self.process, self.disk).lease_expires_at)
        self.roll_back()
        self.assertIs(State.READY, self.state())

    def test_half_done_its_snapshot_is_not_removed(self) -> None:
        self.fail_half_way()
        self.assertRaises(
            errors.DiskBusy,
            self.snapshots.remove_snapshot,
            'vms',
            self.name,
            'then',
        )
        self.roll_back()
        self.assertEqual((b'old', State.READY), (self.read(), self.state()))

    def test_snapshot_that_is_being_removed_is_refused(self) -> None:
        self.process.lineage.releasing(self.target)
        self.assertRaises(errors.ParentReleased, self.roll_back)
        self.assertEqual((b'new', State.READY), (self.read(), self.state()))

    def test_removal_that_comes_too_late_lets_the_rollback_be(self) -> None:
        other = self.service.process()

        def remove(name: str, when: str) -> None:
            if (name, when) == ('rollback', 'before'):
                self.assertRaises(
                    errors.DiskBusy, other.snapshots.releaser.remove,
                    self.target, service.ASKED,
                )  # fmt: skip

        self.ceph.on_act = remove
        self.roll_back()
        self.assertEqual(b'old', self.read())
        self.assertEqual({'then': False}, self.in_ceph())

# SPDX-License-Identifier: Apache-2.0
"""What the engine promises, on the double and SQLite."""

import dataclasses
import threading

import testtools
from testtools import matchers

from rbdcloner import errors
from rbdcloner.cloning import changes
from rbdcloner.model import CloneFormat
from rbdcloner.model import Protector
from rbdcloner.model import Request
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.unit.cloning import service

MIB = service.MIB


class EngineTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.service = self.useFixture(service.Service())
        self.ceph = self.service.ceph
        self.process = self.service.process()
        self.engine = self.process.engine
        self.image_id = self.service.add_image()
        self.request = service.request(self.image_id)

    def assert_nothing_made(self) -> None:
        self.assertEqual({}, self.ceph.named('vms'))
        self.assertEqual({}, self.ceph.trashed('vms'))
        self.assertEqual([], self.service.rows())


class CreateTest(EngineTest):
    def test_disk_reads_the_images_data_and_has_the_asked_size(self) -> None:
        clone = self.engine.create_disk(self.request)
        self.assertEqual(b'golden', self.ceph.read(clone.image, 0, 6))
        facts = self.ceph.find_image(clone.image)
        self.assertEqual(2 * MIB, facts.size_bytes)
        self.assertEqual(clone.uuid, facts.tag)

    def test_row_records_both_ends_by_id(self) -> None:
        clone = self.engine.create_disk(self.request)
        row = self.engine.get_disk('vms', self.request.name)
        self.assertEqual(clone, row)
        self.assertIs(State.READY, row.state)
        self.assertIsNone(row.lease_expires_at)
        self.assertEqual(
            self.ceph.named('vms'), {row.image.name: row.image.id}
        )
        self.assertEqual(
            self.service.parent_of(self.image_id), row.parent.snapshot
        )
        self.assertIs(CloneFormat.V2, row.clone_format)
        self.assertEqual(self.image_id, row.glance_image_id)
        self.assertEqual('compute-1', row.host)

    def test_repeated_gives_the_same_answer(self) -> None:
        first = self.engine.create_disk(self.request)
        again = self.service.process().engine.create_disk(self.request)
        self.assertEqual(first, again)
        self.assertThat(self.service.rows(), matchers.HasLength(1))

    def test_repeated_when_the_image_is_gone_gives_the_same_answer(
        self,
    ) -> None:
        first = self.engine.create_disk(self.request)
        self.service.glance.images.clear()
        again = self.service.process().engine.create_disk(self.request)
        self.assertEqual(first, again)

    def test_repeated_after_growing_answers_with_the_grown_disk(self) -> None:
        self.engine.create_disk(self.request)
        grown = self.engine.resize_disk('vms', self.request.name, 3 * MIB)
        self.assertEqual(grown, self.engine.create_disk(self.request))

    def test_two_at_once_make_one_clone(self) -> None:
        answers = []

        def create() -> None:
            engine = self.service.process().engine
            answers.append(engine.create_disk(self.request))

        threads = [threading.Thread(target=create) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertThat(answers, matchers.HasLength(8))
        self.assertThat(set(answers), matchers.HasLength(1))
        self.assertThat(self.service.rows(), matchers.HasLength(1))

    def test_image_larger_than_the_disk_is_refused_first(self) -> None:
        request = service.request(self.image_id, size_bytes=MIB - 1)
        error = self.assertRaises(
            errors.ImageTooBig, self.engine.create_disk, request
        )
        self.assertEqual(MIB, error.kwargs['image_bytes'])
        self.assert_nothing_made()

    def test_unknown_image_is_refused(self) -> None:
        request = service.request('9d1c0a2e-0000-4000-8000-000000000000')
        self.assertRaises(
            errors.ImageNotFound, self.engine.create_disk, request
        )
        self.assert_nothing_made()

    def test_image_of_another_project_is_refused(self) -> None:
        image_id = self.service.add_image(visibility='private')
        request = service.request(image_id, project_id='other')
        self.assertRaises(
            errors.ImageForbidden, self.engine.create_disk, request
        )
        self.assert_nothing_made()

    def test_image_that_cannot_be_cloned_says_why(self) -> None:
        image_id = self.service.add_image(disk_format='qcow2')
        error = self.assertRaises(
            errors.ImageNotCloneable,
            self.engine.create_disk,
            service.request(image_id),
        )
        self.assertIn('not-raw', str(error))
        self.assert_nothing_made()

    def test_pool_that_is_not_served_is_refused(self) -> None:
        request = service.request(self.image_id, pool='images')
        self.assertRaises(
            errors.PoolNotServed, self.engine.create_disk, request
        )
        self.assert_nothing_made()

    def test_name_of_an_image_that_is_not_ours_is_never_touched(self) -> None:
        stranger = self.ceph.add_image('vms', self.request.name, MIB)
        self.assertRaises(
            errors.NameTaken, self.engine.create_disk, self.request
        )
        self.assertEqual({stranger.name: stranger.id}, self.ceph.named('vms'))
        self.assertEqual('', self.ceph.find_image(stranger).tag)
        self.assertEqual([(self.request.name, 'failed')], self.service.rows())

    def test_strangers_clone_of_the_same_parent_is_never_touched(self) -> None:
        child = self.service.child(self.request.name)
        self.ceph.clone(
            self.service.parent_of(self.image_id), child, CloneFormat.V2, 22
        )
        self.assertRaises(
            errors.NameTaken, self.engine.create_disk, self.request
        )
        self.assertEqual('', self.ceph.find_image(child).tag)

    def test_name_of_a_disk_from_another_image_is_refused(self) -> None:
        first = self.engine.create_disk(self.request)
        other = service.request(
            self.service.add_image(),
            name=self.request.name,
            instance_uuid=self.request.instance_uuid,
        )
        error = self.assertRaises(
            errors.DiskDiffers, self.engine.create_disk, other
        )
        self.assertEqual('image', error.kwargs['field'])
        self.assertEqual(first, self.engine.get_disk('vms', other.name))

    def test_name_is_free_again_after_deletion(self) -> None:
        first = self.engine.create_disk(self.request)
        self.engine.delete_disk('vms', self.request.name)
        second = self.engine.create_disk(self.request)
        self.assertNotEqual(first.uuid, second.uuid)
        self.assertNotEqual(first.image.id, second.image.id)

    def test_full_pool_leaves_nothing(self) -> None:
        for act in ('clone', 'resize', 'mark_delivered'):
            self.ceph.fail(act, errors.OutOfSpace(pool='vms'))
            self.assertRaises(
                errors.OutOfSpace, self.engine.create_disk, self.request
            )
            self.assertEqual({}, self.ceph.named('vms'))
            self.assertEqual({}, self.ceph.trashed('vms'))
        self.assertEqual(
            [(self.request.name, 'failed')] * 3, self.service.rows()
        )

    def test_lost_answer_of_ceph_is_resolved_by_the_next_call(self) -> None:
        lost = errors.CephUnavailable(act='clone')
        for act in ('clone', 'resize', 'mark_delivered'):
            for when in ('before', 'after'):
                self.ceph.fail(act, lost, when=when)
                self.assertRaises(
                    errors.CephUnavailable,
                    self.engine.create_disk,
                    self.request,
                )
        clone = self.engine.create_disk(self.request)
        self.assertIs(State.READY, clone.state)
        self.assertThat(self.service.rows(), matchers.HasLength(1))

    def test_parent_replaced_behind_our_back_is_found_anew(self) -> None:
        self.engine.create_disk(self.request)
        old = self.service.parent_of(self.image_id)
        self.ceph.remove_image(old.image)
        again = self.ceph.add_image('images', self.image_id, MIB)
        self.ceph.add_snapshot(again, 'snap', protected=True)
        clone = self.engine.create_disk(service.request(self.image_id))
        self.assertEqual(again.id, clone.parent.snapshot.image.id)

    def test_replaced_parent_of_larger_objects_is_found_anew(self) -> None:
        self.engine.create_disk(self.request)
        old = self.service.parent_of(self.image_id)
        self.ceph.remove_image(old.image)
        again = self.ceph.add_image('images', self.image_id, MIB, order=23)
        self.ceph.add_snapshot(again, 'snap', protected=True)
        clone = self.engine.create_disk(service.request(self.image_id))
        self.assertEqual(again.id, clone.parent.snapshot.image.id)
        self.assertEqual(23, clone.parent.order)

    def test_image_removed_behind_our_back_is_named(self) -> None:
        self.engine.create_disk(self.request)
        self.ceph.remove_image(self.service.parent_of(self.image_id).image)
        request = service.request(self.image_id)
        error = self.assertRaises(
            errors.ImageNotCloneable, self.engine.create_disk, request
        )
        self.assertIn('image-missing', str(error))
        self.assertEqual([self.request.name], list(self.ceph.named('vms')))


class ResizeTest(EngineTest):
    def setUp(self) -> None:
        super().setUp()
        self.snapshots = self.process.snapshots
        self.clone = self.engine.create_disk(self.request)

    def resize(self, size_bytes: int, request: Request = changes.UNNAMED):
        return self.engine.resize_disk(
            'vms', self.request.name, size_bytes, request
        )

    def go_back(self) -> None:
        """Give the disk the size that it had first."""
        self.snapshots.rollback_disk('vms', self.request.name, 'then')

    def test_sent_again_it_lets_a_later_rollback_be(self) -> None:
        self.snapshots.create_snapshot('vms', self.request.name, 'then')
        request = Request('call', 2**40)
        self.resize(5 * MIB, request)
        self.go_back()
        self.assertEqual(2 * MIB, self.resize(5 * MIB, request).size_bytes)
        facts = self.ceph.find_image(self.clone.image)
        self.assertEqual(2 * MIB, facts.size_bytes)

    def test_sent_again_after_a_larger_one_it_is_answered(self) -> None:
        request = Request('call', 0)
        self.resize(5 * MIB, request)
        grown = self.resize(8 * MIB)
        self.assertEqual(grown, self.resize(5 * MIB, request))

    def test_sent_again_after_a_refusal_it_is_done(self) -> None:
        request = Request('call', 0)
        self.ceph.fail('resize', errors.OutOfSpace(pool='vms'))
        self.assertRaises(errors.OutOfSpace, self.resize, 5 * MIB, request)
        self.assertEqual(5 * MIB, self.resize(5 * MIB, request).size_bytes)

    def test_sent_again_after_a_lost_answer_of_ceph_it_is_done(self) -> None:
        request = Request('call', 0)
        lost = errors.CephUnavailable(act='resize')
        self.ceph.fail('resize', lost)
        self.assertRaises(
            errors.CephUnavailable, self.resize, 5 * MIB, request
        )
        self.assertEqual(5 * MIB, self.resize(5 * MIB, request).size_bytes)

    def test_late_it_lets_the_next_disk_of_the_name_be(self) -> None:
        self.engine.delete_disk('vms', self.request.name)
        self.engine.create_disk(self.request)
        late = Request('late', 0)
        refused = self.assertRaises(
            errors.RequestOutdated, self.resize, 5 * MIB, late
        )
        row = self.engine.get_disk('vms', self.request.name)
        self.assertEqual((State.READY, 2 * MIB), (row.state, row.size_bytes))
        now = Request('now', refused.kwargs['later'])
        self.assertEqual(5 * MIB, self.resize(5 * MIB, now).size_bytes)

    def test_noted_it_lets_the_next_disk_of_the_name_be(self) -> None:
        request = Request('call', 0)
        self.resize(5 * MIB, request)
        self.engine.delete_disk('vms', self.request.name)
        self.engine.create_disk(self.request)
        self.assertRaises(
            errors.RequestOutdated, self.resize, 5 * MIB, request
        )

    def test_it_keeps_no_creation_from_being_repeated(self) -> None:
        self.resize(5 * MIB)
        request = dataclasses.replace(self.request, after=0)
        again = self.engine.create_disk(request)
        self.assertEqual(5 * MIB, again.size_bytes)

    def test_grows_the_image_and_the_row(self) -> None:
        self.assertEqual(5 * MIB, self.resize(5 * MIB).size_bytes)
        facts = self.ceph.find_image(self.clone.image)
        self.assertEqual(5 * MIB, facts.size_bytes)

    def test_repeated_changes_nothing(self) -> None:
        self.assertEqual(self.resize(5 * MIB), self.resize(5 * MIB))

    def test_shrinking_is_refused(self) -> None:
        self.assertRaises(errors.ShrinkRefused, self.resize, MIB)
        facts = self.ceph.find_image(self.clone.image)
        self.assertEqual(2 * MIB, facts.size_bytes)

    def test_full_pool_leaves_the_disk_as_it_was(self) -> None:
        self.ceph.fail('resize', errors.OutOfSpace(pool='vms'))
        self.assertRaises(errors.OutOfSpace, self.resize, 5 * MIB)
        row = self.engine.get_disk('vms', self.request.name)
        self.assertEqual((State.READY, 2 * MIB), (row.state, row.size_bytes))

    def test_unknown_disk_is_named(self) -> None:
        self.assertRaises(
            errors.DiskNotFound, self.engine.resize_disk, 'vms', 'no', MIB
        )


class LookTest(EngineTest):
    """A disk's row says READY, and its image may not be there."""

    def setUp(self) -> None:
        super().setUp()
        self.clone = self.engine.create_disk(self.request)

    def look(self):
        return self.engine.look_at_disk('vms', self.request.name)

    def assert_missing(self, found: str) -> None:
        error = self.assertRaises(errors.DiskImageMissing, self.look)
        self.assertIn(found, str(error))

    def test_disk_that_is_there_is_ready(self) -> None:
        self.assertEqual(self.clone, self.look())

    def test_image_that_others_removed_is_not_ready(self) -> None:
        self.ceph.remove_image(self.clone.image)
        self.assert_missing('was removed')

    def test_image_in_the_trash_is_not_ready(self) -> None:
        self.ceph.trash_image(self.clone.image)
        self.assert_missing('rbd trash restore')

    def test_image_that_others_renamed_is_not_ready(self) -> None:
        self.ceph.trash_image(self.clone.image)
        self.ceph.restore(dataclasses.replace(self.clone.image, name='x'))
        self.assert_missing('was renamed to x')

    def test_deleted_disk_is_not_found(self) -> None:
        self.engine.delete_disk('vms', self.request.name)
        self.assertRaises(errors.DiskNotFound, self.look)


class DeleteTest(EngineTest):
    def setUp(self) -> None:
        super().setUp()
        self.clone = self.engine.create_disk(self.request)

    def delete(self):
        return self.engine.delete_disk('vms', self.request.name)

    def test_retired_disk_that_others_restored_is_theirs(self) -> None:
        self.process.snapshots.create_snapshot(
            'vms', self.request.name, 'then'
        )
        gone = self.delete()
        self.ceph.restore(dataclasses.replace(gone.image, name='theirs'))
        there = self.ceph.inventory()
        self.process.sweep_until_quiet()
        row = self.process.lineage.find(
            gone.image.fsid, 'vms', '', self.request.name
        )
        self.assertEqual(
            (State.DELETED, 'restored by others as theirs'),
            (row.state, row.reason),
        )
        self.assertEqual(there, self.ceph.inventory())

    def test_nothing_is_left(self) -> None:
        self.assertIs(State.RETIRED, self.delete().state)
        self.assertEqual({}, self.ceph.named('vms'))
        self.process.sweep_until_quiet()
        self.assertEqual({}, self.ceph.trashed('vms'))

    def test_repeated_gives_the_same_answer(self) -> None:
        self.assertEqual(self.delete(), self.delete())

    def test_deleted_disk_is_not_found(self) -> None:
        self.delete()
        self.assertRaises(
            errors.DiskNotFound,
            self.engine.get_disk,
            'vms',
            self.request.name,
        )

    def test_disk_that_never_was_is_not_found(self) -> None:
        self.assertRaises(
            errors.DiskNotFound, self.engine.delete_disk, 'vms', 'never'
        )

    def test_image_that_is_not_ours_is_never_touched(self) -> None:
        self.ceph.add_image('vms', 'stranger', MIB)
        self.assertRaises(
            errors.DiskNotFound, self.engine.delete_disk, 'vms', 'stranger'
        )
        self.assertIn('stranger', self.ceph.named('vms'))

    def test_image_put_under_the_name_later_is_never_touched(self) -> None:
        self.ceph.remove_image(self.clone.image)
        stranger = self.ceph.add_image('vms', self.request.name, MIB)
        self.assertRaises(errors.RbdImageReplaced, self.delete)
        self.service.pass_time()
        self.process.recovery.sweep()
        self.assertEqual({stranger.name: stranger.id}, self.ceph.named('vms'))

    def test_open_disk_stays_and_is_removed_when_it_is_closed(self) -> None:
        with self.ceph.watch(self.clone.image):
            self.assertRaises(errors.DiskInUse, self.delete)
            self.process.recovery.sweep()
            self.assertIn(self.request.name, self.ceph.named('vms'))
        self.process.sweep_until_quiet()
        self.assertEqual({}, self.ceph.named('vms'))
        self.assertEqual([(self.request.name, 'deleted')], self.service.rows())

    def test_disk_with_others_snapshots_is_kept_in_the_trash(self) -> None:
        taken = self.ceph.add_snapshot(self.clone.image, 'backup')
        self.delete()
        self.process.reaper.sweep()
        self.assertEqual({}, self.ceph.named('vms'))
        self.assertIn(self.clone.image.id, self.ceph.trashed('vms'))
        row = self.process.lineage.find_by_image(self.clone.image)
        self.assertIn('backup', row.reason)
        self.ceph.drop_snapshot(taken)
        self.process.sweep_until_quiet()
        self.assertEqual({}, self.ceph.trashed('vms'))

    def test_instances_disks_are_deleted_by_their_suffix(self) -> None:
        swap = service.request(
            self.image_id,
            name=f'{self.request.instance_uuid}_disk.swap',
            instance_uuid=self.request.instance_uuid,
        )
        self.engine.create_disk(swap)
        other = self.engine.create_disk(service.request(self.image_id))
        of_instance = self.request.instance_uuid
        gone = self.engine.delete_disks(of_instance, '.swap')
        self.assertEqual([swap.name], [c.image.name for c in gone])
        self.assertIn(self.request.name, self.ceph.named('vms'))
        gone = self.engine.delete_disks(of_instance, '')
        self.assertEqual(gone, self.engine.delete_disks(of_instance, ''))
        self.assertThat(gone, matchers.HasLength(2))
        self.assertEqual([other.image.name], list(self.ceph.named('vms')))

    def test_who_does_not_wait_is_told_what_goes(self) -> None:
        of_instance = self.request.instance_uuid
        (going,) = self.engine.delete_disks(of_instance, '', 'c', wait=False)
        self.assertIs(State.DELETING, going.state)
        self.assertIsNone(going.lease_expires_at)
        self.assertIn(self.request.name, self.ceph.named('vms'))
        self.assertTrue(self.engine.remover.begun.is_set())
        again = self.engine.delete_disks(of_instance, '', 'c', wait=False)
        self.assertEqual([going], again)
        self.assertEqual(1, self.process.recovery.retire_begun())
        self.assertEqual({}, self.ceph.named('vms'))
        (gone,) = self.engine.delete_disks(of_instance, '', 'c', wait=False)
        self.assertIs(State.RETIRED, gone.state)
        self.assertEqual(0, self.process.recovery.retire_begun())

    def test_who_does_not_wait_waits_for_no_open_disk(self) -> None:
        with self.ceph.watch(self.clone.image):
            self.engine.delete_disks(
                self.request.instance_uuid, '', wait=False
            )
            self.assertEqual(0, self.process.recovery.retire_begun())
        self.process.sweep_until_quiet()
        self.assertEqual({}, self.ceph.named('vms'))

    def test_name_that_nobody_waits_for_is_free_for_the_next(self) -> None:
        self.engine.delete_disks(self.request.instance_uuid, '', wait=False)
        made = self.engine.create_disk(self.request)
        self.assertIs(State.READY, made.state)
        self.assertNotEqual(self.clone.uuid, made.uuid)
        self.assertEqual(0, self.process.recovery.retire_begun())
        self.assertIn(self.request.name, self.ceph.named('vms'))

    def test_all_are_tried_before_the_failure_is_told(self) -> None:
        other = service.request(
            self.image_id, instance_uuid=self.request.instance_uuid
        )
        self.engine.create_disk(other)
        with self.ceph.watch(self.clone.image):
            self.assertRaises(
                errors.DiskInUse,
                self.engine.delete_disks,
                self.request.instance_uuid,
                '',
            )
        self.assertEqual([self.request.name], list(self.ceph.named('vms')))


class ProtectionTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.service = self.useFixture(service.Service(CloneFormat.V1))
        self.process = self.service.process()
        self.engine = self.process.engine

    def protected(self, image_id: str) -> bool:
        facts = self.service.ceph.find_snapshot('images', '', image_id, 'snap')
        return facts.protected

    def test_unprotected_parent_is_protected_and_given_back(self) -> None:
        image_id = self.service.add_image(protected=False)
        requests = [service.request(image_id) for _ in range(2)]
        clones = [self.engine.create_disk(each) for each in requests]
        self.assertIs(Protector.SERVICE, clones[0].parent.protector)
        self.engine.delete_disk('vms', requests[0].name)
        self.process.sweep_until_quiet()
        self.assertTrue(self.protected(image_id))
        self.engine.delete_disk('vms', requests[1].name)
        self.process.sweep_until_quiet()
        self.assertFalse(self.protected(image_id))

    def test_parent_is_taken_again_after_it_was_given_back(self) -> None:
        image_id = self.service.add_image(protected=False)
        for _ in range(2):
            request = service.request(image_id)
            clone = self.engine.create_disk(request)
            self.assertIs(ParentState.ACTIVE, clone.parent.state)
            self.assertTrue(self.protected(image_id))
            self.engine.delete_disk('vms', request.name)
            self.process.sweep_until_quiet()
        self.assertFalse(self.protected(image_id))

    def test_what_others_protect_stays_protected(self) -> None:
        image_id = self.service.add_image(protected=True)
        request = service.request(image_id)
        clone = self.engine.create_disk(request)
        self.assertIs(Protector.OTHERS, clone.parent.protector)
        self.engine.delete_disk('vms', request.name)
        self.process.sweep_until_quiet()
        self.assertTrue(self.protected(image_id))

    def test_protection_taken_off_by_others_is_put_back(self) -> None:
        image_id = self.service.add_image(protected=True)
        self.engine.create_disk(service.request(image_id))
        other = self.service.add_image(protected=True)
        request = service.request(other)
        self.engine.create_disk(request)
        self.service.ceph.remove_image(self.service.child(request.name))
        self.service.ceph.unprotect(self.service.parent_of(other))
        clone = self.engine.create_disk(service.request(other))
        self.assertIs(State.READY, clone.state)
        self.assertTrue(self.protected(other))

    def test_child_that_others_made_keeps_the_protection(self) -> None:
        image_id = self.service.add_image(protected=False)
        request = service.request(image_id)
        self.engine.create_disk(request)
        self.service.ceph.clone(
            self.service.parent_of(image_id),
            self.service.child('stranger'),
            CloneFormat.V1,
            22,
        )
        self.engine.delete_disk('vms', request.name)
        self.assertTrue(self.protected(image_id))
        self.engine.create_disk(service.request(image_id))

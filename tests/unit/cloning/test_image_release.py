# SPDX-License-Identifier: Apache-2.0
"""What an administrator does with images in use, and how it ends."""

import dataclasses

import testtools
from testtools import matchers

from rbdcloner import errors
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import FlattenReason
from rbdcloner.states import FlattenState
from rbdcloner.states import State
from tests.unit.cloning import service
from tests.unit.cloning import tree

MIB = service.MIB


class ReleaseTest(testtools.TestCase):
    clone_format = CloneFormat.V2

    def setUp(self) -> None:
        super().setUp()
        self.service = self.useFixture(service.Service(self.clone_format))
        self.ceph = self.service.ceph
        self.process = self.service.process()
        self.release = tree.release(self.process)
        self.image_id = self.service.add_image(protected=False)
        self.disk = tree.launch(self.process, self.image_id)

    def row(self, clone: Clone) -> Clone:
        return tree.row(self.process, clone)


class RestoreTest(ReleaseTest):
    """Of a disk that has data of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.ceph.write(self.disk.image, 0, b'mine')
        self.retired = tree.delete(self.process, self.image_id)

    def assert_is_back(self) -> None:
        self.assertEqual(
            {self.disk.image.name: self.disk.image.id}, self.ceph.named('vms')
        )
        self.assertEqual(b'mine', self.ceph.read(self.disk.image, 0, 4))
        self.assertIs(State.READY, self.row(self.disk).state)

    def test_retired_disk_gets_its_name_and_data_back(self) -> None:
        restoring = self.release.restore(self.retired)
        self.assertIs(State.RESTORING, restoring.state)
        self.process.recovery.sweep()
        self.assert_is_back()

    def test_creating_it_meanwhile_answers_with_its_data(self) -> None:
        self.release.restore(self.retired)
        created = tree.launch(self.process, self.image_id)
        self.assertEqual(self.disk.uuid, created.uuid)
        self.assert_is_back()

    def test_deletion_that_was_waited_for_does_not_go_on(self) -> None:
        self.release.restore(self.retired)
        self.process.recovery.sweep()
        going = dataclasses.replace(self.retired, state=State.DELETING)
        self.process.engine.see_out(going)
        self.assert_is_back()

    def test_it_can_be_deleted_meanwhile(self) -> None:
        self.release.restore(self.retired)
        self.assertIs(
            State.RETIRED, tree.delete(self.process, self.image_id).state
        )
        tree.settle(self.process)
        self.assertEqual([], self.disks())

    def test_it_can_be_deleted_again_under_a_name_used_since(self) -> None:
        tree.launch(self.process, self.image_id)
        tree.delete(self.process, self.image_id)
        self.release.restore(self.retired)
        self.process.recovery.sweep()
        self.assert_is_back()
        self.process.engine.delete_disks(self.image_id, '')
        self.assertEqual({}, self.ceph.named('vms'))

    def test_name_of_a_living_disk_is_refused(self) -> None:
        other = tree.launch(self.process, self.image_id)
        self.assertRaises(
            errors.DiskExists, self.release.restore, self.retired
        )
        self.assertIs(State.RETIRED, self.row(self.disk).state)
        self.assertIs(State.READY, self.row(other).state)

    def test_name_that_others_took_leaves_it_retired(self) -> None:
        self.ceph.add_image('vms', self.disk.image.name, MIB)
        self.release.restore(self.retired)
        self.process.recovery.sweep()
        row = self.row(self.disk)
        self.assertIs(State.RETIRED, row.state)
        self.assertIn('RbdImageExists', row.reason)
        self.assertIn(self.disk.image.id, self.ceph.trashed('vms'))

    def test_what_is_not_in_the_trash_is_refused(self) -> None:
        other = tree.launch(self.process, self.image_id)
        self.assertRaises(errors.NotRetired, self.release.restore, other)

    def test_what_is_being_destroyed_is_refused(self) -> None:
        self.process.lineage.hold(self.retired, 'a reaper', 5)
        self.assertRaises(errors.DiskBusy, self.release.restore, self.retired)

    def disks(self) -> list[str]:
        return [*self.ceph.named('vms'), *self.ceph.trashed('vms')]


class RestoreImageTest(ReleaseTest):
    """Of a Glance image that the service made."""

    def setUp(self) -> None:
        super().setUp()
        self.location = tree.snapshot(self.process, self.image_id)
        self.made = tree.next_id(self.image_id)
        tree.register(self.service, self.made, self.location)
        tree.launch(self.process, self.made)
        (self.retired,) = self.release.retire(self.made)
        self.process.recovery.sweep()
        self.release.restore(self.row(self.retired))

    def test_snapshot_disk_meanwhile_answers_when_it_is_back(self) -> None:
        answer = tree.snapshot(self.process, self.image_id)
        self.assertEqual(self.location, answer)
        self.assertIn(self.made, self.ceph.named('images'))

    def test_it_can_be_retired_again_meanwhile(self) -> None:
        (again,) = self.release.retire(self.made)
        self.assertIs(State.DELETING, again.state)
        self.process.recovery.sweep()
        self.assertIs(State.RETIRED, self.row(again).state)
        self.assertNotIn(self.made, self.ceph.named('images'))


class RetireTest(ReleaseTest):
    clone_format = CloneFormat.V1

    def test_name_is_free_and_children_read_on(self) -> None:
        (image,) = self.release.retire(self.image_id)
        self.process.recovery.sweep()
        self.assertIs(State.RETIRED, self.row(image).state)
        self.assertEqual({}, self.ceph.named('images'))
        self.assertEqual(b'golden', self.ceph.read(self.disk.image, 0, 6))

    def test_repeated_it_is_the_same_row(self) -> None:
        (first,) = self.release.retire(self.image_id)
        (again,) = self.release.retire(self.image_id)
        self.assertEqual(first.id, again.id)
        self.process.recovery.sweep()
        self.assertEqual([], self.release.retire(self.image_id))

    def test_it_goes_with_its_last_child_once_glance_forgot_it(self) -> None:
        (image,) = self.release.retire(self.image_id)
        self.process.recovery.sweep()
        tree.delete(self.process, self.image_id)
        self.process.reaper.sweep()
        row = self.row(image)
        self.assertIs(State.RETIRED, row.state)
        self.assertIn('ImageInGlance', row.reason)
        tree.forget(self.service, self.image_id)
        tree.make_due(self.process)
        tree.settle(self.process)
        self.assertEqual([], self.ceph.inventory())

    def test_image_without_children_is_left_to_glance(self) -> None:
        tree.delete(self.process, self.image_id)
        tree.settle(self.process)
        self.assertEqual([], self.release.retire(self.image_id))

    def test_restored_it_can_be_cloned_again(self) -> None:
        (image,) = self.release.retire(self.image_id)
        self.process.recovery.sweep()
        self.release.restore(self.row(image))
        self.process.recovery.sweep()
        clone = self.process.engine.create_disk(service.request(self.image_id))
        self.assertIs(State.READY, clone.state)


class FlattenTest(ReleaseTest):
    def test_every_child_is_wanted(self) -> None:
        other = self.process.engine.create_disk(service.request(self.image_id))
        wanted = self.release.flatten(self.image_id)
        self.assertEqual(
            {self.disk.id, other.id}, {each.clone.id for each in wanted}
        )
        self.assertEqual(
            {FlattenReason.RELEASE}, {each.why for each in wanted}
        )

    def test_repeated_it_is_the_same_row_and_may_become_forced(self) -> None:
        (first,) = self.release.flatten(self.image_id)
        (again,) = self.release.flatten(self.image_id, forced=True)
        self.assertEqual((first.id, True), (again.id, again.forced))
        self.assertIs(FlattenState.WANTED, again.state)

    def test_image_can_be_deleted_when_they_are_done(self) -> None:
        self.release.flatten(self.image_id)
        tree.settle(self.process)
        self.assertThat(
            list(self.release.users(self.image_id)), matchers.HasLength(0)
        )
        tree.glance_deletes(self.service, self.image_id)
        self.assertEqual(
            [f'vms/{self.disk.image.name}'], self.ceph.inventory()
        )
        self.assertEqual(b'golden', self.ceph.read(self.disk.image, 0, 6))

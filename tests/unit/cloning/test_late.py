# SPDX-License-Identifier: Apache-2.0
"""What is executed after its caller gave up, or for the second time."""

from collections.abc import Callable
import dataclasses
from unittest import mock
import uuid

import testtools

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.model import CloneFormat
from rbdcloner.model import DiskRequest
from tests.unit.cloning import service


class LateV1Test(testtools.TestCase):
    clone_format = CloneFormat.V1

    def setUp(self) -> None:
        super().setUp()
        self.service = self.useFixture(service.Service(self.clone_format))
        self.ceph = self.service.ceph
        self.process = self.service.process()
        self.engine = self.process.engine
        self.snapshots = self.process.snapshots
        image_id = self.service.add_image()
        self.before = self.ceph.inventory()
        self.request = service.request(image_id, after=0)

    def delete(self, call: str = '') -> None:
        self.engine.delete_disk('vms', self.request.name, call)

    def delete_nothing(self) -> None:
        with testtools.ExpectedException(errors.DiskNotFound):
            self.delete()

    def delete_instance(self, call: str = '') -> None:
        self.engine.delete_disks(self.request.instance_uuid, '', call)

    def create(self, request: DiskRequest | None = None) -> DiskRequest:
        """Create the disk as a client does; the request that was granted."""
        request = request or self.request
        try:
            self.engine.create_disk(request)
        except errors.CreationOutdated as exc:
            request = dataclasses.replace(request, after=exc.kwargs['later'])
            self.engine.create_disk(request)
        return request

    def refused(self, act: Callable[..., object], *given: object) -> None:
        with testtools.ExpectedException(errors.CreationOutdated):
            act(*given)

    def test_a_disk_that_is_ready_before_a_deletions_commit_goes(self) -> None:
        """It was not yet there when the deletion looked."""
        other = self.service.process()
        begin = type(self.process.lineage).begin_deletions

        def begin_late(*given: object) -> object:
            answer = begin(*given)
            # SQLite has one writer: until the COMMIT nobody else writes. So
            # it comes after it, and is one that no deletion refuses.
            late = dataclasses.replace(self.request, after=None)
            other.engine.create_disk(late)
            return answer

        self.create()
        self.engine.delete_disk('vms', self.request.name)
        with mock.patch.object(
            type(self.process.lineage),
            'begin_deletions',
            begin_late,
        ):
            self.engine.delete_disks(
                self.request.instance_uuid, '', 'a-call', wait=False
            )
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        self.process.sweep_until_quiet()
        self.assertEqual(self.before, self.ceph.inventory())
        self.assertEqual(
            [], [row for row in self.service.rows() if row[1] in states.LIVE]
        )

    def test_creation_after_a_deletion_that_found_nothing(self) -> None:
        self.delete_nothing()
        self.refused(self.engine.create_disk, self.request)
        self.assertEqual(self.before, self.ceph.inventory())
        self.assertEqual([], self.service.rows())

    def test_creation_after_the_instances_deletion(self) -> None:
        self.delete_instance()
        self.refused(self.engine.create_disk, self.request)
        self.assertEqual([], self.service.rows())

    def test_creation_executed_again_after_the_deletion(self) -> None:
        self.create()
        self.delete()
        self.refused(self.engine.create_disk, self.request)
        self.assert_nothing_left()

    def test_recreation_executed_again_after_the_second_deletion(self) -> None:
        self.create()
        self.delete()
        granted = self.create()
        self.delete()
        self.refused(self.engine.create_disk, granted)
        self.assert_nothing_left()

    def test_who_still_waits_gets_his_disk(self) -> None:
        self.delete_nothing()
        self.create()
        self.assertEqual([self.request.name], list(self.ceph.named('vms')))

    def test_deletion_executed_again_spares_the_new_disk(self) -> None:
        self.create()
        self.delete('once')
        self.create()
        self.delete('once')
        self.engine.get_disk('vms', self.request.name)
        self.delete('another')
        self.assert_nothing_left()

    def test_instances_deletion_executed_again_spares_its_new_disks(
        self,
    ) -> None:
        self.create()
        self.delete_instance('once')
        self.create()
        self.delete_instance('once')
        self.engine.get_disk('vms', self.request.name)
        self.delete_instance('another')
        self.assert_nothing_left()

    def test_deletion_that_came_with_the_creation(self) -> None:
        def delete(act: str, when: str) -> None:
            if (act, when) == ('clone', 'before'):
                # As it looks when it was first: the row was not there yet.
                self.process.lineage.note_deletion(
                    '', self.service.child(self.request.name)
                )

        self.ceph.on_act = delete
        self.refused(self.engine.create_disk, self.request)
        self.assertEqual([(self.request.name, 'failed')], self.service.rows())
        self.assert_nothing_left()

    def test_image_of_a_snapshot_that_was_discarded_before(self) -> None:
        self.create()
        image_id = str(uuid.uuid4())
        given = ('vms', self.request.name, image_id, 'images', 0)
        location = f'rbd://{self.ceph.fsid}/images/{image_id}/snap'
        self.snapshots.discard_snapshot(location)
        self.refused(self.snapshots.snapshot_disk, *given)
        known = (*given[:-1], 2**62)
        self.snapshots.snapshot_disk(*known)
        self.snapshots.discard_snapshot(location)
        self.refused(self.snapshots.snapshot_disk, *given)
        self.delete()
        self.assert_nothing_left()

    def test_callers_of_the_release_before_are_not_refused(self) -> None:
        self.create()
        self.delete()
        self.engine.create_disk(dataclasses.replace(self.request, after=None))
        self.assertIn(self.request.name, self.ceph.named('vms'))


class LateV2Test(LateV1Test):
    clone_format = CloneFormat.V2

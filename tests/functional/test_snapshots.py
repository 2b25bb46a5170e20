# SPDX-License-Identifier: Apache-2.0
"""Snapshots of disks, into Glance and for Nova's own use, through RabbitMQ."""

from concurrent import futures
import os
import pathlib
import uuid

import pytest
import rbd
from testtools import matchers

from rbdcloner import errors
from rbdcloner import rpcapi
from rbdcloner.model import CloneFormat
from tests.functional import cloud
from tests.functional.service import GOLDEN
from tests.functional.service import MIB
from tests.stack import reading

RESIZE = 'nova-resize'
INSTALLATION = (
    pathlib.Path(__file__).parents[2] / 'doc/source/install/manager.rst'
)


@pytest.mark.smoke
class SnapshotsTest(cloud.CloudTest):
    """Clone format 2 on SQLite; below, format 1 on MariaDB."""

    def location(self, image_id: str) -> str:
        return f'rbd://{self.servers.ceph.fsid}/images/{image_id}/snap'

    def take(self, disk: rpcapi.Disk, image_id: str) -> str:
        return self.api.snapshot_disk(
            self.ctxt, disk['name'], 'vms', image_id, 'images'
        )

    def test_snapshot_of_a_running_disk_has_the_data_of_a_moment(self) -> None:
        disk = self.boot()
        with self.guest(disk) as guest:
            before = guest.written()
            image_id = self.snapshot(disk)
            after = guest.written()
            booted = self.boot(image_id)
            first, second = self.numbers(booted)
            self.assertGreater(guest.written(), after)
        self.assertTrue(before <= first <= after + 1)
        self.assertIn(second, (first, first - 1))
        self.assertEqual(GOLDEN, self.read(booted, 0, len(GOLDEN)))

    def test_snapshot_of_a_running_disk_copies_nothing(self) -> None:
        disk = self.boot()
        self.write(disk, 0, os.urandom(8 * MIB))
        with self.guest(disk):
            before = self.data_objects()
            image_id = self.snapshot(disk)
            self.boot(image_id)
            self.assertEqual(before, self.data_objects())

    def test_snapshot_lies_where_glance_looks_for_it(self) -> None:
        disk, image_id = self.boot(), self.queued()
        location = self.take(disk, image_id)
        self.assertEqual(self.location(image_id), location)
        with (
            self.pool('images') as ioctx,
            reading.opened(ioctx, image_id, snapshot='snap') as image,
        ):
            self.assertTrue(image.is_protected_snap('snap'))
            self.assertEqual(disk['size_bytes'], image.size())
        page = self.api.list_disks(self.ctxt, state='ready')
        self.assertEqual([disk], page['disks'])
        self.api.discard_snapshot(self.ctxt, location)

    def test_snapshot_repeated_is_the_same_one(self) -> None:
        disk, image_id = self.boot(), self.queued()
        with futures.ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(self.take, disk, image_id) for _ in range(4)]
        self.assertEqual(
            {self.location(image_id)}, {call.result() for call in calls}
        )
        with self.pool() as ioctx, rbd.Image(ioctx, disk['name']) as image:
            self.assertThat(list(image.list_snaps()), matchers.HasLength(1))
        self.api.discard_snapshot(self.ctxt, self.location(image_id))

    def test_image_of_a_snapshot_goes_with_its_last_disk(self) -> None:
        disk = self.boot()
        self.write(disk, 0, b'changed')
        image_id = self.snapshot(disk)
        booted = self.boot(image_id)
        self.delete(disk)
        self.delete(booted)
        self.images.remove(image_id)
        self.assert_becomes(True, lambda: self._gone(image_id))
        self.assert_becomes(self.before, self.in_ceph)

    def test_discard_undoes_and_can_be_repeated(self) -> None:
        disk, image_id = self.boot(), self.queued()
        alone = self.in_ceph()
        location = self.take(disk, image_id)
        for _ in range(2):
            self.api.discard_snapshot(self.ctxt, location)
        self.assert_becomes(alone, self.in_ceph)

        def snapshots() -> list[object]:
            with self.pool() as ioctx, rbd.Image(ioctx, disk['name']) as one:
                return list(one.list_snaps())

        self.assert_becomes([], snapshots)
        self.assertEqual(location, self.take(disk, image_id))
        self.api.discard_snapshot(self.ctxt, location)

    def test_discard_of_what_disks_were_made_of_leaves_them(self) -> None:
        disk = self.boot()
        self.write(disk, 0, b'changed')
        image_id = self.snapshot(disk)
        booted = self.boot(image_id)
        self.api.discard_snapshot(self.ctxt, self.location(image_id))
        self.assertNotIn(image_id, self.names('images'))
        self.assertEqual(b'changed', self.read(booted, 0, 7))

    def test_discard_of_nothing_does_nothing(self) -> None:
        unknown = self.location(str(uuid.uuid4()))
        self.api.discard_snapshot(self.ctxt, unknown)

    def test_resize_is_reverted_by_a_rollback(self) -> None:
        disk = self.boot()
        at = {'name': disk['name'], 'pool': 'vms'}
        taken = self.api.create_snapshot(self.ctxt, snapshot=RESIZE, **at)
        self.assertEqual(8 * MIB, taken['size_bytes'])
        self.assertRaises(
            errors.DiskSnapshotExists,
            self.api.create_snapshot,
            self.ctxt,
            snapshot=RESIZE,
            **at,
        )
        self.api.resize_disk(self.ctxt, size_bytes=16 * MIB, **at)
        self.write(disk, 0, b'after the resize')
        for _ in range(2):
            back = self.api.rollback_disk(self.ctxt, snapshot=RESIZE, **at)
            self.assertEqual('ready', back['state'])
            self.assertEqual(8 * MIB, back['size_bytes'])
        self.assertEqual(GOLDEN, self.read(disk, 0, len(GOLDEN)))
        with self.pool() as ioctx, rbd.Image(ioctx, disk['name']) as image:
            self.assertEqual(8 * MIB, image.size())
        for _ in range(2):
            self.api.remove_snapshot(self.ctxt, snapshot=RESIZE, **at)
        with self.pool() as ioctx, rbd.Image(ioctx, disk['name']) as image:
            self.assertEqual([], list(image.list_snaps()))

    def test_disk_with_a_snapshot_of_nova_is_deleted(self) -> None:
        disk = self.boot()
        self.api.create_snapshot(self.ctxt, disk['name'], 'vms', RESIZE)
        self.delete(disk)
        self.assert_becomes('deleted', self.state_of(disk))
        self.assertEqual(self.before, self.in_ceph())

    def test_snapshot_under_a_guest_is_taken_and_not_gone_back_to(
        self,
    ) -> None:
        disk = self.boot()
        at = (disk['name'], 'vms', RESIZE)
        with self.guest(disk) as guest:
            self.api.create_snapshot(self.ctxt, *at)
            self.assertRaises(
                errors.DiskInUse, self.api.rollback_disk, self.ctxt, *at
            )
            guest.written()
            self.api.remove_snapshot(self.ctxt, *at)
        self.assertEqual('ready', self.state_of(disk)())

    def test_key_is_the_one_of_the_documented_installation(self) -> None:
        documented = INSTALLATION.read_text()
        for variable, pool in (('DISK_POOL', 'vms'), ('IMAGE_POOL', 'images')):
            self.assertIn(f'{variable}={pool}\n', documented)
            documented = documented.replace(f'${variable}', pool)
        self.assertIn(f'osd "{cloud.CAPS}"', documented)
        self.assertIn('user = least', self.manager.conf.read_text())


class SnapshotsFormat1OnMariaDBTest(SnapshotsTest):
    clone_format = CloneFormat.V1
    database = 'mariadb'

# SPDX-License-Identifier: Apache-2.0
"""Root disks: cloned, or made of a copy."""

from concurrent import futures
import uuid

from nova import exception
from nova import utils

from tests.functional.service import GOLDEN
from tests.functional.service import MIB
from tests.nova import compute


class RootDiskTest(compute.ComputeTest):
    def test_raw_image_becomes_a_child_on_record(self) -> None:
        self.boot(self.disk())
        row = self.row()
        self.assertEqual('ready', row['state'])
        self.assertEqual(8 * MIB, row['size_bytes'])
        self.assertEqual(self.image_id, row['parent']['image'])
        self.assertEqual(self.image_id, row['glance_image_id'])
        self.assertEqual(self.instance.uuid, row['instance_uuid'])
        self.assertEqual(GOLDEN, self.read(row, 0, len(GOLDEN)))

    def test_clone_has_the_size_of_its_image_without_another(self) -> None:
        self.boot(self.disk('disk.rescue'), size=None)
        row = self.row('disk.rescue')
        self.assertEqual(len(GOLDEN), row['size_bytes'])

    def test_qcow2_image_becomes_a_disk_on_record(self) -> None:
        data = GOLDEN[: 2 * MIB] + bytes(MIB) + GOLDEN[:MIB]
        image_id = self.upload(data, 'qcow2')
        self.boot(self.disk(), image_id)
        row = self.row()
        self.assertEqual('ready', row['state'])
        self.assertEqual(8 * MIB, row['size_bytes'])
        self.assertIsNone(row['parent'])
        self.assertEqual(data, self.read(row, 0, len(data)))

    def test_image_larger_than_the_disk_is_refused(self) -> None:
        for image_id in (self.image_id, self.upload(GOLDEN, 'qcow2')):
            self.assertRaises(
                exception.FlavorDiskSmallerThanImage,
                *(self.boot, self.disk(), image_id, MIB),
            )
        self.assertEqual([], self.rows("state = 'ready'"))

    def test_clone_does_not_wait_for_the_lock_of_its_image(self) -> None:
        disk = self.disk()

        @utils.synchronized(
            f'cached-{self.image_id}', external=True, lock_path=disk.lock_path
        )
        def boot_meanwhile() -> None:
            with futures.ThreadPoolExecutor(8) as pool:
                booted = [
                    pool.submit(self.boot, self.disk(instance=one))
                    for one in servers
                ]
                futures.wait(booted, 60)
                for each in booted:
                    each.result()

        servers = [compute.Instance() for _ in range(8)]
        boot_meanwhile()
        for one in servers:
            self.assertTrue(self.disk(instance=one).exists())

    def test_image_that_is_gone_is_not_found(self) -> None:
        image_id = str(uuid.uuid4())
        self.assertRaises(
            exception.ImageNotFound, self.boot, self.disk(), image_id
        )

    def test_image_is_not_downloaded_where_that_is_forbidden(self) -> None:
        self.override('never_download_image_if_on_rbd', True, 'workarounds')
        image_id = self.upload(GOLDEN[:MIB], 'qcow2')
        self.assertRaises(
            exception.ImageUnacceptable, self.boot, self.disk(), image_id
        )

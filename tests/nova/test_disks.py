# SPDX-License-Identifier: Apache-2.0
"""Root disks: cloned, or made of a copy."""

from nova import exception

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

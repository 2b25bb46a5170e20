# SPDX-License-Identifier: Apache-2.0
"""What becomes of a server's disks in the course of its life."""

from tests.endtoend.cloud import DATA
from tests.endtoend.cloud import IMAGE
from tests.endtoend.cloud import MIB
from tests.endtoend.cloud import CloudTest

GIB = 1024 * MIB


class LifeTest(CloudTest):
    def setUp(self) -> None:
        super().setUp()
        self.image_id = self.client.upload(IMAGE)
        self.server_id = self.client.boot(self.image_id)

    def size_bytes(self) -> int:
        """Return what the record says of the root disk."""
        return int(self.row(self.server_id)['size_bytes'])

    def test_rescue_disk_is_on_record_until_unrescued(self) -> None:
        mark = self.mark(self.server_id)
        self.client.rescue(self.server_id)
        self.assertEqual({'disk', 'disk.rescue'}, self.disks(self.server_id))
        rescue = self.row(self.server_id, 'disk.rescue')
        self.assertEqual(self.image_id, rescue['parent']['image'])
        self.client.unrescue(self.server_id)
        self.assert_left(self.server_id, 'disk')
        self.assertEqual(mark, self.marked(self.server_id))

    def test_reverted_resize_gives_back_size_and_data(self) -> None:
        mark = self.mark(self.server_id)
        self.client.resize(self.server_id, self.client.flavor(disk_gb=2))
        self.assertEqual(2 * GIB, self.size_bytes())
        self.mark(self.server_id)
        self.client.revert_resize(self.server_id)
        self.assertEqual(GIB, self.size_bytes())
        self.assertEqual(mark, self.marked(self.server_id))
        self.assertEqual(set(), self.snapshots(self.server_id))

    def test_confirmed_resize_keeps_size_and_data(self) -> None:
        self.client.resize(self.server_id, self.client.flavor(disk_gb=2))
        mark = self.mark(self.server_id)
        self.client.confirm_resize(self.server_id)
        self.assertEqual(2 * GIB, self.size_bytes())
        self.assertEqual(mark, self.marked(self.server_id))
        self.assertEqual(set(), self.snapshots(self.server_id))

    def test_shelved_server_comes_back_with_its_data(self) -> None:
        mark = self.mark(self.server_id)
        before = self.data_objects()
        self.client.shelve(self.server_id)
        self.client.offload(self.server_id)
        self.assert_left(self.server_id)
        self.client.unshelve(self.server_id)
        self.assertEqual({'disk'}, self.disks(self.server_id))
        self.assertEqual(mark, self.marked(self.server_id))
        self.assertEqual(before, self.data_objects())

    def test_rebuilt_server_has_the_data_of_its_image(self) -> None:
        self.mark(self.server_id)
        uuid = self.row(self.server_id)['uuid']
        other = self.client.upload(IMAGE)
        self.client.rebuild(self.server_id, other)
        row = self.row(self.server_id)
        self.assertNotEqual(uuid, row['uuid'])
        self.assertEqual(other, row['parent']['image'])
        self.assertEqual(bytes(512), self.marked(self.server_id))
        self.assertEqual(DATA, self.root(self.server_id, 0, len(DATA)))

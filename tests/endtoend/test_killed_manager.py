# SPDX-License-Identifier: Apache-2.0
"""The only manager is killed in the middle of something, and comes again."""

from tests.endtoend.cloud import DATA
from tests.endtoend.cloud import IMAGE
from tests.endtoend.cloud import CloudTest
from tests.stack import process

_PATIENCE_S = 120


class KilledManagerTest(CloudTest):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.manager.start)
        self.image_id = self.client.upload(IMAGE)

    def test_boot_goes_on_with_the_next_manager(self) -> None:
        server_id = self.client.boot(self.image_id, wait=False)
        self.assertEqual(
            {'reserved'}, self.kill_manager_when("state = 'reserved'")
        )
        self.manager.start()
        self.client.wait(server_id, 'ACTIVE')
        self.assertEqual({'disk'}, self.disks(server_id))
        self.assertEqual(DATA, self.root(server_id, 0, len(DATA)))

    def test_snapshot_goes_on_with_the_next_manager(self) -> None:
        server_id = self.client.boot(self.image_id)
        mark = self.mark(server_id)
        answer = self.client.api.post(
            f'/servers/{server_id}/action',
            json={'createImage': {'name': 'snapshot'}},
        )
        snapshot = answer.json()['image_id']
        self.assertEqual(
            {'reserved'}, self.kill_manager_when("state = 'reserved'")
        )
        self.manager.start()
        process.wait_until(
            lambda: self.client.image(snapshot).status == 'active',
            'an active image',
            _PATIENCE_S,
        )
        self.client.delete(server_id)
        self.assertEqual(mark, self.marked(self.client.boot(snapshot)))

    def test_deletion_goes_on_with_the_next_manager(self) -> None:
        server_id = self.client.boot(self.image_id)
        self.client.delete(server_id, wait=False)
        left = self.kill_manager_when("state IN ('deleting', 'retired')")
        self.assertNotEqual(set(), left)
        self.manager.start()
        process.wait_until(
            lambda: server_id not in self.client.servers(),
            'the end of the server',
            _PATIENCE_S,
        )
        self.assert_left(server_id)

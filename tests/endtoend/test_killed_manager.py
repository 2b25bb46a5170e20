# SPDX-License-Identifier: Apache-2.0
"""The only manager is killed in the middle of something, and comes again."""

import rbd

from tests.endtoend.cloud import DATA
from tests.endtoend.cloud import IMAGE
from tests.endtoend.cloud import LARGE
from tests.endtoend.cloud import CloudTest
from tests.endtoend.cloud import as_qcow2
from tests.stack import process

_PATIENCE_S = 120


class KilledManagerTest(CloudTest):
    settings = {'import': 'never'}  # noqa: RUF012

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

    def test_import_goes_on_with_the_next_managers(self) -> None:
        image_id = self.client.upload(as_qcow2(LARGE), 'qcow2')
        server_id = self.client.boot(image_id, wait=False)
        self.assertEqual(
            {'importing'}, self.kill_manager_when("state = 'importing'")
        )
        # The next one does not finish what is open, but waits a while.
        with (
            self.pool() as ioctx,
            rbd.Image(ioctx, f'{server_id}_disk'),
        ):
            self.manager.start()
            finishing = "state = 'importing' AND lease_expires_at IS NOT NULL"
            self.assertEqual({'importing'}, self.kill_manager_when(finishing))
        self.manager.start()
        self.client.wait(server_id, 'ACTIVE')
        self.assertEqual({'disk'}, self.disks(server_id))
        self.assertTrue(self.root(server_id, 0, len(LARGE)) == LARGE)

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

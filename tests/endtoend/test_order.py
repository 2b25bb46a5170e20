# SPDX-License-Identifier: Apache-2.0
"""Images, servers and snapshots of them are deleted in any order."""

from tests.endtoend.cloud import DATA
from tests.endtoend.cloud import IMAGE
from tests.endtoend.cloud import CloudTest


class OrderTest(CloudTest):
    def test_ancestors_go_before_their_descendants(self) -> None:
        image_id = self.client.upload(IMAGE)
        first = self.client.boot(image_id)
        mark = self.mark(first)
        before = self.data_objects()
        snapshot = self.client.snapshot(first)
        self.assertEqual(before, self.data_objects())
        self.assertEqual('ACTIVE', self.client.server(first)['status'])
        second = self.client.boot(snapshot)
        self.assertEqual(snapshot, self.parent('vms', f'{second}_disk'))

        self.client.delete(first)
        self.client.delete_image(image_id)
        self.client.delete_image(snapshot)
        self.assertEqual('ready', self.row(second)['state'])
        self.assertEqual(mark, self.marked(second))
        self.assertEqual(DATA, self.root(second, 0, len(DATA)))
        # It runs from what nobody can name any more.
        self.client.stop(second)
        self.client.start(second)

        self.client.delete(second)

    def test_image_goes_while_other_servers_run_from_it(self) -> None:
        image_id = self.client.upload(IMAGE)
        first = self.client.boot(image_id)
        second = self.client.boot(image_id)
        self.client.delete_image(image_id)
        self.client.delete(first)
        self.assertEqual(DATA, self.root(second, 0, len(DATA)))

# SPDX-License-Identifier: Apache-2.0
"""No manager is there."""

from rbdcloner.cmd import compose
from tests import openstack
from tests.endtoend.cloud import DATA
from tests.endtoend.cloud import IMAGE
from tests.endtoend.cloud import LARGE
from tests.endtoend.cloud import CloudTest
from tests.endtoend.cloud import as_qcow2

#: A manager looks for what was noted every minute.
_ADOPTS_S = 150


class PreferTest(CloudTest):
    settings = {'mode': 'prefer', 'timeout': 10}  # noqa: RUF012

    def test_novas_own_disks_are_adopted_or_forgotten(self) -> None:
        image_id = self.client.upload(IMAGE)
        self.manager.stop()
        self.addCleanup(self.manager.start)
        kept = self.client.boot(image_id, config_drive=True)
        gone = self.client.boot(image_id)
        self.client.delete(gone)
        self.assertEqual(set(), self.disks(gone))
        self.assertEqual(
            {f'{kept}_disk', f'{kept}_disk.config', f'{gone}_disk'},
            self.unadopted(),
        )
        self.assertEqual([], self.rows())
        self.assertEqual(image_id, self.parent('vms', f'{kept}_disk'))

        self.manager.start()
        self.assert_becomes(set(), self.unadopted, _ADOPTS_S)
        self.assertEqual({'disk', 'disk.config'}, self.disks(kept))
        row = self.row(kept)
        self.assertEqual(image_id, row['parent']['image'])
        self.assertEqual(kept, row['instance_uuid'])
        self.client.delete(kept)
        self.assert_left(kept)


class RequireTest(CloudTest):
    settings = {'timeout': 15, 'import': 'never'}  # noqa: RUF012
    is_quiet = False

    def test_build_fails_and_leaves_nothing(self) -> None:
        image_id = self.client.upload(IMAGE)
        self.manager.stop()
        self.addCleanup(self.manager.start)
        server_id = self.client.boot(image_id, wait=False)
        failed = self.assertRaises(
            openstack.ServerFailed, self.client.wait, server_id, 'ACTIVE'
        )
        self.assertIn('Exceeded maximum number of retries', str(failed))
        self.assertEqual([], self.rows())
        self.manager.start()
        self.client.delete(server_id)

    def test_unfinished_disk_of_a_failed_build_goes(self) -> None:
        image_id = self.client.upload(as_qcow2(LARGE), 'qcow2')
        self.addCleanup(self.manager.start)
        server_id = self.client.boot(image_id, wait=False)
        importing = "state = 'importing'"
        self.assertEqual({'importing'}, self.kill_manager_when(importing))
        self.assertRaises(
            openstack.ServerFailed, self.client.wait, server_id, 'ACTIVE'
        )
        self.assertEqual(1, len(self.rows(importing)))
        self.manager.start()
        # It has no host any more that would delete the disk.
        self.client.delete(server_id)
        self.follow_notes()
        self.assert_left(server_id)

    def follow_notes(self) -> None:
        """Do at once what a manager does within a minute."""
        conf = self.manager.load_conf()
        driver, noted = compose.adopter(conf, compose.lineage(conf))
        self.addCleanup(driver.close)
        noted.look()

    def test_server_that_could_not_be_deleted_can_be_later(self) -> None:
        server_id = self.client.boot(self.client.upload(IMAGE))
        self.manager.stop()
        self.addCleanup(self.manager.start)
        self.assertRaises(
            openstack.ServerFailed, self.client.delete, server_id
        )
        self.manager.start()
        self.assertEqual({'disk'}, self.disks(server_id))
        self.assertEqual(DATA, self.root(server_id, 0, len(DATA)))
        self.client.delete(server_id)

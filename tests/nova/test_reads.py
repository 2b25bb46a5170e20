# SPDX-License-Identifier: Apache-2.0
"""What is read of Ceph: by one connection, without any other program."""

from typing import Any
import uuid

import fixtures
from nova.storage import rbd_utils as novas
from oslo_concurrency import processutils
import rbd

from rbdcloner.nova import rbd_utils
from tests.functional.service import MIB
from tests.nova import compute


class ReadTest(compute.ComputeTest):
    def setUp(self) -> None:
        super().setUp()
        self.ceph = rbd_utils.RBDDriver()

    def connections(self) -> list[str]:
        return self.servers.ceph.clients('client.nova')

    def test_answers_are_those_of_nova(self) -> None:
        own = novas.RBDDriver()
        # Its own runs the ceph command; the folder is not where that looks.
        self.assertEqual(own.get_mon_addrs(), self.ceph.get_mon_addrs())
        self.assertEqual(
            own.get_mon_addrs(strip_brackets=False),
            self.ceph.get_mon_addrs(strip_brackets=False),
        )
        self.assertEqual(
            set(own.get_pool_info()), set(self.ceph.get_pool_info())
        )
        total = own.get_pool_info()['total']
        self.assertEqual(total, self.ceph.get_pool_info()['total'])
        self.boot(self.disk())
        name = f'{self.instance.uuid}_disk'
        for asked in (own, self.ceph):
            self.assertTrue(asked.exists(name))
            self.assertTrue(asked.exists(self.image_id, 'images'))
            self.assertTrue(asked.exists(self.image_id, 'images', 'snap'))
            self.assertFalse(asked.exists(self.image_id, 'images', 'other'))
            self.assertFalse(asked.exists('other'))
            self.assertEqual(8 * MIB, asked.size(name))
            self.assertRaises(rbd.ImageNotFound, asked.size, 'other')

    def test_one_connection_and_no_program_serve_all(self) -> None:
        self.ceph.get_mon_addrs()
        (kept,) = self.connections()

        def refuse(*command: Any, **options: Any) -> None:
            raise AssertionError(command)

        # Any other program that Nova would run is a failure.
        self.useFixture(
            fixtures.MonkeyPatch(
                'oslo_concurrency.processutils.execute', refuse
            )
        )
        self.assertRaises(AssertionError, processutils.execute, 'true')
        disk = self.disk('disk')
        self.boot(disk)
        disk.get_model(None)
        disk.get_disk_size(None)
        rbd_utils.RBDDriver().get_pool_info()
        disk.create_snap('nova-resize')
        compute.delete_disks(self.instance)
        self.assertEqual([kept], self.connections())

    def test_connection_that_is_shut_out_is_replaced(self) -> None:
        self.assertFalse(self.ceph.exists('other'))
        (before,) = self.connections()
        self.servers.ceph.shut_out(before)
        name = str(uuid.uuid4())

        def answers() -> bool:
            self.assertFalse(self.ceph.exists(name))
            return before not in self.connections()

        self.assert_becomes(True, answers)

# SPDX-License-Identifier: Apache-2.0
"""Servers come with all of their disks on record, and go without a trace."""

import errno

import pytest
import rados
import rbd

from tests.endtoend.cloud import DATA
from tests.endtoend.cloud import IMAGE
from tests.endtoend.cloud import MIB
from tests.endtoend.cloud import CloudTest
from tests.endtoend.cloud import as_qcow2


class BootTest(CloudTest):
    settings = {'import': 'never'}  # noqa: RUF012

    def test_disk_of_a_raw_image_is_a_clone_on_record(self) -> None:
        image_id = self.client.upload(IMAGE)
        server_id = self.client.boot(image_id)
        row = self.row(server_id)
        self.assertEqual('ready', row['state'])
        self.assertEqual(image_id, row['parent']['image'])
        self.assertEqual(image_id, row['glance_image_id'])
        self.assertEqual(server_id, row['instance_uuid'])
        self.assertEqual(self.cloud.compute.host, row['host'])
        self.assertEqual(1024 * MIB, row['size_bytes'])
        self.assertEqual(image_id, self.parent('vms', f'{server_id}_disk'))
        self.assertEqual(DATA, self.root(server_id, 0, len(DATA)))

    def test_disk_of_a_qcow2_image_is_on_record(self) -> None:
        image_id = self.client.upload(as_qcow2(IMAGE), 'qcow2')
        told = self.api.is_cloneable(self.ctxt, image_id)
        self.assertEqual(
            (False, ['not-raw']),
            (told['cloneable'], [each['reason'] for each in told['refusals']]),
        )
        server_id = self.client.boot(image_id)
        row = self.row(server_id)
        self.assertEqual(
            ('ready', None, 1024 * MIB),
            (row['state'], row['parent'], row['size_bytes']),
        )
        self.assertEqual(DATA, self.root(server_id, 0, len(DATA)))

    def test_each_disk_of_a_server_is_on_record(self) -> None:
        server_id = self.client.boot(
            self.client.upload(IMAGE),
            self.client.flavor(ephemeral_gb=1, swap_mib=8),
            config_drive=True,
        )
        self.assertEqual(
            {'disk', 'disk.config', 'disk.eph0', 'disk.swap'},
            self.disks(server_id),
        )
        self.client.delete(server_id)
        self.assert_left(server_id)


class ImportTest(CloudTest):
    def test_servers_of_a_qcow2_image_are_clones_of_one_base(self) -> None:
        image_id = self.client.upload(as_qcow2(IMAGE), 'qcow2')
        first, second = (self.client.boot(image_id) for _ in range(2))
        rows = [self.row(each) for each in (first, second)]
        self.assertEqual(rows[0]['parent'], rows[1]['parent'])
        base = rows[0]['parent']['image']
        self.assertEqual(base, self.parent('vms', f'{first}_disk'))
        self.assertEqual(DATA, self.root(second, 0, len(DATA)))
        self.client.delete(first)
        self.client.delete_image(image_id)
        self.assertEqual(DATA, self.root(second, 0, len(DATA)))


class KeyTest(CloudTest):
    def test_nova_compute_may_not_write_where_images_are(self) -> None:
        image_id = self.client.upload(IMAGE)
        entity = 'client.nova-plugin'
        self.assertIn(
            'rbd_user = nova-plugin', self.cloud.compute.conf.read_text()
        )
        with (
            self.servers.ceph.connection(entity) as cluster,
            cluster.open_ioctx('images') as ioctx,
        ):
            with rbd.Image(ioctx, image_id, read_only=True) as image:
                self.assertEqual(DATA, image.read(0, len(DATA)))
            for act in (
                lambda: ioctx.write_full('anything', b'data'),
                lambda: rbd.RBD().create(ioctx, 'anything', MIB),
                lambda: rbd.Image(ioctx, image_id),
            ):
                with pytest.raises((rados.Error, rbd.Error)) as refused:
                    act()
                self.assertEqual(errno.EPERM, refused.value.errno)

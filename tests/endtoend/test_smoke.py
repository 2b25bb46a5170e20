# SPDX-License-Identifier: Apache-2.0
"""The OpenStack works as it comes: with Nova's own driver."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import subprocess
import tempfile
from typing import Any
import uuid

import rbd
import testtools

from tests import openstack
from tests.stack import manager
from tests.stack import reading

MIB = 2**20
DATA = os.urandom(4 * MIB)


class SmokeTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.cloud = openstack.shared()
        self.cloud.compute.use(plugin=False)
        self.client = self.cloud.client()
        self.image_id = self.client.upload(DATA)
        self.addCleanup(self.client.delete_image, self.image_id)

    @contextlib.contextmanager
    def disks(self) -> Iterator[Any]:
        """Yield the pool of the disks."""
        with (
            self.cloud.stack.ceph.connection() as connection,
            connection.open_ioctx('vms') as ioctx,
        ):
            yield ioctx

    def names(self) -> list[str]:
        with self.disks() as ioctx:
            return list(rbd.RBD().list(ioctx))

    def test_server_runs_from_a_clone_of_its_image(self) -> None:
        server_id = self.client.boot(self.image_id)
        self.addCleanup(self.client.delete, server_id)
        with (
            self.disks() as ioctx,
            reading.opened(ioctx, f'{server_id}_disk') as disk,
        ):
            self.assertEqual(
                ('images', self.image_id, 'snap'), disk.parent_info()
            )
            self.assertEqual(DATA[:MIB], disk.read(0, MIB))

    def test_nothing_is_left_of_a_deleted_server(self) -> None:
        server_id = self.client.boot(
            self.image_id,
            self.client.flavor(ephemeral_gb=1, swap_mib=8),
            config_drive=True,
        )
        self.assertEqual(
            {'', '.config', '.eph0', '.swap'},
            {name.removeprefix(f'{server_id}_disk') for name in self.names()},
        )
        self.client.delete(server_id)
        self.assertEqual([], self.names())

    def test_server_that_cannot_be_built_says_why(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = f'{folder}/large'
            subprocess.run(
                ['qemu-img', 'create', '-q', '-f', 'qcow2', path, '2G'],
                check=True,
            )
            large = self.client.upload(path, 'qcow2')
        self.addCleanup(self.client.delete_image, large)
        server_id = self.client.boot(large, wait=False)
        self.addCleanup(self.client.delete, server_id)
        failed = self.assertRaises(
            openstack.ServerFailed, self.client.wait, server_id, 'ACTIVE'
        )
        self.assertIn('FlavorDiskSmallerThanImage', str(failed))

    def test_guest_ends_with_its_libvirtd(self) -> None:
        server_id = self.client.boot(self.image_id)
        self.addCleanup(self.client.delete, server_id)
        libvirt = self.cloud.libvirt
        (guest,) = [
            one
            for one in libvirt.daemons[libvirt.name].process.children(
                recursive=True
            )
            if one.name().startswith('qemu-system')
        ]
        # Its mounts are nobody else's.
        self.assertNotIn(
            str(libvirt.folder), pathlib.Path('/proc/mounts').read_text()
        )
        libvirt.kill()
        self.addCleanup(libvirt.start)
        self.assertFalse(guest.is_running())


class ManagerTest(testtools.TestCase):
    def test_manager_clones_an_image_of_any_project(self) -> None:
        cloud = openstack.shared()
        client = cloud.client()
        image_id = client.upload(DATA, visibility='private')
        self.addCleanup(client.delete_image, image_id)
        running = self.useFixture(
            manager.Manager(
                cloud.stack,
                cloud.stack.databases['mariadb'].create(),
                name=f'manager-{uuid.uuid4().hex}',
                options=cloud.manager_options(),
            )
        )
        owner = client.image(image_id).owner
        instance = str(uuid.uuid4())
        api = running.client()
        name = f'{instance}_disk'
        disk = api.create_disk(
            manager.caller(),
            image_id=image_id,
            name=name,
            size_bytes=8 * MIB,
            pool='vms',
            instance_uuid=instance,
            project_id=owner,
            host='compute-1',
        )
        self.assertEqual('ready', disk['state'])
        api.delete_disk(manager.caller(), name, 'vms')

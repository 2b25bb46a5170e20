# SPDX-License-Identifier: Apache-2.0
"""An OpenStack whose compute host has the plug-in, and a manager."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import subprocess
import tempfile
import time
from typing import Any
from typing import ClassVar
import uuid

import rbd
import sqlalchemy as sa

from rbdcloner import rpcapi
from tests import openstack
from tests.functional import looking
from tests.openstack import compute
from tests.stack import manager
from tests.stack import reading

MIB = 2**20
#: Of an image: what it begins with.
DATA = os.urandom(MIB)
IMAGE = DATA + bytes(15 * MIB)
#: Of an image whose copy into a disk lasts long enough to be seen.
LARGE = os.urandom(16 * MIB)

#: The manager looks every second for what is to be done.
EAGER = {'DEFAULT': {'recovery_interval': 1, 'survey_interval': 1}}
_PATIENCE_S = 60
_UNADOPTED = 'rbdcloner.unadopted'
#: A line of a log, of that level: date, time, process, level.
_ERROR = re.compile(r'(\S+ ){3}(ERROR|CRITICAL) ')


class CloudTest(looking.LookingTest):
    """One manager for the tests of a class; each ends with an empty cloud.

    Its servers and its images are deleted; soon after that nothing is in the
    pools or in the trash but what was there before, and every row is final.
    """

    settings: ClassVar[dict[str, object]] = {}
    """The section [rbdcloner] of nova-compute's."""
    is_quiet: ClassVar[bool] = True
    """Whether nova-compute must log no error."""

    cloud: ClassVar[openstack.OpenStack]
    client: ClassVar[openstack.Client]
    manager: ClassVar[manager.Manager]
    api: ClassVar[rpcapi.API]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.cloud = openstack.shared()
        cls.client = cls.cloud.client()
        cls.servers = cls.cloud.stack
        cls.database_url = cls.servers.databases['mariadb'].create()
        cls.manager = manager.Manager(
            cls.servers,
            cls.database_url,
            name=f'manager-{uuid.uuid4().hex[:8]}',
            options=EAGER | cls.cloud.manager_options(),
        )
        cls.manager.setUp()
        cls.addClassCleanup(cls.manager.cleanUp)
        cls.api = cls.manager.client()
        cls.cloud.compute.use(**cls.driven())

    @classmethod
    def driven(cls) -> dict[str, Any]:
        """Return how nova-compute is to run."""
        return {'plugin': True, 'options': {'rbdcloner': cls.settings}}

    def setUp(self) -> None:
        super().setUp()
        self.ctxt = manager.caller()
        self.before = self.in_ceph()
        self._logs_begin = {
            one.log_file: one.log_file.stat().st_size
            for one in self.cloud.servers.values()
            if isinstance(one, compute.Compute)
        }
        self.addCleanup(self.assert_nothing_left)
        self.addCleanup(self.delete_everything)
        if self.is_quiet:
            self.addCleanup(self.assert_no_error_in_the_logs)

    def in_ceph(self) -> set[str]:
        with self.pool('images') as ioctx:
            images = set(rbd.RBD().list(ioctx))
        return super().in_ceph() | images | self.unadopted()

    def delete_everything(self) -> None:
        """Delete every server and every image, as their users do."""
        self.client.delete(*self.client.servers())
        for image in self.cloud.glance.client().images.list():
            self.client.delete_image(image.id)

    def assert_no_error_in_the_logs(self) -> None:
        """Assert that no nova-compute logged one since the test began."""
        for file, begin in self._logs_begin.items():
            with file.open(errors='replace') as log:
                log.seek(begin)
                said = [
                    line
                    for line in log
                    if (_ERROR.match(line) or 'Traceback' in line)
                    # Two of Nova's threads tell Placement of their host.
                    and 'placement.concurrent_update' not in line
                ]
            self.assertEqual([], said)

    # What there is

    def row(self, server_id: str, disk: str = 'disk') -> rpcapi.Disk:
        """Return what the manager knows of a server's disk."""
        return self.api.get_disk(self.ctxt, f'{server_id}_{disk}', 'vms')

    def disks(self, server_id: str) -> set[str]:
        """Return which of its disks are in Ceph, each one ready on record."""
        found = self._in_vms(server_id)
        states = {self.row(server_id, disk)['state'] for disk in found}
        self.assertLessEqual(states, {'ready'})
        return found

    def assert_left(self, server_id: str, *disks: str) -> None:
        """Assert that these of its disks are soon all that is in Ceph."""
        self.assert_becomes(set(disks), lambda: self._in_vms(server_id))

    def _in_vms(self, server_id: str) -> set[str]:
        with self.pool('vms') as ioctx:
            return {
                name.removeprefix(f'{server_id}_')
                for name in rbd.RBD().list(ioctx)
                if name.startswith(server_id)
            }

    def parent(self, pool: str, name: str) -> str:
        """Return the image that one descends from, by Ceph; '' if none."""
        with (
            self.pool(pool) as ioctx,
            reading.opened(ioctx, name) as image,
            contextlib.suppress(rbd.ImageNotFound),
        ):
            return str(image.parent_info()[1])
        return ''

    def snapshots(self, server_id: str) -> set[str]:
        """Return the snapshots of a server's root disk, by Ceph."""
        with (
            self.pool() as ioctx,
            reading.opened(ioctx, f'{server_id}_disk') as image,
        ):
            return {each['name'] for each in image.list_snaps()}

    def root(self, server_id: str, offset: int, length: int) -> bytes:
        """Read a server's root disk."""
        return self.read(
            {'pool': 'vms', 'name': f'{server_id}_disk'}, offset, length
        )

    def mark(self, server_id: str) -> bytes:
        """Return what was written into a server's root disk, at 2 MiB."""
        data = os.urandom(512)
        disk = {'pool': 'vms', 'name': f'{server_id}_disk'}
        self.write(disk, 2 * MIB, data)
        return data

    def marked(self, server_id: str) -> bytes:
        """Return what lies in a server's root disk at 2 MiB."""
        return self.root(server_id, 2 * MIB, 512)

    def data_objects(self) -> set[str]:
        """Return the names of all objects that hold data."""
        found = set()
        for pool in ('vms', 'images'):
            with self.pool(pool) as ioctx:
                found |= {
                    f'{pool}/{each.key}'
                    for each in ioctx.list_objects()
                    if each.key.startswith('rbd_data.')
                }
        return found

    def unadopted(self) -> set[str]:
        """Return the disks that nova-compute has noted as made alone."""
        import rados

        with self.pool('vms') as ioctx, rados.ReadOpCtx() as operation:
            pairs, _code = ioctx.get_omap_vals(operation, '', '', 100)
            try:
                ioctx.operate_read_op(operation, _UNADOPTED)
            except rados.ObjectNotFound:
                return set()
            return {name for name, _facts in pairs}

    # What goes wrong

    def kill_manager_when(self, where: str) -> set[str]:
        """Kill every process of the manager as soon as a row is so.

        Return the states of such rows, as they were left.
        """
        daemon = self.manager.daemons[self.manager.name]
        master = daemon.process
        assert master is not None
        processes = [master, *master.children(recursive=True)]
        self._await_row(where)
        for each in processes:
            each.suspend()
        left = {state for _name, state in self.rows(where)}
        daemon.kill()
        return left

    def _await_row(self, where: str) -> None:
        # What is waited for lasts for milliseconds.
        query = sa.text(f'SELECT 1 FROM clones WHERE {where}')  # noqa: S608
        deadline = time.monotonic() + _PATIENCE_S
        engine = sa.create_engine(
            self.database_url, isolation_level='AUTOCOMMIT'
        )
        with engine.connect() as connection:
            while not connection.execute(query).first():
                assert time.monotonic() < deadline, f'no row: {where}'
        engine.dispose()


def as_qcow2(data: bytes) -> bytes:
    """Return a disk in another format."""
    with tempfile.TemporaryDirectory() as folder:
        raw, qcow2 = pathlib.Path(folder, 'raw'), pathlib.Path(folder, 'qcow2')
        raw.write_bytes(data)
        subprocess.run(
            [
                *('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2'),
                *(raw, qcow2),
            ],
            check=True,
        )
        return qcow2.read_bytes()

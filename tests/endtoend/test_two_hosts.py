# SPDX-License-Identifier: Apache-2.0
"""A server goes to another host, and its disks stay where and what they are.

The hosts have one address, so Nova takes their folders for shared and does
not look by ssh; that the disks are shared it knows of the backend.
"""

from collections.abc import Iterator
import contextlib
from typing import ClassVar

from tests.endtoend.cloud import IMAGE
from tests.endtoend.cloud import MIB
from tests.endtoend.cloud import CloudTest
from tests.openstack import compute
from tests.stack import process

GIB = 1024 * MIB
SECOND = 'compute-2'
DISKS = {'disk', 'disk.config', 'disk.eph0', 'disk.swap'}


class TwoHostsTest(CloudTest):
    """The first host has native threads, the second one green ones."""

    first: ClassVar[compute.Compute]
    second: ClassVar[compute.Compute]
    server_id: str

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.first = cls.cloud.compute
        cls.addClassCleanup(cls.cloud.remove_host, SECOND)
        cls.second = cls.cloud.add_host(SECOND, **cls.driven(), eventlet=True)

    def boot(self, image_id: str, host: compute.Compute) -> None:
        """Make *the* server, with each kind of disk."""
        self.server_id = self.client.boot(
            image_id, self.flavor(), config_drive=True, host=host.host
        )

    def flavor(self, disk_gb: int = 1) -> str:
        return self.client.flavor(disk_gb, ephemeral_gb=1, swap_mib=8)

    def assert_is_on(self, host: compute.Compute, disk: object) -> None:
        """Assert that the server is there, and its root disk so."""
        self.assertEqual(host.host, self.client.host(self.server_id))
        self.assertEqual(DISKS, self.disks(self.server_id))
        self.assertEqual(disk, self.disk())

    def disk(self) -> tuple[str, int, bytes]:
        """Return which disk the root disk is, its size and its data."""
        row = self.row(self.server_id)
        return row['uuid'], row['size_bytes'], self.marked(self.server_id)

    def test_server_lives_and_goes_on_green_threads(self) -> None:
        self.assertIn(
            'oslo_service.backend._eventlet',
            self.second.log_file.read_text(errors='replace'),
        )
        self.boot(self.client.upload(IMAGE), self.second)
        mark = self.mark(self.server_id)
        snapshot = self.client.snapshot(self.server_id)
        self.client.delete(self.server_id)
        self.assert_left(self.server_id)
        self.boot(snapshot, self.second)
        self.assertEqual(DISKS, self.disks(self.server_id))
        self.assertEqual(mark, self.marked(self.server_id))

    def test_server_that_moves_keeps_its_disks(self) -> None:
        self.boot(self.client.upload(IMAGE), self.first)
        self.mark(self.server_id)
        before = self.disk()
        self.client.migrate(self.server_id, SECOND)
        self.client.confirm_resize(self.server_id)
        self.assert_is_on(self.second, before)
        self.assertEqual(set(), self.snapshots(self.server_id))

    def test_server_that_moves_back_has_size_and_data_of_before(self) -> None:
        self.boot(self.client.upload(IMAGE), self.first)
        mark = self.mark(self.server_id)
        before = self.disk()
        with self.first_host_closed():
            self.client.resize(self.server_id, self.flavor(disk_gb=2))
        self.assert_is_on(self.second, (before[0], 2 * GIB, mark))
        self.mark(self.server_id)
        self.client.revert_resize(self.server_id)
        self.assert_is_on(self.first, before)
        self.assertEqual(set(), self.snapshots(self.server_id))

    def test_host_that_comes_back_leaves_what_was_evacuated(self) -> None:
        self.boot(self.client.upload(IMAGE), self.first)
        self.mark(self.server_id)
        before = self.disk()
        with self.first_host_lost():
            self.client.evacuate(self.server_id, SECOND)
            self.assert_is_on(self.second, before)
            self.assertEqual(1, self.guests_of_first_host())
        self.assertEqual(0, self.guests_of_first_host())
        self.assert_is_on(self.second, before)
        other = self.client.upload(IMAGE)
        self.client.rebuild(self.server_id, other)
        self.assertEqual(DISKS, self.disks(self.server_id))
        self.assertEqual(other, self.row(self.server_id)['parent']['image'])

    @contextlib.contextmanager
    def first_host_closed(self) -> Iterator[None]:
        """Let the scheduler send nothing to the first host."""
        self.client.update_host(self.first.host, status='disabled')
        try:
            yield
        finally:
            self.client.update_host(self.first.host, status='enabled')

    @contextlib.contextmanager
    def first_host_lost(self) -> Iterator[None]:
        """Be without its nova-compute, which then comes and cleans up.

        Its guests run all the time.
        """
        self.first.kill()
        self.client.update_host(self.first.host, forced_down=True)
        try:
            yield
        finally:
            self.first.start()
            process.wait_until(
                lambda: not self.is_evacuated(), 'the end of the evacuation'
            )
            self.client.update_host(self.first.host, forced_down=False)

    def is_evacuated(self) -> bool:
        """Tell whether the server's host of before has not cleaned up yet."""
        return any(
            one['migration_type'] == 'evacuation'
            and one['status'] != 'completed'
            for one in self.client.migrations(self.server_id)
        )

    def guests_of_first_host(self) -> int:
        """Return how many guests run there."""
        libvirt = self.cloud.libvirt
        running = libvirt.daemons[libvirt.name].process
        assert running is not None
        names = [one.name() for one in running.children(recursive=True)]
        return sum(name.startswith('qemu-system') for name in names)

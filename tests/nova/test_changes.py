# SPDX-License-Identifier: Apache-2.0
"""What becomes of disks: resize, revert, rescue, deletion."""

from unittest import mock

from nova import exception
from nova.compute import task_states
from nova.virt.libvirt import driver as novas_driver
import rbd

from rbdcloner.nova import asking
from rbdcloner.nova import driver
from rbdcloner.nova import rbd_utils
from tests.functional.service import GOLDEN
from tests.functional.service import MIB
from tests.nova import compute

RESIZED = 'nova-resize'


class ChangeTest(compute.ComputeTest):
    def setUp(self) -> None:
        super().setUp()
        # Without its constructor, which connects to a hypervisor.
        self.driver = object.__new__(driver.LibvirtDriver)

    def names(self) -> list[str]:
        """Return what is in the pool of the instance."""
        with self.pool() as ioctx:
            return sorted(
                each.removeprefix(f'{self.instance.uuid}_')
                for each in rbd.RBD().list(ioctx)
                if each.startswith(self.instance.uuid)
            )

    def assert_left(self, *names: str) -> None:
        """Assert that these are soon all that is left."""
        self.assert_becomes(sorted(names), self.names)

    def novas(self, name: str) -> None:
        """Make an image as Nova's own code did before the plug-in came."""
        with self.pool() as ioctx:
            rbd.RBD().create(ioctx, f'{self.instance.uuid}_{name}', MIB)

    def test_reverted_resize_gives_size_and_data_back(self) -> None:
        disk = self.disk()
        self.boot(disk)
        disk.create_snap(RESIZED)
        disk.resize_image(16 * MIB)
        self.write(self.row(), 0, b'changed')
        self.assertEqual(16 * MIB, disk.get_disk_size(None))
        disk.rollback_to_snap(RESIZED)
        disk.remove_snap(RESIZED)
        disk.remove_snap(RESIZED)
        self.assertEqual(8 * MIB, self.row()['size_bytes'])
        self.assertEqual(GOLDEN[:7], self.read(self.row(), 0, 7))

    def test_server_does_not_start_from_a_disk_that_is_rolling_back(
        self,
    ) -> None:
        disk = self.disk()
        self.boot(disk)
        disk.disk_info_mapping = {
            'type': 'disk',
            'bus': 'virtio',
            'dev': 'vda',
        }
        # A manager cannot be stopped in a rollback from here.
        with mock.patch.object(
            asking.Disk, '_state', return_value='rolling-back'
        ):
            self.assertRaises(
                exception.NovaException, disk.libvirt_info, 'none', {}
            )
            self.assertTrue(disk.exists())
        info = disk.libvirt_info('none', {})
        self.assertEqual(f'vms/{disk.rbd_name}', info.source_name)

    def test_resize_after_a_lost_confirmation_goes_back_to_its_own_data(
        self,
    ) -> None:
        disk = self.disk()
        self.boot(disk)
        disk.create_snap(RESIZED)
        disk.resize_image(16 * MIB)
        self.write(self.row(), 0, b'of months')
        disk.create_snap(RESIZED)
        self.write(self.row(), 0, b'after the')
        disk.rollback_to_snap(RESIZED)
        self.assertEqual(b'of months', self.read(self.row(), 0, 9))
        self.assertEqual(16 * MIB, self.row()['size_bytes'])
        disk.remove_snap(RESIZED)

    def test_resize_does_not_go_back_to_what_others_took(self) -> None:
        disk = self.disk()
        self.boot(disk)
        with self.pool() as ioctx, rbd.Image(ioctx, disk.rbd_name) as image:
            image.create_snap(RESIZED)
        self.write(self.row(), 0, b'of months')
        disk.create_snap(RESIZED)
        disk.rollback_to_snap(RESIZED)
        self.assertEqual(b'of months', self.read(self.row(), 0, 9))

    def test_resize_after_one_without_a_manager_goes_back_to_its_own_data(
        self,
    ) -> None:
        disk = self.disk()
        self.boot(disk)
        disk.create_snap(RESIZED)
        disk._take_snapshot_alone(RESIZED)
        self.write(self.row(), 0, b'of months')
        disk.create_snap(RESIZED)
        disk.rollback_to_snap(RESIZED)
        self.assertEqual(b'of months', self.read(self.row(), 0, 9))

    def test_rollback_needs_its_snapshot(self) -> None:
        disk = self.disk()
        self.boot(disk)
        self.assertRaises(
            exception.SnapshotNotFound, disk.rollback_to_snap, RESIZED
        )

    def test_disk_does_not_shrink(self) -> None:
        disk = self.disk()
        self.boot(disk)
        self.assertRaises(exception.ResizeError, disk.resize_image, MIB)

    def test_deletion_takes_all_of_the_instance_and_no_other(self) -> None:
        other = compute.Instance()
        self.boot(self.disk(instance=other))
        self.boot(self.disk())
        self.boot(self.disk('disk.rescue'))
        self.disk('disk.swap').import_file(
            self.instance, self.file(b'swap'), 'disk.swap'
        )
        self.driver._cleanup_rbd(self.instance)
        self.driver._cleanup_rbd(self.instance)
        self.assert_left()
        self.assertTrue(self.disk(instance=other).exists())

    def test_deletion_takes_what_is_not_on_record(self) -> None:
        for name in ('disk', 'disk.eph0', 'disk.eph1', 'disk.config'):
            self.novas(name)
        self.boot(self.disk('disk.rescue'))
        self.driver._cleanup_rbd(self.instance)
        self.assert_left()

    def test_reverting_deletes_the_ephemeral_disk_alone(self) -> None:
        for name in ('disk', 'disk.local'):
            self.boot(self.disk(name))
        self.instance.task_state = task_states.RESIZE_REVERTING
        self.driver._cleanup_rbd(self.instance)
        self.assert_left('disk')

    def test_unrescue_deletes_the_rescue_disks_alone(self) -> None:
        for name in ('disk', 'disk.rescue'):
            self.boot(self.disk(name))
        self.novas('disk.config.rescue')
        # What it does to the hypervisor; there is none here.
        with mock.patch.object(novas_driver.LibvirtDriver, 'unrescue'):
            self.driver.unrescue(self.context, self.instance)
        self.assert_left('disk')

    def test_open_disk_goes_when_it_is_closed(self) -> None:
        disk = self.disk()
        self.boot(disk)
        with (
            self.pool() as ioctx,
            rbd.Image(ioctx, f'{self.instance.uuid}_disk'),
        ):
            self.driver._cleanup_rbd(self.instance)
            self.assertEqual(['disk'], self.names())
            self.assertFalse(disk.exists())
        self.boot(disk)
        self.assertEqual(GOLDEN, self.read(self.row(), 0, len(GOLDEN)))

    def test_disk_of_others_is_adopted_when_it_is_to_change(self) -> None:
        own = self.novas_own()
        with self.pool('images') as images, self.pool() as vms:
            rbd.RBD().clone(images, self.image_id, 'snap', vms, own.rbd_name)
        disk = self.disk()
        self.assertTrue(disk.exists())
        disk.create_snap(RESIZED)
        row = self.row()
        self.assertEqual('ready', row['state'])
        self.assertEqual(self.image_id, row['parent']['image'])

    def test_disk_that_is_nowhere_is_not_found(self) -> None:
        self.assertRaises(
            exception.DiskNotFound, self.disk().create_snap, RESIZED
        )

    def test_unshelved_disk_is_not_copied(self) -> None:
        disk = self.disk()
        self.boot(disk)
        disk.flatten()
        self.assertIsNotNone(self.row()['parent'])
        self.assertTrue(self.row()['attached'])

    def test_nova_driver_reads_by_the_kept_connection(self) -> None:
        # What it connects to; there is none here.
        with mock.patch.object(novas_driver, 'host'):
            made = driver.LibvirtDriver(None)
        self.assertIs(rbd_utils, novas_driver.rbd_utils)
        self.assertIs(
            driver.imagebackend.Rbd, made.image_backend.backend('rbd')
        )

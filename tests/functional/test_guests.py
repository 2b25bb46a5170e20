# SPDX-License-Identifier: Apache-2.0
"""What a running guest has open is neither trashed nor flattened."""

import time

from testtools import matchers

from rbdcloner import errors
from tests.functional import cloud
from tests.functional import guest as guests
from tests.functional.service import GOLDEN

#: Ceph gives up the watch of who was killed after 30 s.
WATCH_ENDS_S = 75
#: Attempts at a row pause longer and longer.
SOON_S = 20


class GuestsTest(cloud.CloudTest):
    """On MariaDB; a guest is a process with an open, writing image."""

    database = 'mariadb'

    def assert_goes_on(self, guest: guests.Guest) -> None:
        before = guest.written()
        self.assertGreater(guest.written(), before)

    def test_running_disk_is_deleted_when_it_is_closed(self) -> None:
        disk = self.boot()
        with self.guest(disk) as guest:
            error = self.assertRaises(errors.DiskInUse, self.delete, disk)
            self.assertTrue(error.kwargs['watchers'])
            self.assertIn(disk['name'], self.names('vms'))
            self.assert_goes_on(guest)
            self.assertEqual('deleting', self.state_of(disk)())
        self.assert_becomes('deleted', self.state_of(disk), SOON_S)
        self.assertEqual(self.before, self.in_ceph())

    def test_disk_that_is_deleted_under_a_guest_reads_on(self) -> None:
        disk = self.boot()
        with self.guest(disk) as guest:
            self.assertRaises(errors.DiskInUse, self.delete, disk)
            self.assert_becomes(
                True, lambda: 'DiskInUse' in self.reason_of(disk)
            )
            self.assert_goes_on(guest)
            written = guest.written()
            self.assertThat(
                self.numbers(disk)[0], matchers.GreaterThan(written - 1)
            )
            self.assertEqual(GOLDEN, self.read(disk, 0, len(GOLDEN)))

    def reason_of(self, disk: dict[str, str]) -> str:
        query = f"SELECT reason FROM clones WHERE uuid = '{disk['uuid']}'"  # noqa: S608
        return str(self.select(query)[0][0])

    def test_running_disk_is_flattened_when_it_is_closed(self) -> None:
        image_id = self.upload()
        disk = self.boot(image_id)
        with self.guest(disk) as guest:
            (wanted,) = self.release().flatten(image_id)
            self.assert_becomes(
                True, lambda: 'RbdImageInUse' in self.tried(wanted.id)
            )
            self.assert_goes_on(guest)
            self.assertEqual(
                [f'images/{image_id}'], self.ancestors('vms', disk['name'])
            )
        self.assert_becomes(
            [(disk['name'], 'release', 'done')], self.flattens, SOON_S
        )
        self.assertEqual([], self.ancestors('vms', disk['name']))
        self.assertEqual(GOLDEN, self.read(disk, 0, len(GOLDEN)))

    def tried(self, flatten: int) -> str:
        query = f'SELECT reason FROM flattens WHERE id = {flatten}'  # noqa: S608
        return str(self.select(query)[0][0])

    def test_disk_of_a_guest_that_was_killed_is_deleted(self) -> None:
        disk = self.boot()
        with self.guest(disk) as guest:
            guest.kill()
            killed = time.monotonic()
            self.assertRaises(errors.DiskInUse, self.delete, disk)
            self.assert_becomes('deleted', self.state_of(disk), WATCH_ENDS_S)
            self.assertThat(time.monotonic() - killed, matchers.GreaterThan(5))

    def test_disks_in_use_keep_no_others_from_going(self) -> None:
        instance = self.asked()['instance_uuid']
        used, idle = (
            self.boot(name=f'{instance}_{what}', instance_uuid=instance)
            for what in ('used', 'idle')
        )
        with self.guest(used) as guest:
            self.assertRaises(
                errors.DiskInUse, self.api.delete_disks, self.ctxt, instance
            )
            self.assert_becomes('deleted', self.state_of(idle))
            self.assert_goes_on(guest)
        self.assert_becomes('deleted', self.state_of(used), SOON_S)

    def test_guest_of_a_deleted_image_goes_on(self) -> None:
        image_id = self.upload()
        disk = self.boot(image_id)
        with self.guest(disk) as guest:
            self.servers.glance.delete(image_id)
            self.assertEqual(GOLDEN, self.read(disk, 0, len(GOLDEN)))
            self.assert_goes_on(guest)

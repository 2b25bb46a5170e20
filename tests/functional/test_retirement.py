# SPDX-License-Identifier: Apache-2.0
"""Images deleted while disks need them, in Glance, by operators, by guests."""

from typing import Any

from glanceclient import exc as glance_errors
import rbd

from rbdcloner import errors
from rbdcloner.model import CloneFormat
from tests.functional import cloud
from tests.functional.service import GOLDEN
from tests.stack import reading


class AnyOrder:
    """What both formats do alike: the order that breaks others."""

    def delete_image(self, image_id: str) -> None:
        """Delete an image in Glance, which must succeed."""
        self.servers.glance.delete(image_id)

    def test_everything_can_go_in_the_order_that_breaks_others(self) -> None:
        image_id = self.upload()
        disk = self.boot(image_id)
        self.write(disk, 0, b'of the first')
        snapshot_id = self.snapshot(disk)
        booted = self.boot(snapshot_id)
        self.delete(disk)
        self.delete_image(snapshot_id)
        self.delete_image(image_id)
        self.assertEqual(b'of the first', self.read(booted, 0, 12))
        self.assertEqual(GOLDEN[12:], self.read(booted, 12, len(GOLDEN) - 12))
        self.delete(booted)
        self.assert_becomes(self.before, self.in_ceph)
        self.assert_becomes([], self.unfinished)

    def test_image_that_glance_deleted_is_kept_for_its_disk(self) -> None:
        image_id = self.upload()
        disk = self.boot(image_id)
        self.delete_image(image_id)
        self.assert_becomes(
            [('adopted', 'retired')], lambda: self.kinds(image_id)
        )
        self.assertNotIn(image_id, self.names('images'))
        self.assertRaises(errors.ImageNotFound, self.boot, image_id)
        self.assertEqual(GOLDEN, self.read(disk, 0, len(GOLDEN)))
        self.delete(disk)
        self.assert_becomes(self.before, self.in_ceph)
        self.assert_becomes(
            [('adopted', 'deleted')], lambda: self.kinds(image_id)
        )

    def kinds(self, image_id: str) -> list[tuple[Any, ...]]:
        """Return the kind and state of the rows of an image itself."""
        return self.select(
            'SELECT kind, state FROM clones '  # noqa: S608
            f"WHERE name = '{image_id}' ORDER BY id"
        )

    def test_child_removed_by_a_reader_of_images_is_reaped(self) -> None:
        self.servers.ceph.user(
            'client.reader',
            mon='profile rbd',
            osd='profile rbd pool=vms, profile rbd-read-only pool=images',
        )
        image_id = self.upload()
        disk = self.boot(image_id)
        self.delete_image(image_id)
        with (
            self.servers.ceph.connection('client.reader') as connection,
            connection.open_ioctx('vms') as ioctx,
        ):
            rbd.RBD().remove(ioctx, disk['name'])
        self.assert_becomes('deleted', self.state_of(disk))
        self.assert_becomes(self.before, self.in_ceph)

    def test_disk_flattened_by_others_lets_its_image_go(self) -> None:
        image_id = self.upload()
        disk = self.boot(image_id)
        self.delete_image(image_id)
        with self.pool() as ioctx, rbd.Image(ioctx, disk['name']) as image:
            image.flatten()
        self.assert_becomes(self.before | {disk['name']}, self.in_ceph)
        self.assertEqual(GOLDEN, self.read(disk, 0, len(GOLDEN)))


class RetirementTest(AnyOrder, cloud.CloudTest):
    """Format 2 on SQLite, where Glance can fail half-way."""

    def test_deletion_that_glance_failed_half_way_is_repaired(self) -> None:
        image_id = self.upload()
        first = self.boot(image_id)
        with (
            self.pool('images') as ioctx,
            rbd.Image(ioctx, image_id),
        ):
            self.assertRaises(
                glance_errors.HTTPConflict,
                self.servers.glance.delete,
                image_id,
            )
        images = self.servers.glance.client().images
        self.assertEqual('active', images.get(image_id).status)
        second = self.boot(image_id)
        self.assertEqual(GOLDEN, self.read(first, 0, len(GOLDEN)))
        self.assertEqual(GOLDEN, self.read(second, 0, len(GOLDEN)))
        with (
            self.pool('images') as ioctx,
            reading.opened(ioctx, image_id, snapshot='snap') as image,
        ):
            self.assertTrue(image.is_protected_snap('snap'))

    def test_image_repaired_twice_goes_with_its_disks(self) -> None:
        image_id = self.upload()
        disks = []
        for _ in range(3):
            disks.append(self.boot(image_id))
            with (
                self.pool('images') as ioctx,
                rbd.Image(ioctx, image_id),
            ):
                self.assertRaises(
                    glance_errors.HTTPConflict,
                    self.servers.glance.delete,
                    image_id,
                )
        self.servers.glance.delete(image_id)
        for disk in disks:
            self.assertEqual(GOLDEN, self.read(disk, 0, len(GOLDEN)))
            self.delete(disk)
        self.assert_becomes(self.before, self.in_ceph)


class RetirementFormat1Test(AnyOrder, cloud.CloudTest):
    """Format 1 on MariaDB, where Glance keeps what has children."""

    clone_format = CloneFormat.V1
    database = 'mariadb'

    def delete_image(self, image_id: str) -> None:
        """Delete an image in Glance, releasing it first if it has children."""
        release = self.release()
        if list(release.users(image_id)):
            self.assertRaises(
                glance_errors.HTTPConflict,
                self.servers.glance.delete,
                image_id,
            )
            release.retire(image_id)
            self.assert_becomes(
                False, lambda: image_id in self.names('images')
            )
        self.servers.glance.delete(image_id)

# SPDX-License-Identifier: Apache-2.0
"""A wrong request for a snapshot is told what is wrong; nothing is left."""

from typing import Any
import uuid

import rbd

from rbdcloner import errors
from rbdcloner import rpcapi
from tests.functional import cloud
from tests.functional.service import GOLDEN
from tests.functional.service import MIB
from tests.stack import reading

NOBODY = '00000000-0000-4000-8000-000000000000'
_NAMES = ('', 'a/b', 'a@b', ' a', 'a\nb', 'x' * 256, None, 7, ['x'])
_POOLS = (*_NAMES, 'x' * 129)

#: (argument, values that are refused)
WRONG_VALUES: dict[str, tuple[Any, ...]] = {
    'name': _NAMES,
    'pool': _POOLS,
    'snapshot': _NAMES,
    'dest_pool': _POOLS,
    'image_id': ('', 'no-uuid', '../images', None, 7),
    'location': ('', 'a\nb', 'rbd://' + 'x' * 4096, None, 7, ['x']),
}
METHODS = {
    'snapshot_disk': ('name', 'pool', 'image_id', 'dest_pool'),
    'discard_snapshot': ('location',),
    'create_snapshot': ('name', 'pool', 'snapshot'),
    'remove_snapshot': ('name', 'pool', 'snapshot'),
    'rollback_disk': ('name', 'pool', 'snapshot'),
}


class BadSnapshotsTest(cloud.CloudTest):
    def setUp(self) -> None:
        super().setUp()
        self.disk = self.boot()
        self.present = self.seen()

    def seen(self) -> tuple[object, ...]:
        """Return what a refusal must leave as it is."""
        tables = ('clones', 'parents', 'flattens')
        rows = [self.select(f'SELECT * FROM {one}') for one in tables]  # noqa: S608
        with self.pool() as ioctx, rbd.Image(ioctx, self.disk['name']) as one:
            return self.in_ceph(), list(one.list_snaps()), rows

    def good(self, method: str) -> dict[str, Any]:
        """Return arguments that are well formed."""
        given = {
            'name': self.disk['name'],
            'pool': 'vms',
            'snapshot': 'nova-resize',
            'dest_pool': 'images',
            'image_id': str(uuid.uuid4()),
            'location': self.location(NOBODY),
        }
        return {name: given[name] for name in METHODS[method]}

    def location(self, image: str, pool: str = 'images') -> str:
        return f'rbd://{self.servers.ceph.fsid}/{pool}/{image}/snap'

    def refused(
        self, error: type[errors.Error], method: str, **changes: Any
    ) -> errors.Error:
        """Assert that it is refused, changing nothing."""
        given = self.good(method) | changes
        call = getattr(self.api, method)
        raised = self.assertRaises(error, call, self.ctxt, **given)
        self.assertEqual(self.present, self.seen())
        return raised

    def test_wrong_values_name_their_argument(self) -> None:
        for method, arguments in METHODS.items():
            for argument in arguments:
                for value in WRONG_VALUES[argument]:
                    error = self.refused(
                        errors.InvalidArgument, method, **{argument: value}
                    )
                    self.assertEqual(argument, error.kwargs['argument'])

    def test_unknown_disk(self) -> None:
        for method, arguments in METHODS.items():
            if 'name' in arguments:
                self.refused(errors.DiskNotFound, method, name='unknown')

    def test_pools_that_are_not_served(self) -> None:
        for method, arguments in METHODS.items():
            if 'pool' in arguments:
                self.refused(errors.PoolNotServed, method, pool='images')
        self.refused(errors.PoolNotServed, 'snapshot_disk', dest_pool='vms')
        for pool in ('vms', 'nowhere'):
            location = self.location(self.disk['name'], pool)
            self.refused(
                errors.PoolNotServed, 'discard_snapshot', location=location
            )

    def test_locations_that_are_none_of_this_cluster(self) -> None:
        fsid = self.servers.ceph.fsid
        for location in (
            'file:///etc/passwd',
            'rbd://only-an-image',
            f'rbd://{fsid}/images//snap',
            f'rbd://{fsid}/images/a/b/c',
            f'rbd://{NOBODY}/images/{self.image_id}/snap',
        ):
            error = self.refused(
                errors.InvalidArgument, 'discard_snapshot', location=location
            )
            self.assertEqual('location', error.kwargs['argument'])

    def test_image_of_others_is_not_discarded(self) -> None:
        location = self.location(self.image_id)
        self.refused(errors.NameTaken, 'discard_snapshot', location=location)
        self.assertEqual(GOLDEN, self.read(self.boot(), 0, len(GOLDEN)))

    def test_name_of_an_image_of_others_is_not_taken(self) -> None:
        self.assertRaises(
            errors.NameTaken, self.snapshot_as, self.disk, self.image_id
        )
        self.assertIn(self.image_id, self.names('images'))

        def snapshots() -> list[object]:
            with (
                self.pool() as ioctx,
                rbd.Image(ioctx, self.disk['name']) as one,
            ):
                return list(one.list_snaps())

        self.assert_becomes([], snapshots)

    def test_image_of_another_disk(self) -> None:
        other, image_id = self.boot(), str(uuid.uuid4())
        location = self.snapshot_as(other, image_id)
        self.addCleanup(self.api.discard_snapshot, self.ctxt, location)
        self.present = self.seen()
        error = self.refused(
            errors.DiskDiffers, 'snapshot_disk', image_id=image_id
        )
        self.assertEqual('disk', error.kwargs['field'])

    def test_snapshot_that_the_disk_has_not(self) -> None:
        self.refused(errors.DiskSnapshotNotFound, 'rollback_disk')

    def test_snapshot_that_others_cloned_is_not_removed(self) -> None:
        at = (self.disk['name'], 'vms', 'nova-resize')
        self.api.create_snapshot(self.ctxt, *at)
        with self.pool() as ioctx:
            with rbd.Image(ioctx, self.disk['name']) as image:
                image.protect_snap('nova-resize')
            rbd.RBD().clone(
                ioctx, self.disk['name'], 'nova-resize', ioctx, 'of-others'
            )
            self.assertRaises(
                errors.DiskSnapshotInUse,
                self.api.remove_snapshot,
                self.ctxt,
                *at,
            )
            with reading.opened(ioctx, 'of-others') as image:
                self.assertEqual(GOLDEN[:MIB], image.read(0, MIB))
            rbd.RBD().remove(ioctx, 'of-others')
        self.api.remove_snapshot(self.ctxt, *at)

    def test_disk_that_is_deleted_has_no_snapshots(self) -> None:
        self.delete(self.disk)
        for method, arguments in METHODS.items():
            if 'name' in arguments:
                call = getattr(self.api, method)
                self.assertRaises(
                    errors.DiskNotFound, call, self.ctxt, **self.good(method)
                )

    def snapshot_as(self, disk: rpcapi.Disk, image_id: str) -> str:
        return self.api.snapshot_disk(
            self.ctxt, disk['name'], 'vms', image_id, 'images'
        )

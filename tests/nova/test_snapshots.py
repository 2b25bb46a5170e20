# SPDX-License-Identifier: Apache-2.0
"""Images of disks: without a copy, and without write on Glance's pool."""

from typing import Any

import fixtures
from nova import exception
from nova.image import glance
import rbd

from tests.functional.service import GOLDEN
from tests.functional.service import MIB
from tests.nova import compute


class SnapshotTest(compute.ComputeTest):
    def setUp(self) -> None:
        super().setUp()
        self.source = self.disk()
        self.boot(self.source)
        image = self.servers.glance.client().images.create(
            name='snapshot',
            disk_format='raw',
            container_format='bare',
            visibility='public',
        )
        self.snapshot_id = str(image.id)
        self.addCleanup(self.servers.glance.delete, image.id)

    def in_pool(self) -> set[str]:
        with self.pool('images') as ioctx:
            return set(rbd.RBD().list(ioctx))

    def taken(self, image_format: str = 'raw') -> Any:
        return self.source.direct_snapshot(
            self.context,
            'snapshot',
            image_format,
            self.snapshot_id,
            self.image_id,
        )

    def test_snapshot_becomes_an_image_that_boots(self) -> None:
        self.write(self.row(), 0, b'mine')
        location = self.taken()
        self.servers.glance.add_location(self.snapshot_id, location)
        server = compute.Instance()
        self.boot(self.disk(instance=server), self.snapshot_id)
        disk = self.api.get_disk(self.ctxt, f'{server.uuid}_disk', 'vms')
        self.assertEqual(self.snapshot_id, disk['parent']['image'])
        self.assertEqual(b'mine' + GOLDEN[4:], self.read(disk, 0, 4 * MIB))

    def test_snapshot_is_undone(self) -> None:
        before = self.in_pool()
        location = {'url': self.taken()}
        self.assertEqual(before | {self.snapshot_id}, self.in_pool())
        for _ in range(2):
            self.source.cleanup_direct_snapshot(
                location, also_destroy_volume=True
            )
        self.assertEqual(before, self.in_pool())

    def test_nothing_taken_is_nothing_to_undo(self) -> None:
        self.source.cleanup_direct_snapshot(None, also_destroy_volume=True)

    def test_what_is_not_ours_is_not_undone(self) -> None:
        fsid = self.servers.ceph.fsid
        location = {'url': f'rbd://{fsid}/images/{self.image_id}/snap'}
        undo = self.source.cleanup_direct_snapshot
        self.assertRaises(exception.NovaException, undo, location, True)
        undo(location, True, ignore_errors=True)
        self.assertIn(self.image_id, self.in_pool())

    def test_another_format_is_copied(self) -> None:
        self.assertRaises(
            exception.ImageUnacceptable, self.taken, image_format='qcow2'
        )

    def test_nova_key_cannot_write_where_images_are(self) -> None:
        with self.servers.ceph.connection('client.nova') as cluster:
            ioctx = cluster.open_ioctx('images')
            self.assertRaises(
                rbd.PermissionError, rbd.RBD().create, ioctx, 'mine', MIB
            )
            ioctx.close()

    def test_image_locations_are_not_asked_for(self) -> None:
        asked = []
        get = glance.API.get

        def noting(*given: Any, **wanted: Any) -> Any:
            asked.append(wanted)
            return get(*given, **wanted)

        # Glance's own log does not tell.
        self.useFixture(
            fixtures.MonkeyPatch('nova.image.glance.API.get', noting)
        )
        self.boot(self.disk(instance=compute.Instance()))
        data = self.upload(GOLDEN[:MIB], 'qcow2')
        self.boot(self.disk(instance=compute.Instance()), data)
        self.assertNotEqual([], asked)
        for wanted in asked:
            self.assertFalse(wanted.get('include_locations'))

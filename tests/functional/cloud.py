# SPDX-License-Identifier: Apache-2.0
"""What Nova and Glance's users do with disks and images, on real servers."""

from collections.abc import Callable
import contextlib
from typing import Any
import uuid

from glanceclient import exc as glance_errors
import rbd
import sqlalchemy as sa

from rbdcloner import rpcapi
from rbdcloner.cloning.image_release import ImageRelease
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import CloneFormat
from tests.functional import guest
from tests.functional import service
from tests.functional.service import GOLDEN
from tests.functional.service import MIB
from tests.stack import reading

#: As the documented installation has them; nothing more.
CAPS = 'profile rbd pool=vms, profile rbd pool=images'

EAGER: dict[str, dict[str, object]] = {
    'DEFAULT': {'recovery_interval': 1, 'survey_interval': 1},
    'ceph': {'user': 'least'},
}


class CloudTest(service.ServiceTest):
    """A manager that looks every second, with no more than the least key.

    After each test the image pool is as before, too.
    """

    clone_format = CloneFormat.V2
    extra: dict[str, dict[str, object]] = {}  # noqa: RUF012

    @classmethod
    def setUpClass(cls) -> None:
        ceph = {'clone_format': int(cls.clone_format), **EAGER['ceph']}
        cls.options = {**EAGER, 'ceph': ceph, **cls.extra}
        service.stack.shared().ceph.user(
            'client.least', mon='profile rbd', osd=CAPS
        )
        super().setUpClass()

    def setUp(self) -> None:
        self.images: list[str] = []
        super().setUp()

    def in_ceph(self) -> set[str]:
        return super().in_ceph() | self.names('images')

    def names(self, pool: str) -> set[str]:
        """Return the names in a pool."""
        with self.pool(pool) as ioctx:
            return set(rbd.RBD().list(ioctx))

    def delete_disks(self) -> None:
        """Delete every disk and image that the tests made."""
        super().delete_disks()
        self.assert_becomes([], self.delete_images)

    def delete_images(self) -> list[str]:
        """Return the images that Glance cannot delete yet."""
        self.images = [each for each in self.images if not self._gone(each)]
        return self.images

    def _gone(self, image_id: str) -> bool:
        try:
            self.servers.glance.delete(image_id)
        except glance_errors.HTTPNotFound:
            return True
        except glance_errors.HTTPConflict:
            return False
        return True

    # What people do

    def upload(self) -> str:
        """Return a Glance image of the golden data."""
        image = self.servers.glance.upload('uploaded', GOLDEN)
        self.images.append(image.id)
        return str(image.id)

    def queued(self) -> str:
        """Return a Glance image that has no data yet."""
        image = self.servers.glance.client().images.create(
            name='snapshot',
            disk_format='raw',
            container_format='bare',
            visibility='public',
        )
        self.images.append(image.id)
        return str(image.id)

    def snapshot(self, disk: rpcapi.Disk) -> str:
        """Return an active Glance image of a disk, made as Nova does.

        An image without data, the snapshot, and then its location.
        """
        image_id = self.queued()
        location = self.api.snapshot_disk(
            self.ctxt, disk['name'], disk['pool'], image_id, 'images'
        )
        self.servers.glance.add_location(image_id, location)
        return image_id

    def boot(self, image_id: str = '', **changes: Any) -> rpcapi.Disk:
        """Return a disk of an image, the golden one without."""
        return self.create(image_id=image_id or self.image_id, **changes)

    def delete(self, disk: rpcapi.Disk) -> rpcapi.Disk:
        """Delete a disk."""
        return self.api.delete_disk(self.ctxt, disk['name'], disk['pool'])

    def guest(
        self, disk: rpcapi.Disk
    ) -> contextlib.AbstractContextManager[guest.Guest]:
        """Run a guest on a disk."""
        return guest.running(self.servers.ceph.conf, 'client.rbdcloner', disk)

    def numbers(self, disk: rpcapi.Disk) -> tuple[int, int]:
        """Return what a guest wrote, or whoever was copied from it."""
        length = guest.SECOND - guest.FIRST + MIB
        return guest.numbers(self.read(disk, guest.FIRST, length))

    # What there is

    def release(self) -> ImageRelease:
        """Return what rbdcloner-manage works with: the database alone."""
        connected = sa.create_engine(self.database_url)
        self.addCleanup(connected.dispose)
        return ImageRelease(
            Lineage(connected), self.clone_format, f'test {uuid.uuid4()}'
        )

    def data_objects(self) -> set[str]:
        """Return the names of all objects with data, of both pools."""
        found = set()
        for pool in ('vms', 'images'):
            with self.pool(pool) as ioctx:
                found |= {
                    f'{pool}/{each.key}'
                    for each in ioctx.list_objects()
                    if each.key.startswith('rbd_data.')
                }
        return found

    def ancestors(self, pool: str, name: str) -> list[str]:
        """Return the pools and names that Ceph says an image descends from.

        Through the trash, where only ids lead.
        """
        found = []
        image_id = ''
        while True:
            with (
                self.pool(pool) as ioctx,
                reading.opened(ioctx, name, image_id) as one,
            ):
                try:
                    spec = one.get_parent_image_spec()
                except rbd.ImageNotFound:
                    return found
                image_id = one.parent_id()
            pool, name = spec['pool_name'], spec['image_name']
            found.append(f'{pool}/{name}')

    def flattens(self) -> list[tuple[Any, ...]]:
        """Return (name, why, state) of every flatten, oldest first."""
        return self.select(
            'SELECT clones.name, why, flattens.state FROM flattens '
            'JOIN clones ON clones.id = clone_id ORDER BY flattens.id'
        )

    def state_of(self, disk: rpcapi.Disk) -> Callable[[], str]:
        """Return what tells the state of a disk's row, whatever its name."""
        query = f"SELECT state FROM clones WHERE uuid = '{disk['uuid']}'"  # noqa: S608
        return lambda: str(self.select(query)[0][0])

# SPDX-License-Identifier: Apache-2.0
"""A backup of a busy database is restored: disks of reserved rows live on.

On a real cluster and on every database engine. The rooms are a manager's, in
this process: two of them, so that the second finds what the first left.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
from typing import Any
import uuid

from oslo_config import cfg
import pytest
import rbd
import sqlalchemy as sa

from rbdcloner import conf as options
from rbdcloner.cloning.holding import Holder
from rbdcloner.cmd import compose
from rbdcloner.db import engine as db_engine
from rbdcloner.db import migration
from rbdcloner.db import tables
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import DiskRequest
from rbdcloner.model import Filters
from rbdcloner.model import GlanceImage
from rbdcloner.model import GlanceLocation
from rbdcloner.states import State
from tests import stack
from tests.stack import database
from tests.stack import process

MIB = 2**20
_DISKS = 3
_LEASE_S = 2.0
_SWEEPS = 3


class OneImage:
    """Glance's answers of one image: what is asked of it is not at stake."""

    def __init__(self, fsid: str) -> None:
        self.id = str(uuid.uuid4())
        location = f'rbd://{fsid}/images/{self.id}/snap'
        self._image = GlanceImage(
            id=self.id,
            status='active',
            disk_format='raw',
            size_bytes=MIB,
            hidden=False,
            visibility='public',
            owner='',
            members=frozenset(),
            locations=(GlanceLocation(location),),
        )

    def get(self, image_id: str, project_id: str = '') -> GlanceImage:
        return self._image

    def look(self, image_id: str) -> GlanceImage:
        return self._image

    def forget(self, image_id: str) -> None:
        pass


class World:
    """A cluster with an image, a database, and rooms over them."""

    def __init__(self, lineage: Lineage, connection: Any) -> None:
        self.lineage = lineage
        self.ceph = stack.shared().ceph
        self.ceph.forget_lineage()
        self.ioctx = connection.open_ioctx('vms')
        self.glance = OneImage(self.ceph.fsid)
        with contextlib.closing(connection.open_ioctx('images')) as ioctx:
            rbd.RBD().create(ioctx, self.glance.id, MIB, old_format=False)
            with rbd.Image(ioctx, self.glance.id) as image:
                image.create_snap('snap')

    @contextlib.contextmanager
    def rooms(self, owner: str) -> Iterator[Any]:
        conf = cfg.ConfigOpts()
        options.register(conf)
        conf([])
        conf.set_override('conf', str(self.ceph.conf), 'ceph')
        with contextlib.closing(compose.ceph(conf)) as driver:
            driver.connect()
            holder = Holder(self.lineage, owner, _LEASE_S)
            yield compose.rooms(conf, driver, holder, self.glance)

    def request(self) -> DiskRequest:
        instance = str(uuid.uuid4())
        return DiskRequest(
            image_id=self.glance.id,
            pool='vms',
            name=f'{instance}_disk',
            size_bytes=2 * MIB,
            instance_uuid=instance,
            project_id='',
            host='here',
            after=0,
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of clones, as a backup has them."""
        with self.lineage.writer.connect() as connection:
            found = connection.execute(sa.select(tables.clones))
            return [dict(row._mapping) for row in found]

    def restore(self, backup: list[dict[str, Any]]) -> None:
        """Give the database the rows of a backup."""
        with self.lineage.writer.begin() as connection:
            connection.execute(sa.delete(tables.clones))
            connection.execute(sa.insert(tables.clones), backup)

    def sweep(self) -> None:
        """Recover and reap as a manager that is started does, repeatedly."""
        owner = 'the second'
        # What a manager's presence does; nothing is taken over before it.
        process.wait_until(
            lambda: self.lineage.may_take_over(owner, _LEASE_S),
            'the leases to be worth something',
        )
        with self.rooms(owner) as rooms:
            recovery = dataclasses.replace(rooms.recovery, idle_s=0)
            for _ in range(_SWEEPS):
                recovery.sweep()
                rooms.reaper.sweep()

    def assert_lives(self, disk: Clone, size_bytes: int) -> None:
        """Assert that the disk is as its user left it, and on record."""
        (row,) = self.lineage.page(Filters(uuid=disk.uuid))
        assert (row.state, row.image) == (State.READY, disk.image)
        assert row.size_bytes == size_bytes
        with rbd.Image(self.ioctx, disk.image.name, read_only=True) as image:
            assert (image.id(), image.size()) == (disk.image.id, size_bytes)
            assert image.read(0, 4) == b'data'


@pytest.fixture(params=sorted(database.ENGINES))
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    url = stack.shared().databases[request.param].create()
    engine = db_engine.connect(url)
    migration.upgrade(engine)
    with stack.shared().ceph.connection() as connection:
        made = World(Lineage(engine), connection)
        yield made
        made.ioctx.close()
    engine.dispose()


def test_disks_of_reserved_rows_live_on(world: World) -> None:
    backup, made = {}, []
    with world.rooms('the first') as rooms:
        ceph = rooms.manager.engine.maker.ceph
        clone = ceph.clone

        def cloned(*given: Any) -> None:
            # The backup is taken while the disk is being made.
            backup.update({row['id']: row for row in world.rows()})
            clone(*given)

        ceph.clone = cloned
        for _ in range(_DISKS):
            disk = rooms.manager.engine.create_disk(world.request())
            assert backup[disk.id]['state'] == State.RESERVED
            # Of earlier disks, too, the row of then counts.
            made.append((disk, backup[disk.id]))
            with rbd.Image(world.ioctx, disk.image.name) as image:
                image.write(b'data', 0)
        rooms.manager.engine.resize_disk('vms', disk.image.name, 4 * MIB)
    sizes = [2 * MIB] * (_DISKS - 1) + [4 * MIB]
    with rbd.Image(world.ioctx, made[0][0].image.name) as opened:
        world.restore([row for _disk, row in made])
        world.sweep()
        for (disk, _row), size_bytes in zip(made, sizes, strict=True):
            world.assert_lives(disk, size_bytes)
        opened.write(b'data', 0)
    world.sweep()
    for (disk, _row), size_bytes in zip(made, sizes, strict=True):
        world.assert_lives(disk, size_bytes)
    with world.rooms('the last') as rooms:
        for disk, _row in made:
            rooms.manager.engine.delete_disk('vms', disk.image.name)
        while rooms.reaper.sweep():
            pass

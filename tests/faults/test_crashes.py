# SPDX-License-Identifier: Apache-2.0
"""The crash tests of the engine and of imports, on a real cluster."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
from typing import Any

import fixtures
import rados
import rbd

from rbdcloner.ceph.librbd import LibrbdDriver
from rbdcloner.cloning import permits
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import Snapshot
from tests import stack
from tests.stack import reading
from tests.unit.cloning import service
from tests.unit.cloning import test_crashes
from tests.unit.cloning import test_crashes_bases

_CHANGING = (
    'clone',
    'create',
    'flatten',
    'free_name',
    'protect',
    'purge',
    'remove_snapshot',
    'restore',
    'rollback',
    'take_snapshot',
    'trash',
    'unprotect',
)


class WatchedDriver:
    """A driver that tells of each act that changes Ceph, before it."""

    def __init__(self, driver: LibrbdDriver, admin: Any) -> None:
        self.on_act: Callable[[str, str], None] = lambda name, when: None
        self._driver = driver
        self._admin = admin
        self._ioctxs: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._driver, name)
        if name not in _CHANGING:
            return verb

        def act(*given: Any) -> Any:
            self.on_act(name, 'before')
            return verb(*given)

        return act

    def open(self, image: Image) -> 'WatchedImage':
        return WatchedImage(self, self._driver.open(image))

    def expire_watches(self) -> None:
        """Nothing: a test's process closes what it had open when it died."""

    def named(self, pool: str) -> dict[str, str]:
        with self._ioctx(pool) as ioctx:
            return {
                each['name']: each['id'] for each in rbd.RBD().list2(ioctx)
            }

    def trashed(self, pool: str) -> dict[str, str]:
        with self._ioctx(pool) as ioctx:
            return {
                each['id']: each['name']
                for each in rbd.RBD().trash_list(ioctx)
            }

    def add_image(self, pool: str, name: str, size_bytes: int) -> Image:
        with self._ioctx(pool) as ioctx:
            rbd.RBD().create(ioctx, name, size_bytes)
            with rbd.Image(ioctx, name, read_only=True) as made:
                return Image(self.fsid, pool, '', name, made.id())

    def add_snapshot(
        self, image: Image, name: str, protected: bool
    ) -> Snapshot:
        with (
            self._ioctx(image.pool) as ioctx,
            rbd.Image(ioctx, image.name) as held,
        ):
            held.create_snap(name)
            if protected:
                held.protect_snap(name)
            return Snapshot(image, name, held.snap_get_id(name))

    def write(self, image: Image, offset: int, data: bytes) -> None:
        with (
            self._ioctx(image.pool) as ioctx,
            rbd.Image(ioctx, image.name) as held,
        ):
            held.write(data, offset)

    def read(self, image: Image, offset: int, length: int) -> bytes:
        with (
            self._ioctx(image.pool) as ioctx,
            reading.opened(ioctx, image.name) as held,
        ):
            return bytes(held.read(offset, length))

    def clear(self) -> None:
        """Remove every disk and every image, for the next world."""
        with self._ioctx('vms') as ioctx:
            for image_id in self.trashed('vms'):
                rbd.RBD().trash_remove(ioctx, image_id)
        for pool in ('vms', 'images'):
            with self._ioctx(pool) as ioctx:
                for name in self.named(pool):
                    _remove(ioctx, name)
                # The next world has a lineage of its own.
                with contextlib.suppress(rados.ObjectNotFound):
                    ioctx.remove_object('rbdcloner.lineage')

    @contextlib.contextmanager
    def _ioctx(self, pool: str) -> Iterator[Any]:
        # Kept open, as the driver keeps its own: librbd's threads may still
        # use that of an image which was closed just now.
        if pool not in self._ioctxs:
            self._ioctxs[pool] = self._admin.open_ioctx(pool)
        yield self._ioctxs[pool]

    def close(self) -> None:
        """Let the administrator's connection go."""
        for ioctx in self._ioctxs.values():
            ioctx.close()


def _remove(ioctx: Any, name: str) -> None:
    with rbd.Image(ioctx, name) as image:
        for snapshot in list(image.list_snaps()):
            if image.is_protected_snap(snapshot['name']):
                image.unprotect_snap(snapshot['name'])
            image.remove_snap(snapshot['name'])
    rbd.RBD().remove(ioctx, name)


class WatchedImage:
    """An open image that tells of tag, mark and resize."""

    def __init__(self, watched: WatchedDriver, opening: Any) -> None:
        self._watched = watched
        self._opening = opening

    def __enter__(self) -> 'WatchedImage':
        self._opened = self._opening.__enter__()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._opening.__exit__(*exc_info)

    def facts(self) -> Any:
        return self._opened.facts()

    def tag(self, uuid: str) -> None:
        self._watched.on_act('tag', 'before')
        self._opened.tag(uuid)

    def mark_delivered(self, uuid: str, writing: bool = False) -> None:
        self._watched.on_act('mark_delivered', 'before')
        self._opened.mark_delivered(uuid, writing)

    def mark_committed(self, uuid: str) -> None:
        self._watched.on_act('mark_committed', 'before')
        self._opened.mark_committed(uuid)

    def resize(self, size_bytes: int) -> None:
        self._watched.on_act('resize', 'before')
        self._opened.resize(size_bytes)

    def write(self, blocks: Any) -> None:
        self._watched.on_act('write', 'before')
        self._opened.write(blocks)

    def take_snapshot(self, name: str) -> Any:
        self._watched.on_act('take_snapshot', 'before')
        return self._opened.take_snapshot(name)

    def protect(self, name: str) -> None:
        self._watched.on_act('protect', 'before')
        self._opened.protect(name)


class OneNode(fixtures.Fixture):
    """A cluster of this file's own: its pools must be empty."""

    def _setUp(self) -> None:
        servers = self.useFixture(
            stack.Stack(rabbitmq=False, glance=False, databases=())
        )
        context = servers.ceph.connection()
        self.admin = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        self.drivers = {
            clone_format: LibrbdDriver(
                str(servers.ceph.conf),
                'rbdcloner',
                30,
                clone_format,
                permit=permits.permit,
            )
            for clone_format in CloneFormat
        }
        for driver in self.drivers.values():
            driver.connect()
            self.addCleanup(driver.close)


class RealWorld(service.Service):
    """The engine over librbd, instead of the double."""

    node: OneNode

    def make_ceph(self) -> WatchedDriver:
        ceph = WatchedDriver(
            self.node.drivers[self.clone_format], self.node.admin
        )
        self.addCleanup(ceph.close)
        self.addCleanup(ceph.clear)
        return ceph


def setUpModule() -> None:
    RealWorld.node = OneNode()
    RealWorld.node.setUp()


def tearDownModule() -> None:
    RealWorld.node.cleanUp()


class CreateTest(test_crashes.CreateTest):
    world = RealWorld


class DeleteTest(test_crashes.DeleteTest):
    world = RealWorld


class ResizeTest(test_crashes.ResizeTest):
    world = RealWorld


class ImportTest(test_crashes_bases.ImportTest):
    world = RealWorld

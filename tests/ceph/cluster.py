# SPDX-License-Identifier: Apache-2.0
"""A real cluster as the driver suite wants it: pools, a key, other clients.

The pools and the user are this process's own, and go with the fixture.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import os
import time
from typing import Any

import fixtures
import rados
import rbd

from rbdcloner import errors
from rbdcloner.ceph.driver import PermitThrough
from rbdcloner.ceph.librbd import LibrbdDriver
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import Snapshot
from tests import stack
from tests.stack import reading

MAPS = rbd.RBD_FEATURE_OBJECT_MAP | rbd.RBD_FEATURE_FAST_DIFF
TIMEOUT_S = 5
PATIENCE_S = 40

_PREFIX = f'suite{os.getpid()}'


def wait_until(
    done: Callable[[], bool], what: str, patience_s: float = PATIENCE_S
) -> None:
    """Return once *done* says so."""
    until = time.monotonic() + patience_s
    while not done():
        if time.monotonic() > until:
            raise AssertionError(f'{what}: not within {patience_s} s')
        time.sleep(0.1)


class RealCluster(fixtures.Fixture):
    """Pools, a user that may not do everything, and the administrator."""

    image_pool = f'{_PREFIX}-images'
    disk_pool = f'{_PREFIX}-vms'
    small_pool = f'{_PREFIX}-small'
    bare_pool = f'{_PREFIX}-bare'
    read_only_pool = f'{_PREFIX}-read-only'
    forbidden_pool = f'{_PREFIX}-forbidden'
    user = f'client.{_PREFIX}'

    def __init__(self) -> None:
        super().__init__()
        self.driver: LibrbdDriver
        #: What the drivers ask before each act.
        self.permit: PermitThrough = lambda connected_at: None

    def _setUp(self) -> None:
        self.ceph = stack.shared().ceph
        self.admin: rados.Rados = self.enter(self.ceph.connection())
        ours = (
            self.image_pool, self.disk_pool, self.small_pool, self.bare_pool,
        )  # fmt: skip
        for pool in (*ours, self.read_only_pool, self.forbidden_pool):
            self.ceph.create_pool(pool, init=pool != self.bare_pool)
            self.addCleanup(self.ceph.delete_pool, pool)
        caps = [f'profile rbd pool={pool}' for pool in ours]
        caps.append(f'profile rbd-read-only pool={self.read_only_pool}')
        self.ceph.user(self.user, mon='profile rbd', osd=', '.join(caps))
        self.addCleanup(self.ceph.mon_command, 'auth del', entity=self.user)
        self.admin.wait_for_latest_osdmap()

    def enter(self, context: Any) -> Any:
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def connect(
        self,
        clone_format: CloneFormat = CloneFormat.V2,
        user: str = '',
        timeout_s: float = TIMEOUT_S,
    ) -> LibrbdDriver:
        """A connected driver; the caller closes it."""
        driver = LibrbdDriver(
            str(self.ceph.conf),
            user or self.user,
            timeout_s,
            clone_format,
            permit=lambda connected_at: self.permit(connected_at),
        )
        driver.connect()
        return driver

    # What other clients do

    @contextlib.contextmanager
    def ioctx(self, pool: str, namespace: str = '') -> Iterator[Any]:
        with self.admin.open_ioctx(pool) as ioctx:
            ioctx.set_namespace(namespace)
            yield ioctx

    @contextlib.contextmanager
    def opened(self, image: Image) -> Iterator[Any]:
        """The administrator's open image, by id."""
        with (
            self.ioctx(image.pool, image.namespace) as ioctx,
            rbd.Image(ioctx, image_id=image.id) as opened,
        ):
            yield opened

    @contextlib.contextmanager
    def reading(self, image: Image) -> Iterator[Any]:
        """The same, open to read, by id if there is one, else by name."""
        with (
            self.ioctx(image.pool, image.namespace) as ioctx,
            reading.opened(ioctx, image.name, image.id) as opened,
        ):
            yield opened

    def id_of(self, image: Image) -> str:
        with self.reading(image) as opened:
            return str(opened.id())

    def add_image(
        self,
        pool: str,
        name: str,
        size_bytes: int,
        namespace: str = '',
        order: int = 22,
        deep_flatten: bool = True,
    ) -> Image:
        features = int(self.admin.conf_get('rbd_default_features'))
        if not deep_flatten:
            features &= ~rbd.RBD_FEATURE_DEEP_FLATTEN
        with self.ioctx(pool, namespace) as ioctx:
            rbd.RBD().create(
                ioctx, name, size_bytes, order=order, features=features
            )
        made = Image(self.ceph.fsid, pool, namespace, name)
        return Image(self.ceph.fsid, pool, namespace, name, self.id_of(made))

    def add_snapshot(
        self, image: Image, name: str, protected: bool = False
    ) -> Snapshot:
        with self.opened(image) as opened:
            opened.create_snap(name)
            if protected:
                opened.protect_snap(name)
            return Snapshot(image, name, opened.snap_get_id(name))

    def unmark_lineage(self, pool: str) -> None:
        with (
            self.ioctx(pool) as ioctx,
            contextlib.suppress(rados.ObjectNotFound),
        ):
            ioctx.remove_object('rbdcloner.lineage')

    def drop_snapshot(self, snapshot: Snapshot) -> None:
        with self.opened(snapshot.image) as opened:
            opened.remove_snap_by_id(snapshot.id)

    def glance_delete(self, image: Image, snapshot_name: str = 'snap') -> None:
        """Do what ``_delete_image`` of glance_store 5.7's RBD driver does."""
        in_use = errors.RbdImageInUse(
            pool=image.pool, image=image.name, watchers=[]
        )
        with self.ioctx(image.pool) as ioctx:
            try:
                with rbd.Image(ioctx, image.name) as opened:
                    self._remove_as_glance(opened, snapshot_name)
                rbd.RBD().remove(ioctx, image.name)
            except rbd.ImageHasSnapshots:
                rbd.RBD().trash_move(ioctx, image.name)
            except rbd.ImageBusy as exc:
                raise in_use from exc
            except rbd.ImageNotFound as exc:
                raise errors.RbdImageNotFound(
                    pool=image.pool, image=image.name
                ) from exc

    def _remove_as_glance(self, opened: Any, name: str) -> None:
        with contextlib.suppress(rbd.ImageNotFound):
            with contextlib.suppress(rbd.InvalidArgument):
                opened.unprotect_snap(name)
            opened.remove_snap(name)

    def flatten_image(self, image: Image) -> None:
        with self.opened(image) as opened:
            opened.flatten()

    def maps(self, image: Image) -> tuple[int, int]:
        """Return which maps of its objects *image* has, and what ails them."""
        with self.reading(image) as opened:
            return opened.features() & MAPS, opened.flags()

    def note(self, pool: str, name: str, text: str | bytes) -> None:
        """Note a disk as nova-compute does, who made it alone."""
        value = text.encode() if isinstance(text, str) else text
        with self.ioctx(pool) as ioctx, rados.WriteOpCtx() as operation:
            ioctx.set_omap(operation, (name,), (value,))
            ioctx.operate_write_op(operation, 'rbdcloner.unadopted')

    def rename_image(self, image: Image, name: str) -> None:
        with self.ioctx(image.pool, image.namespace) as ioctx:
            rbd.RBD().rename(ioctx, image.name, name)

    def migrate(self, image: Image, step: str) -> None:
        """Take a step of the migration of *image* to its own pool and name."""
        with self.ioctx(image.pool, image.namespace) as ioctx:
            to = (ioctx, image.name) if step == 'prepare' else ()
            act = getattr(rbd.RBD(), f'migration_{step}')
            act(ioctx, image.name, *to)

    def trash_image(self, image: Image) -> None:
        with self.ioctx(image.pool, image.namespace) as ioctx:
            rbd.RBD().trash_move(ioctx, image.name)

    def add_namespace(self, pool: str) -> str:
        name = f'namespace-{time.monotonic_ns()}'
        with self.ioctx(pool) as ioctx:
            rbd.RBD().namespace_create(ioctx, name)
        return name

    def write(self, image: Image, offset: int, data: bytes) -> None:
        with self.opened(image) as opened:
            opened.write(data, offset)

    def read(self, image: Image, offset: int, length: int) -> bytes:
        with self.reading(image) as opened:
            return bytes(opened.read(offset, length))

    @contextlib.contextmanager
    def watch(self, image: Image) -> Iterator[str]:
        with self.opened(image) as opened:
            (watcher,) = opened.watchers_list()
            yield watcher['addr']

    @contextlib.contextmanager
    def filled(self, pool: str) -> Iterator[None]:
        """Let *pool* be over its quota."""
        self.ceph.set_quota(pool, max_bytes=1)
        wait_until(lambda: self._is_full(pool), f'{pool} is full')
        try:
            yield
        finally:
            self.ceph.set_quota(pool, max_bytes=0)
            wait_until(lambda: not self._is_full(pool), f'{pool} has space')

    def _is_full(self, pool: str) -> bool:
        with self.admin.open_ioctx(pool) as ioctx:
            ioctx.set_osdmap_full_try()
            try:
                # Only what adds to the pool is refused.
                ioctx.write_full('filler', b'filler')
                ioctx.remove_object('filler')
            except rados.OSError:
                return True
            return False

# SPDX-License-Identifier: Apache-2.0
"""librbd on a warm connection: what a disk costs at the least."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import time
from typing import Any

import rados
import rbd

from tests.bench import measuring
from tests.bench.testbed import Testbed
from tests.stack import process

TIMEOUT_S = 60
_LOOK_AGAIN_S = 0.005
_THREADS = 16
_SMALL_BYTES = 4 << 20
# An object has that many.
_CHUNK_BYTES = 4 << 20
# With an object map and a lock they would take twice as long to make.
_FEW_FEATURES = rbd.RBD_FEATURE_LAYERING
#: How images begin that are there for their number only.
OTHERS = 'other-'


class Librbd:
    """Clones, opens, grows and closes, with Debian's rbd module.

    Its connection has the settings that the service's has: they make it a
    little faster.
    """

    def __init__(
        self,
        bed: Testbed,
        client: str = 'client.rbdcloner',
        clone_format: int = 0,
    ) -> None:
        self._bed = bed
        chosen = clone_format or bed.wishes.clone_format
        self._cluster = rados.Rados(
            name=client,
            conffile=str(bed.servers.ceph.conf),
            conf={
                'rbd_cache': 'false',
                'rbd_default_clone_format': str(chosen),
                'rbd_validate_pool': 'false',
                'rados_osd_op_timeout': str(TIMEOUT_S),
                'rados_mon_op_timeout': str(TIMEOUT_S),
                'client_mount_timeout': str(TIMEOUT_S),
            },
        )
        self._cluster.connect()
        self._pools = {
            pool: self._cluster.open_ioctx(pool) for pool in bed.pools
        }

    def create(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Make disks of these names."""
        return measuring.measure(self._create, names, threads)

    def remove(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Remove them, whoever made them."""
        return measuring.measure(self._remove, names, threads)

    def delete(self, name: str, pool: str) -> None:
        """Remove an instance's disks as Nova does: whatever has its uuid."""
        instance = name.partition('_')[0]
        for found in self.names(pool):
            if found.startswith(instance):
                rbd.RBD().remove(self._pools[pool], found)

    def copy(self, disk: str, image_id: str) -> None:
        """Make the disk an image of its own, in Nova's order of calls."""
        with self.opened(self._bed.POOL, disk) as opened:
            opened.create_snap(image_id)
            opened.protect_snap(image_id)
        rbd.RBD().clone(
            self._pools[self._bed.POOL],
            disk,
            image_id,
            self._pools[self._bed.IMAGE_POOL],
            image_id,
        )
        with self.opened(self._bed.IMAGE_POOL, image_id) as image:
            image.flatten()
        with self.opened(self._bed.POOL, disk) as opened:
            opened.unprotect_snap(image_id)
            opened.remove_snap(image_id)
        self.take_snapshot(self._bed.IMAGE_POOL, image_id)

    def remove_copy(self, image_id: str) -> None:
        """Remove such an image."""
        with self.opened(self._bed.IMAGE_POOL, image_id) as image:
            image.unprotect_snap(self._bed.SNAPSHOT)
            image.remove_snap(self._bed.SNAPSHOT)
        rbd.RBD().remove(self._pools[self._bed.IMAGE_POOL], image_id)

    def take_snapshot(self, pool: str, name: str) -> None:
        """Take the protected snapshot that Glance's images have."""
        with self.opened(pool, name) as image:
            image.create_snap(self._bed.SNAPSHOT)
            image.protect_snap(self._bed.SNAPSHOT)

    def make(self, pool: str, names: Sequence[str]) -> None:
        """Make small empty images of these names, to be counted only."""
        ioctx = self._pools[pool]
        measuring.measure(
            lambda name: rbd.RBD().create(
                ioctx, name, _SMALL_BYTES, features=_FEW_FEATURES
            ),
            names,
            _THREADS,
        )

    def make_children(
        self, pool: str, parent: str, names: Sequence[str]
    ) -> None:
        """Make clones of these names in the parent's pool; as :meth:`make`."""
        ioctx = self._pools[pool]
        measuring.measure(
            lambda name: rbd.RBD().clone(
                *(ioctx, parent, self._bed.SNAPSHOT, ioctx, name),
                features=_FEW_FEATURES,
            ),
            names,
            _THREADS,
        )

    def write(self, pool: str, name: str, size_bytes: int) -> None:
        """Write the beginning of the image that all was made of to *name*."""
        with self._bed.raw.open('rb') as raw, self.opened(pool, name) as disk:
            for offset in range(0, size_bytes, _CHUNK_BYTES):
                disk.write(raw.read(_CHUNK_BYTES), offset)

    def touch(self, pool: str, name: str, objects: int) -> None:
        """Have so many objects of an image exist, past what its parent has."""
        if not objects:
            return
        begin = self._bed.wishes.scale.image_bytes
        with self.opened(pool, name) as disk:
            measuring.measure(
                lambda number: disk.write(
                    b'touched', begin + number * _CHUNK_BYTES
                ),
                range(objects),
                _THREADS,
            )

    def names(self, pool: str) -> list[str]:
        """Return the names of the images in a pool."""
        return list(rbd.RBD().list(self._pools[pool]))

    def ids(self, pool: str) -> dict[str, str]:
        """Return the ids of the images in a pool, by name."""
        return {
            one['name']: one['id']
            for one in rbd.RBD().list2(self._pools[pool])
        }

    @contextlib.contextmanager
    def opened(
        self, pool: str, name: str, read_only: bool = False
    ) -> Iterator[Any]:
        """Hold an image open."""
        image: Any = rbd.Image(self._pools[pool], name, read_only=read_only)
        try:
            yield image
        finally:
            image.close()

    def left(self) -> list[str]:
        """Return the names of the disks that are there."""
        return [
            name
            for pool in self._bed.disk_pools
            for name in self.names(pool)
            if not name.startswith(OTHERS)
        ]

    def wait_reaped(self, pool: str) -> float:
        """Return when nothing is in a pool's trash: the monotonic time.

        :raises StackError: that takes too long.
        """
        ioctx = self._pools[pool]
        _wait(lambda: not list(rbd.RBD().trash_list(ioctx)), f'{pool} trash')
        return time.monotonic()

    def wait_no_snapshots(self, pool: str, name: str) -> None:
        """Return when an image has no snapshot, not even a trashed one.

        :raises StackError: that takes too long.
        """

        def has_none() -> bool:
            with self.opened(pool, name, read_only=True) as image:
                return not list(image.list_snaps())

        _wait(has_none, f'snapshots of {pool}/{name}')

    def close(self) -> None:
        """Disconnect."""
        for ioctx in self._pools.values():
            ioctx.close()
        self._cluster.shutdown()

    def _create(self, name: str) -> None:
        bed = self._bed
        rbd.RBD().clone(
            self._pools[bed.IMAGE_POOL],
            bed.image_id,
            bed.SNAPSHOT,
            self._pools[bed.POOL],
            name,
        )
        with self.opened(bed.POOL, name) as disk:
            disk.resize(bed.DISK_BYTES)

    def _remove(self, name: str) -> None:
        rbd.RBD().remove(self._pools[self._bed.POOL], name)


def _wait(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not is_so():
        if time.monotonic() > deadline:
            raise process.StackError(f'{what} did not go in {TIMEOUT_S} s')
        time.sleep(_LOOK_AGAIN_S)

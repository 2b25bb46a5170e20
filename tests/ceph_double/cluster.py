# SPDX-License-Identifier: Apache-2.0
"""What the double holds in place of a cluster, and how it is found."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import itertools
import threading
from typing import Literal

from rbdcloner import errors
from rbdcloner.ceph.driver import PermitThrough
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts
from tests.ceph_double.held import HeldImage
from tests.ceph_double.held import HeldSnapshot
from tests.ceph_double.held import data_of

When = Literal['before', 'after']
Access = Literal['none', 'read', 'write']

#: The acts that change Ceph, as ``on_act`` and ``fail`` name them.
ACTS = (
    'create',
    'clone',
    'tag',
    'mark_delivered',
    'mark_committed',
    'resize',
    'write',
    'take_snapshot',
    'remove_snapshot',
    'rollback',
    'flatten',
    'protect',
    'unprotect',
    'trash',
    'restore',
    'purge',
    'free_name',
    'strike_note',
    'mark_lineage',
)

FSID = '4c9b0a4e-30c5-4d2b-9b0b-2a6f5a1f7c11'


_pool_ids = itertools.count(1)


@dataclasses.dataclass
class _Pool:
    access: Access = 'write'
    full: bool = False
    initialised: bool = True
    id: int = dataclasses.field(default_factory=lambda: next(_pool_ids))


@dataclasses.dataclass
class _Fault:
    error: BaseException
    times: int
    when: When


class Cluster:
    """Pools with images, who may do what to them, and what shall fail."""

    def __init__(self, *pools: str, fsid: str = FSID) -> None:
        self.fsid = fsid
        #: Told of each elementary act, before and after it; may raise.
        self.on_act: Callable[[str, When], None] = lambda name, when: None
        #: Asked before each elementary act, as a driver's; may raise.
        self.permit: PermitThrough = lambda connected_at: None
        #: When this process connected, by the monotonic clock.
        self.connected_at = 0.0
        #: The addresses of who was shut out.
        self.refused: set[str] = set()
        self._pools = {pool: _Pool() for pool in pools or ('images', 'vms')}
        self._images: dict[str, HeldImage] = {}
        self._notes: dict[str, dict[str, str]] = {}
        self._lineage_marks: dict[str, str] = {}
        self._faults: dict[str, list[_Fault]] = {}
        self._dead_watchers: set[str] = set()
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    def add_pool(
        self,
        pool: str,
        access: Access = 'write',
        full: bool = False,
        initialised: bool = True,
    ) -> None:
        """Make *pool*, or change what it allows."""
        made = _Pool(access, full, initialised)
        if pool in self._pools:
            made.id = self._pools[pool].id
        self._pools[pool] = made

    def rename_pool(self, pool: str, to: str) -> None:
        """Give *pool* and all that is in it another name."""
        self._pools[to] = self._pools.pop(pool)
        for image in self._images.values():
            if image.pool == pool:
                image.pool = to

    def fail(
        self,
        act: str,
        error: BaseException,
        times: int = 1,
        when: When = 'before',
    ) -> None:
        """Make verb *act* raise *error* the next *times* it is called.

        ``when='after'``: the act is done, only its answer is lost. A verb
        that changes nothing (``open``, ``find_image``, ``children``,
        ``probe`` …) can be named too.
        """
        faults = self._faults.setdefault(act, [])
        faults.append(_Fault(error, times, when))

    @contextlib.contextmanager
    def _act(
        self, name: str, pool: str, takes_space: bool = False
    ) -> Iterator[None]:
        with self._told(name), self._lock:
            self._require(pool, 'write', name)
            if takes_space:
                self._require_space(pool)
            yield

    @contextlib.contextmanager
    def _told(self, name: str) -> Iterator[None]:
        self.on_act(name, 'before')
        self.permit(self.connected_at)
        self._raise_fault(name, 'before')
        yield
        self._raise_fault(name, 'after')
        self.on_act(name, 'after')

    @contextlib.contextmanager
    def _look(self, name: str, pool: str) -> Iterator[None]:
        self._raise_fault(name, 'before')
        with self._lock:
            self._require(pool, 'read', name)
            yield

    def _raise_fault(self, name: str, when: When) -> None:
        with self._lock:
            for fault in self._faults.get(name, []):
                if fault.times > 0 and fault.when == when:
                    fault.times -= 1
                    raise fault.error

    def _require(self, pool: str, access: Access, act: str) -> None:
        held = self._pools.get(pool)
        if held is None:
            raise errors.PoolNotFound(pool=pool)
        if held.access == 'none' or (
            access == 'write' and held.access == 'read'
        ):
            raise errors.CephForbidden(act=act, pool=pool)

    def _require_space(self, pool: str) -> None:
        if self._pools[pool].full:
            raise errors.OutOfSpace(pool=pool)

    def _named(self, pool: str, namespace: str) -> dict[str, str]:
        return {
            i.name: i.id
            for i in self._images.values()
            if (i.pool, i.namespace, i.trashed) == (pool, namespace, False)
        }

    def _refuse_name(self, pool: str, namespace: str, name: str) -> None:
        if name in self._named(pool, namespace):
            raise errors.RbdImageExists(pool=pool, image=name)

    def _refuse_watchers(self, image: HeldImage) -> None:
        if image.watchers:
            raise errors.RbdImageInUse(
                pool=image.pool,
                image=image.name,
                watchers=sorted(image.watchers),
            )

    def _image_to_write(self, image: Image) -> HeldImage:
        """Find an image that the driver would open to write."""
        held = self._image(image)
        self._refuse_migrating(held)
        if image.id and image.name not in ('', held.name):
            raise errors.RbdImageRenamed(
                pool=image.pool,
                image=image.name,
                id=image.id,
                found=held.name,
            )
        return held

    def _refuse_migrating(self, held: HeldImage) -> None:
        if held.migrating:
            raise errors.RbdImageMigrating(pool=held.pool, image=held.name)

    def _refuse_replaced(self, image: Image) -> None:
        found = self._named(image.pool, image.namespace).get(image.name, '')
        if found not in ('', image.id):
            raise errors.RbdImageReplaced(
                pool=image.pool, image=image.name, id=image.id, found=found
            )

    def _image(self, image: Image) -> HeldImage:
        for held in self._images.values():
            if (held.pool, held.namespace) != (image.pool, image.namespace):
                continue
            if held.half_made == 'name':
                continue
            if (
                held.id == image.id
                if image.id
                else (held.name == image.name and not held.trashed)
            ):
                return held
        raise errors.RbdImageNotFound(
            pool=image.pool, image=image.name or image.id
        )

    def _snapshot(self, snapshot: Snapshot) -> tuple[HeldImage, HeldSnapshot]:
        """Find a live snapshot that has the name, and the id if one is given.

        Raises what librbd's driver raises.
        """
        image = self._image(snapshot.image)
        named = [
            held
            for held in image.snapshots
            if held.name == snapshot.name and snapshot.id in (None, held.id)
        ]
        return image, self._live(snapshot, named)

    def _live(
        self, snapshot: Snapshot, found: list[HeldSnapshot]
    ) -> HeldSnapshot:
        facts = {
            'pool': snapshot.image.pool,
            'image': snapshot.image.name,
            'snapshot': snapshot.name,
        }
        for held in found:
            if not held.trashed:
                return held
        if found:
            raise errors.SnapshotTrashed(**facts)
        raise errors.SnapshotNotFound(**facts)

    def _by_id(
        self, image: HeldImage, snapshot: Snapshot
    ) -> list[HeldSnapshot]:
        """Find a snapshot by its id, or one that lives by its name."""
        if snapshot.id is None:
            return [
                held
                for held in image.snapshots
                if held.name == snapshot.name and not held.trashed
            ]
        return [held for held in image.snapshots if held.id == snapshot.id]

    def _new_image(
        self,
        pool: str,
        namespace: str,
        name: str,
        size_bytes: int,
        order: int = 22,
    ) -> HeldImage:
        number = f'{next(self._numbers):012x}'
        image = HeldImage(pool, namespace, name, number, size_bytes, order)
        self._images[image.id] = image
        return image

    def _new_snapshot(
        self, image: HeldImage, name: str, protected: bool = False
    ) -> HeldSnapshot:
        made = HeldSnapshot(
            next(self._numbers),
            name,
            image.size_bytes,
            dict(image.data),
            image.parent,
            protected,
        )
        image.snapshots.append(made)
        return made

    def _new_watcher(self) -> str:
        return f'192.0.2.1:0/{next(self._numbers)}'

    def _drop(self, image: HeldImage) -> None:
        del self._images[image.id]
        for one in (image, *image.snapshots):
            self._forsake(one)

    def _drop_snapshot(self, image: HeldImage, held: HeldSnapshot) -> None:
        image.snapshots.remove(held)
        self._forsake(held)

    def _detach(self, image: HeldImage) -> None:
        """Give *image* its parent's data as its own."""
        for one in (image, *(image.snapshots if image.deep_flatten else ())):
            one.data = data_of(one)
            self._forsake(one)

    def _forsake(self, child: HeldImage | HeldSnapshot) -> None:
        """End *child*'s relation: a trashed parent goes with its last."""
        if child.parent is None:
            return
        image, snapshot = child.parent
        child.parent = None
        if (
            snapshot.trashed
            and snapshot in image.snapshots
            and not self._children(snapshot)
        ):
            self._drop_snapshot(image, snapshot)

    def _children(self, snapshot: HeldSnapshot) -> list[HeldImage]:
        return [
            image
            for image in self._images.values()
            if image.half_made is None
            and any(
                one.parent and one.parent[1] is snapshot
                for one in (image, *image.snapshots)
            )
        ]

    def _noun(self, image: HeldImage) -> Image:
        return Image(
            self.fsid, image.pool, image.namespace, image.name, image.id
        )

    def _facts(self, image: HeldImage) -> ImageFacts:
        return ImageFacts(
            self._noun(image),
            image.size_bytes,
            self._noun(image.parent[0]) if image.parent else None,
            image.tag,
            image.created_at,
            image.modified_at,
            image.delivered,
            image.committed,
            image.writing,
        )

    def _snapshot_facts(
        self, image: HeldImage, held: HeldSnapshot
    ) -> SnapshotFacts:
        return SnapshotFacts(
            Snapshot(self._noun(image), held.name, held.id),
            held.size_bytes,
            image.order,
            held.protected,
            held.trashed,
            held.created_at,
        )

# SPDX-License-Identifier: Apache-2.0
"""An in-memory Ceph cluster behind the driver's interface, for unit tests.

The suite ``tests/driver_suite.py`` proves it and librbd alike. Beside the
driver's verbs it has what others do to a cluster (``add_…``, ``write``,
``watch``, ``remove_snapshot``) and what can go wrong:
:attr:`CephDouble.on_act` is told of each elementary act before and after it,
and may raise; :meth:`CephDouble.fail` makes acts fail. A watch that was open
when a test died (a ``BaseException``) stays, as a killed client's does, until
:meth:`CephDouble.expire_watches`.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import datetime
import itertools
import threading
from typing import Literal

from rbdcloner import errors
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import PoolFacts
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts

When = Literal['before', 'after']
Half = Literal['name', 'orphan', 'uncounted']
Access = Literal['none', 'read', 'write']

#: The acts that change Ceph, as ``on_act`` and ``fail`` name them.
ACTS = (
    'clone',
    'tag',
    'resize',
    'protect',
    'unprotect',
    'trash',
    'purge',
    'free_name',
)

FSID = '4c9b0a4e-30c5-4d2b-9b0b-2a6f5a1f7c11'


@dataclasses.dataclass
class _Snapshot:
    id: int
    name: str
    size_bytes: int
    data: dict[int, int]
    protected: bool = False
    trashed: bool = False


@dataclasses.dataclass
class _Image:
    pool: str
    namespace: str
    name: str
    id: str
    size_bytes: int
    order: int = 22
    parent: tuple['_Image', _Snapshot] | None = None
    clone_format: CloneFormat | None = None
    tag: str = ''
    trashed: bool = False
    created_at: datetime.datetime = dataclasses.field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC)
    )
    half_made: Half | None = None
    data: dict[int, int] = dataclasses.field(default_factory=dict)
    snapshots: list[_Snapshot] = dataclasses.field(default_factory=list)
    watchers: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class _Pool:
    access: Access = 'write'
    full: bool = False
    initialised: bool = True


@dataclasses.dataclass
class _Fault:
    error: BaseException
    times: int
    when: When


class DoubleOpenImage:
    """An image opened to write: a watch on it until it is closed."""

    def __init__(self, ceph: 'CephDouble', image: _Image) -> None:
        self._ceph = ceph
        self._image = image
        self._watcher = ceph._new_watcher()
        image.watchers.append(self._watcher)

    def facts(self) -> ImageFacts:
        return self._ceph._facts(self._image)

    def tag(self, uuid: str) -> None:
        with self._ceph._act('tag', self._image.pool, takes_space=True):
            self._image.tag = uuid

    def resize(self, size_bytes: int) -> None:
        if size_bytes == self._image.size_bytes:
            return
        with self._ceph._act('resize', self._image.pool, takes_space=True):
            self._image.size_bytes = size_bytes

    def __enter__(self) -> 'DoubleOpenImage':
        return self

    def __exit__(self, exc_type: type | None, *exc_info: object) -> None:
        if exc_type is None or issubclass(exc_type, Exception):
            self._image.watchers.remove(self._watcher)
        else:
            self._ceph._dead_watchers.add(self._watcher)


class CephDouble:
    """One cluster, reached with one key; safe to use from many threads."""

    def __init__(self, *pools: str, fsid: str = FSID) -> None:
        self.fsid = fsid
        #: Told of each elementary act, before and after it; may raise.
        self.on_act: Callable[[str, When], None] = lambda name, when: None
        self._pools = {pool: _Pool() for pool in pools or ('images', 'vms')}
        self._images: dict[str, _Image] = {}
        self._faults: dict[str, list[_Fault]] = {}
        self._dead_watchers: set[str] = set()
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    # What a test does to the cluster

    def add_pool(
        self,
        pool: str,
        access: Access = 'write',
        full: bool = False,
        initialised: bool = True,
    ) -> None:
        """Make *pool*, or change what it allows."""
        self._pools[pool] = _Pool(access, full, initialised)

    def add_image(
        self,
        pool: str,
        name: str,
        size_bytes: int,
        namespace: str = '',
        order: int = 22,
    ) -> Image:
        """Make an image as somebody else would."""
        with self._lock:
            self._refuse_name(pool, namespace, name)
            made = self._new_image(pool, namespace, name, size_bytes, order)
            return self._noun(made)

    def add_snapshot(
        self, image: Image, name: str, protected: bool = False
    ) -> Snapshot:
        """Take a snapshot of *image* as somebody else would."""
        with self._lock:
            held = self._image(image)
            snapshot = _Snapshot(
                next(self._numbers),
                name,
                held.size_bytes,
                self._data(held),
                protected,
            )
            held.snapshots.append(snapshot)
            return Snapshot(self._noun(held), name, snapshot.id)

    def remove_snapshot(self, snapshot: Snapshot) -> None:
        """Remove a snapshot as Glance would: to the trash if v2 children."""
        with self._lock:
            image, held = self._snapshot(snapshot)
            if held.protected:
                raise errors.CephRefused(act='remove', reason='protected')
            if self._children(held):
                held.trashed = True
            else:
                image.snapshots.remove(held)

    def half_clone(self, parent: Snapshot, child: Image, half: Half) -> None:
        """Leave what a client does that dies inside :meth:`clone`.

        ``name``: the name without an image; ``orphan``: an image without a
        parent; ``uncounted``: one that its parent has no child in.
        """
        with self._lock:
            self._refuse_name(child.pool, child.namespace, child.name)
            image, snapshot = self._snapshot(parent)
            made = self._new_image(
                child.pool,
                child.namespace,
                child.name,
                snapshot.size_bytes,
                image.order,
            )
            made.half_made = half
            if half == 'uncounted':
                made.parent = (image, snapshot)

    def trash_image(self, image: Image) -> None:
        """Move *image* to the trash as anybody may, whatever it has."""
        with self._lock:
            self._image(image).trashed = True

    def add_namespace(self, pool: str) -> str:
        """Make a namespace; its name."""
        return f'namespace-{next(self._numbers)}'

    def remove_image(self, image: Image) -> None:
        """Make *image* gone, with its watchers and without any question."""
        with self._lock:
            self._drop(self._image(image))

    def write(self, image: Image, offset: int, data: bytes) -> None:
        """Write *data* into *image*."""
        with self._lock:
            self._image(image).data.update(enumerate(data, start=offset))

    def read(self, image: Image, offset: int, length: int) -> bytes:
        """Read *image*, through its parents where it was not written."""
        with self._lock:
            data = self._data(self._image(image))
            return bytes(
                data.get(at, 0) for at in range(offset, offset + length)
            )

    @contextlib.contextmanager
    def watch(self, image: Image) -> Iterator[str]:
        """Hold *image* open, as a running guest does."""
        with self._lock:
            held = self._image(image)
            watcher = self._new_watcher()
            held.watchers.append(watcher)
        try:
            yield watcher
        finally:
            held.watchers.remove(watcher)

    def expire_watches(self) -> None:
        """Let the watches of dead clients end: Ceph does after 30 s."""
        with self._lock:
            for image in self._images.values():
                image.watchers = [
                    watcher
                    for watcher in image.watchers
                    if watcher not in self._dead_watchers
                ]
            self._dead_watchers.clear()

    def fail(
        self,
        act: str,
        error: BaseException,
        times: int = 1,
        when: When = 'before',
    ) -> None:
        """Make verb *act* raise *error* the next *times* it is called.

        ``when='after'``: the act is done, only its answer is lost. A verb
        that changes nothing (``open``, ``find_image``, ``find_snapshot``,
        ``children``, ``probe``) can be named too.
        """
        faults = self._faults.setdefault(act, [])
        faults.append(_Fault(error, times, when))

    def images(self, pool: str, namespace: str = '') -> dict[str, str]:
        """Return the pool's images, name → id, without its trash."""
        return {
            i.name: i.id
            for i in self._images.values()
            if (i.pool, i.namespace, i.trashed) == (pool, namespace, False)
        }

    def trashed(self, pool: str) -> dict[str, str]:
        """Return the pool's trash, id → the name that it had."""
        return {
            i.id: i.name
            for i in self._images.values()
            if i.pool == pool and i.trashed
        }

    # The driver's verbs

    def probe(self, pool: str) -> PoolFacts:
        self._raise_fault('probe', 'before')
        held = self._pools.get(pool)
        if held is None:
            return PoolFacts(pool, False, False, False, False, False)
        return PoolFacts(
            pool,
            exists=True,
            initialised=held.initialised,
            readable=held.access != 'none',
            writable=held.access == 'write',
            full=held.full,
        )

    def find_snapshot(
        self, pool: str, namespace: str, image: str, snapshot: str
    ) -> SnapshotFacts:
        with self._look('find_snapshot', pool):
            wanted = Snapshot(
                Image(self.fsid, pool, namespace, image), snapshot
            )
            parent, held = self._snapshot(wanted)
            return SnapshotFacts(
                Snapshot(self._noun(parent), held.name, held.id),
                held.size_bytes,
                parent.order,
                held.protected,
            )

    def find_image(self, image: Image) -> ImageFacts | None:
        with self._look('find_image', image.pool):
            try:
                return self._facts(self._image(image))
            except errors.RbdImageNotFound:
                return None

    def clone(
        self,
        parent: Snapshot,
        child: Image,
        clone_format: CloneFormat,
        order: int,
    ) -> None:
        with self._act('clone', child.pool, takes_space=True):
            self._require(parent.image.pool, 'read', 'clone')
            by_name = dataclasses.replace(
                parent,
                image=dataclasses.replace(parent.image, id=''),
                id=None,
            )
            image, snapshot = self._snapshot(by_name)
            if clone_format == CloneFormat.V1:
                self._refuse_v1(image, snapshot, child)
            self._refuse_name(child.pool, child.namespace, child.name)
            made = self._new_image(
                child.pool,
                child.namespace,
                child.name,
                snapshot.size_bytes,
                max(order, image.order),
            )
            made.parent = (image, snapshot)
            made.clone_format = clone_format

    def open(self, image: Image) -> DoubleOpenImage:
        with self._look('open', image.pool):
            self._require(image.pool, 'write', 'open')
            return DoubleOpenImage(self, self._image(image))

    def protect(self, snapshot: Snapshot) -> None:
        with self._act('protect', snapshot.image.pool):
            _image, held = self._snapshot(snapshot)
            held.protected = True

    def unprotect(self, snapshot: Snapshot) -> None:
        with self._act('unprotect', snapshot.image.pool):
            try:
                image, held = self._snapshot(snapshot)
            except (
                errors.RbdImageNotFound,
                errors.SnapshotNotFound,
                errors.SnapshotTrashed,
            ):
                return
            formats = {i.clone_format for i in self._children(held)}
            if held.protected and CloneFormat.V1 in formats:
                raise errors.SnapshotHasChildren(
                    pool=image.pool, image=image.name, snapshot=held.name
                )
            held.protected = False

    def children(self, snapshot: Snapshot) -> list[Image]:
        with self._look('children', snapshot.image.pool):
            return [
                self._noun(child)
                for image in self._images.values()
                for held in image.snapshots
                if (image.id, held.id) == (snapshot.image.id, snapshot.id)
                for child in self._children(held)
            ]

    def trash(self, image: Image) -> None:
        with self._act('trash', image.pool):
            held = self._image(image)
            if not held.trashed:
                self._refuse_removal(held)
                held.trashed = True

    def free_name(self, image: Image) -> None:
        with self._act('free_name', image.pool):
            known = self.images(image.pool, image.namespace)
            held = self._images.get(known.get(image.name, ''))
            if held is None:
                return
            if held.half_made != 'name':
                raise errors.RbdImageExists(pool=image.pool, image=image.name)
            del self._images[held.id]

    def purge(self, image: Image) -> None:
        with self._act('purge', image.pool):
            held = self._images.get(image.id)
            if held is None:
                return
            if not held.trashed:
                raise errors.CephRefused(
                    act=f'purge {image}', reason='it is not in the trash'
                )
            self._refuse_removal(held)
            self._drop(held)

    # What is underneath

    @contextlib.contextmanager
    def _act(
        self, name: str, pool: str, takes_space: bool = False
    ) -> Iterator[None]:
        self.on_act(name, 'before')
        self._raise_fault(name, 'before')
        with self._lock:
            self._require(pool, 'write', name)
            if takes_space and self._pools[pool].full:
                raise errors.OutOfSpace(pool=pool)
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

    def _refuse_name(self, pool: str, namespace: str, name: str) -> None:
        if name in self.images(pool, namespace):
            raise errors.RbdImageExists(pool=pool, image=name)

    def _refuse_v1(
        self, image: _Image, snapshot: _Snapshot, child: Image
    ) -> None:
        if not snapshot.protected:
            raise errors.SnapshotUnprotected(
                pool=image.pool, image=image.name, snapshot=snapshot.name
            )
        if image.namespace != child.namespace:
            raise errors.CephRefused(
                act=f'clone {child}', reason='v1 stays in one namespace'
            )

    def _refuse_removal(self, image: _Image) -> None:
        if image.watchers:
            raise errors.RbdImageInUse(
                pool=image.pool,
                image=image.name,
                watchers=list(image.watchers),
            )
        if image.snapshots:
            raise errors.RbdImageHasSnapshots(
                pool=image.pool, image=image.name
            )

    def _image(self, image: Image) -> _Image:
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

    def _snapshot(self, snapshot: Snapshot) -> tuple[_Image, _Snapshot]:
        image = self._image(snapshot.image)
        facts = {
            'pool': image.pool,
            'image': image.name,
            'snapshot': snapshot.name,
        }
        named = [
            held
            for held in image.snapshots
            if held.name == snapshot.name and snapshot.id in (None, held.id)
        ]
        for held in named:
            if not held.trashed:
                return image, held
        if named:
            raise errors.SnapshotTrashed(**facts)
        raise errors.SnapshotNotFound(**facts)

    def _new_image(
        self,
        pool: str,
        namespace: str,
        name: str,
        size_bytes: int,
        order: int,
    ) -> _Image:
        image = _Image(
            pool,
            namespace,
            name,
            f'{next(self._numbers):012x}',
            size_bytes,
            order,
        )
        self._images[image.id] = image
        return image

    def _new_watcher(self) -> str:
        return f'192.0.2.1:0/{next(self._numbers)}'

    def _drop(self, image: _Image) -> None:
        del self._images[image.id]
        if image.parent:
            parent, snapshot = image.parent
            if snapshot.trashed and not self._children(snapshot):
                parent.snapshots.remove(snapshot)

    def _children(self, snapshot: _Snapshot) -> list[_Image]:
        return [
            image
            for image in self._images.values()
            if image.parent
            and image.parent[1] is snapshot
            and image.half_made is None
        ]

    def _data(self, image: _Image) -> dict[int, int]:
        parent = image.parent[1].data if image.parent else {}
        return {**parent, **image.data}

    def _noun(self, image: _Image) -> Image:
        return Image(
            self.fsid, image.pool, image.namespace, image.name, image.id
        )

    def _facts(self, image: _Image) -> ImageFacts:
        return ImageFacts(
            self._noun(image),
            image.size_bytes,
            image.parent[0].id if image.parent else '',
            image.tag,
            image.created_at,
        )

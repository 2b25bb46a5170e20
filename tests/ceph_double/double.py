# SPDX-License-Identifier: Apache-2.0
"""The driver's verbs, done in memory; the driver says what they do."""

from collections.abc import Collection
from collections.abc import Iterable
import contextlib
import dataclasses

from rbdcloner import errors
from rbdcloner.ceph.driver import Progress
from rbdcloner.model import CloneFormat
from rbdcloner.model import Descent
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import PoolFacts
from rbdcloner.model import QemuTarget
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts
from tests.ceph_double.held import HeldImage
from tests.ceph_double.held import HeldSnapshot
from tests.ceph_double.held import data_of
from tests.ceph_double.others import Others


class DoubleOpenImage:
    """An image opened to write: a watch on it until it is closed."""

    def __init__(self, ceph: 'CephDouble', image: HeldImage) -> None:
        self._ceph = ceph
        self._image = image
        self._watcher = ceph._new_watcher()
        self._tagged = False
        image.watchers.append(self._watcher)

    def facts(self) -> ImageFacts:
        facts = self._ceph._facts(self._image)
        if self._tagged:
            return facts
        return dataclasses.replace(
            facts, tag='', delivered=False, committed=False, writing=False
        )

    def tag(self, uuid: str) -> None:
        with self._ceph._act('tag', self._image.pool, takes_space=True):
            self._image.tag, self._image.delivered = uuid, False
            self._image.committed = self._image.writing = False
        self._tagged = True

    def mark_delivered(self, uuid: str, writing: bool = False) -> None:
        pool = self._image.pool
        with self._ceph._act('mark_delivered', pool, takes_space=True):
            self._image.tag, self._image.delivered = uuid, True
            self._image.committed = False
            self._image.writing = writing
        self._tagged = True

    def mark_committed(self, uuid: str) -> None:
        pool = self._image.pool
        with self._ceph._act('mark_committed', pool, takes_space=True):
            self._image.tag, self._image.delivered = uuid, True
            self._image.committed, self._image.writing = True, False
        self._tagged = True

    def resize(self, size_bytes: int) -> None:
        if size_bytes == self._image.size_bytes:
            return
        with self._ceph._act('resize', self._image.pool, takes_space=True):
            self._image.size_bytes = size_bytes

    def write(self, blocks: Iterable[tuple[int, bytes]]) -> None:
        for offset, data in blocks:
            with self._ceph._act('write', self._image.pool, takes_space=True):
                if offset + len(data) > self._image.size_bytes:
                    raise errors.CephRefused(
                        act=f'write into {self._noun}', reason='it ends before'
                    )
                self._image.write(offset, data)

    def take_snapshot(self, name: str) -> SnapshotFacts:
        return self._ceph.take_snapshot(self._noun, name)

    def protect(self, name: str) -> None:
        self._ceph.protect(Snapshot(self._noun, name))

    @property
    def _noun(self) -> Image:
        return self._ceph._noun(self._image)

    def __enter__(self) -> 'DoubleOpenImage':
        return self

    def __exit__(self, exc_type: type | None, *exc_info: object) -> None:
        if exc_type is None or issubclass(exc_type, Exception):
            self._image.watchers.remove(self._watcher)
        else:
            self._ceph._dead_watchers.add(self._watcher)


class CephDouble(Others):
    """One cluster, reached with one key; safe to use from many threads."""

    def shut_out(self, addresses: Collection[str]) -> None:
        self._raise_fault('shut_out', 'before')
        self.refused.update(addresses)

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

    def pool_id(self, pool: str) -> int:
        with self._lock:
            if pool not in self._pools:
                raise errors.PoolNotFound(pool=pool)
            return self._pools[pool].id

    def find_snapshot(
        self, pool: str, namespace: str, image: str, snapshot: str
    ) -> SnapshotFacts:
        with self._look('find_snapshot', pool):
            wanted = Snapshot(
                Image(self.fsid, pool, namespace, image), snapshot
            )
            return self._snapshot_facts(*self._snapshot(wanted))

    def find_image(self, image: Image) -> ImageFacts | None:
        with self._look('find_image', image.pool):
            try:
                return self._facts(self._image(image))
            except errors.RbdImageNotFound:
                return None

    def find_parent(self, image: Image) -> Descent | None:
        with self._look('find_parent', image.pool):
            held = self._image(image)
            if held.parent is None or held.clone_format is None:
                return None
            facts = self._snapshot_facts(*held.parent)
            return Descent(facts, held.clone_format)

    def name_of(self, image: Image) -> str:
        with self._look('name_of', image.pool):
            held = self._images.get(image.id)
            return '' if held is None or held.trashed else held.name

    def is_trashed(self, image: Image) -> bool:
        with self._look('is_trashed', image.pool):
            trashed = image.id in self.trashed(image.pool)
            if trashed:
                self._refuse_migrating(self._images[image.id])
            return trashed

    def watchers(self, image: Image) -> list[str]:
        with self._look('watchers', image.pool):
            try:
                return sorted(self._image(image).watchers)
            except errors.RbdImageNotFound:
                return []

    def used_bytes(self, image: Image) -> int:
        with self._look('used_bytes', image.pool):
            held = self._image(image)
            used, before = 0, {}
            for one in (*held.snapshots, held):
                if isinstance(one, HeldSnapshot) and one.trashed:
                    continue
                changed = dict(one.data.items() - before.items())
                used += len(held.objects(changed)) << held.order
                before = one.data
            return used

    def qemu_target(self, image: Image) -> QemuTarget:
        options = {'driver': 'rbd', 'pool': image.pool, 'image': image.name}
        if image.namespace:
            options['namespace'] = image.namespace
        return QemuTarget(options, {})

    def images(self, pool: str) -> dict[str, str]:
        with self._look('images', pool):
            known = self.named(pool)
            return {image_id: name for name, image_id in known.items()}

    def trashed_images(self, pool: str) -> dict[str, str]:
        with self._look('trashed_images', pool):
            return self.trashed(pool)

    def snapshots(self, image: Image) -> list[SnapshotFacts]:
        with self._look('snapshots', image.pool):
            try:
                held = self._image(image)
            except errors.RbdImageNotFound:
                return []
            return [self._snapshot_facts(held, one) for one in held.snapshots]

    def notes(
        self,
        pool: str,
        prefix: str = '',
        after: str = '',
        limit: int = 100,
    ) -> dict[str, str]:
        with self._look('notes', pool):
            known = self._notes.get(pool, {})
            found = [
                name
                for name in sorted(known)
                if name > after and name.startswith(prefix)
            ]
            return {name: known[name] for name in found[:limit]}

    def strike_note(self, pool: str, name: str, text: str) -> None:
        with self._act('strike_note', pool):
            known = self._notes.get(pool, {})
            if known.get(name) == text:
                del known[name]

    def lineage_mark(self, pool: str) -> str:
        with self._look('lineage_mark', pool):
            return self._lineage_marks.get(pool, '')

    def mark_lineage(self, pool: str, before: str, mark: str) -> bool:
        with self._act('mark_lineage', pool, takes_space=True):
            if self._lineage_marks.get(pool, '') != before:
                return False
            self._lineage_marks[pool] = mark
            return True

    def create(self, image: Image, size_bytes: int) -> None:
        with self._act('create', image.pool, takes_space=True):
            self._refuse_name(image.pool, image.namespace, image.name)
            self._new_image(
                image.pool, image.namespace, image.name, size_bytes
            )

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
            if order < image.order:
                if (parent.image.id, parent.id) != (image.id, snapshot.id):
                    raise errors.SnapshotNotFound(
                        pool=image.pool, image=image.name, snapshot=parent.name
                    )
                raise errors.CephRefused(act='clone', reason='its order')
            self._refuse_name(child.pool, child.namespace, child.name)
            made = self._new_image(
                child.pool,
                child.namespace,
                child.name,
                snapshot.size_bytes,
                max(order, image.order),
            )
            made.deep_flatten = image.deep_flatten
            made.parent = (image, snapshot)
            made.clone_format = clone_format

    def open(self, image: Image) -> DoubleOpenImage:
        with self._look('open', image.pool):
            self._require(image.pool, 'write', 'open')
            return DoubleOpenImage(self, self._image_to_write(image))

    def free_name(self, image: Image) -> None:
        with self._act('free_name', image.pool):
            known = self.named(image.pool, image.namespace)
            held = self._images.get(known.get(image.name, ''))
            if held is None:
                return
            if held.half_made != 'name':
                raise errors.RbdImageExists(pool=image.pool, image=image.name)
            del self._images[held.id]

    def take_snapshot(self, image: Image, name: str) -> SnapshotFacts:
        with self._act('take_snapshot', image.pool):
            held = self._image_to_write(image)
            if held.trashed:
                raise errors.RbdImageNotFound(
                    pool=image.pool, image=image.name
                )
            found = self._by_id(held, Snapshot(image, name))
            if not found:
                self._require_space(image.pool)
                found = [self._new_snapshot(held, name)]
            return self._snapshot_facts(held, found[0])

    def remove_snapshot(self, snapshot: Snapshot) -> None:
        with self._act('remove_snapshot', snapshot.image.pool):
            try:
                image = self._image_to_write(snapshot.image)
            except errors.RbdImageNotFound:
                return
            where = {
                'pool': image.pool,
                'image': snapshot.image.name,
                'snapshot': snapshot.name,
            }
            for held in self._by_id(image, snapshot):
                if self._children(held):
                    raise errors.SnapshotHasChildren(**where)
                if held.protected:
                    raise errors.SnapshotProtected(**where)
                self._drop_snapshot(image, held)

    def rollback(self, snapshot: Snapshot) -> None:
        with self._act('rollback', snapshot.image.pool):
            image = self._image_to_write(snapshot.image)
            self._refuse_watchers(image)
            held = self._live(snapshot, self._by_id(image, snapshot))
            data = held.data if image.parent else data_of(held)
            image.data = dict(data)
            image.size_bytes = held.size_bytes

    def flatten(
        self, image: Image, progress: Progress, forced: bool = False
    ) -> None:
        with self._told('flatten'), contextlib.ExitStack() as opened:
            with self._lock:
                self._require(image.pool, 'write', 'flatten')
                held = self._image(image)
                if held.parent is None:
                    return
                self._image_to_write(image)
                if not forced:
                    self._refuse_watchers(held)
                self._require_space(image.pool)
                opened.enter_context(DoubleOpenImage(self, held))
            self._copy_up(held, progress)
            with self._lock:
                self._detach(held)

    def protect(self, snapshot: Snapshot) -> None:
        with self._act('protect', snapshot.image.pool):
            self._image_to_write(snapshot.image)
            _image, held = self._snapshot(snapshot)
            held.protected = True

    def unprotect(self, snapshot: Snapshot) -> None:
        with self._act('unprotect', snapshot.image.pool):
            try:
                self._image_to_write(snapshot.image)
                image, held = self._snapshot(snapshot)
            except (
                errors.RbdImageNotFound,
                errors.SnapshotNotFound,
                errors.SnapshotTrashed,
            ):
                return
            if self._is_held_by_v1(held):
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
            if image.id not in self._images:
                self._refuse_replaced(image)
            held = self._image_to_write(image)
            if held.trashed:
                self._refuse_replaced(image)
                return
            self._refuse_watchers(held)
            held.trashed = True

    def restore(self, image: Image) -> None:
        with self._act('restore', image.pool):
            held = self._images.get(image.id)
            if held is None or not held.trashed:
                return
            self._refuse_migrating(held)
            self._require_space(image.pool)
            self._refuse_name(image.pool, image.namespace, image.name)
            held.name, held.trashed = image.name, False

    def purge(self, image: Image) -> None:
        with self._act('purge', image.pool):
            held = self._images.get(image.id)
            if held is None:
                return
            self._refuse_migrating(held)
            if not held.trashed:
                raise errors.CephRefused(
                    act=f'purge {image}', reason='it is not in the trash'
                )
            self._refuse_watchers(held)
            if held.snapshots:
                raise errors.RbdImageHasSnapshots(
                    pool=image.pool, image=image.name
                )
            self._drop(held)

    def _refuse_v1(
        self, image: HeldImage, snapshot: HeldSnapshot, child: Image
    ) -> None:
        if not snapshot.protected:
            raise errors.SnapshotUnprotected(
                pool=image.pool, image=image.name, snapshot=snapshot.name
            )
        if image.namespace != child.namespace:
            raise errors.CephRefused(
                act=f'clone {child}', reason='v1 stays in one namespace'
            )

    def _copy_up(self, image: HeldImage, progress: Progress) -> None:
        """Tell *progress* of each object, with no lock held: it may wait."""
        total = max(1, -(-image.size_bytes >> image.order))
        for number in range(total):
            if not progress(number, total):
                raise errors.FlattenStopped(pool=image.pool, image=image.name)

# SPDX-License-Identifier: Apache-2.0
"""What others do to the double: Glance, guests, operators, and dying clients.

And what a test looks at, past the driver's verbs.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import datetime
import functools

from rbdcloner import errors
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import Snapshot
from tests.ceph_double import pages
from tests.ceph_double.cluster import Cluster
from tests.ceph_double.held import Half
from tests.ceph_double.held import HeldImage
from tests.ceph_double.held import HeldSnapshot
from tests.ceph_double.held import data_of


class Others(Cluster):
    """A cluster that others use too."""

    def add_image(
        self,
        pool: str,
        name: str,
        size_bytes: int,
        namespace: str = '',
        order: int = 22,
        deep_flatten: bool = True,
    ) -> Image:
        """Make an image as somebody else would."""
        with self._lock:
            self._refuse_name(pool, namespace, name)
            made = self._new_image(pool, namespace, name, size_bytes, order)
            made.deep_flatten = deep_flatten
            return self._noun(made)

    def add_snapshot(
        self, image: Image, name: str, protected: bool = False
    ) -> Snapshot:
        """Take a snapshot of *image* as somebody else would."""
        with self._lock:
            held = self._image(image)
            snapshot = self._new_snapshot(held, name, protected)
            return Snapshot(self._noun(held), name, snapshot.id)

    def drop_snapshot(self, snapshot: Snapshot) -> None:
        """Remove a snapshot as others may: to the trash if v2 children."""
        with self._lock:
            image = self._image(snapshot.image)
            for held in self._by_id(image, snapshot):
                self._remove_as_ceph_does(image, held)

    def glance_delete(self, image: Image, snapshot_name: str = 'snap') -> None:
        """Delete *image*, by its name, as glance_store's RBD driver does.

        It trashes what has snapshots left, and gives no thought to children.
        Written after ``_delete_image`` of glance_store 5.7.

        :raises RbdImageNotFound: where Glance takes it for deleted.
        :raises RbdImageInUse: where Glance answers 409.
        """
        with self._lock:
            by_name = Image(
                image.fsid, image.pool, image.namespace, image.name
            )
            held = self._image(by_name)
            for snapshot in self._by_id(
                held, Snapshot(by_name, snapshot_name)
            ):
                if self._is_held_by_v1(snapshot):
                    raise self._in_use(held)
                snapshot.protected = False
                self._remove_as_ceph_does(held, snapshot)
            if held.snapshots:
                held.trashed = True
            elif held.watchers:
                raise self._in_use(held)
            else:
                self._drop(held)

    def flatten_image(self, image: Image) -> None:
        """Flatten *image* as an operator may, also under a guest."""
        with self._lock:
            self._detach(self._image(image))

    def half_clone(self, parent: Snapshot, child: Image, half: Half) -> None:
        """Leave what a client does that dies inside ``clone``.

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

    def half_create(self, image: Image, size_bytes: int, half: Half) -> None:
        """Leave what a client does that dies inside ``create``: as clone."""
        with self._lock:
            self._refuse_name(image.pool, image.namespace, image.name)
            made = self._new_image(
                image.pool, image.namespace, image.name, size_bytes
            )
            made.half_made = half

    def note(self, pool: str, name: str, text: str | bytes) -> None:
        """Note a disk of *pool* as nova-compute does, who made it alone."""
        if isinstance(text, bytes):
            text = text.decode(errors='backslashreplace')
        with self._lock:
            self._notes.setdefault(pool, {})[name] = text

    def rename_image(self, image: Image, name: str) -> None:
        """Give *image* another name as anybody may."""
        with self._lock:
            self._refuse_name(image.pool, image.namespace, name)
            self._image(image).name = name

    def migrate(self, image: Image, step: str) -> None:
        """Take a step of the migration of *image* to its own pool and name.

        In the order prepare, execute, commit.
        """
        with self._lock:
            source = self._image(image)
            if step == 'prepare':
                source.trashed = source.migrating = True
                self._new_migrated(source)
            elif step == 'commit':
                target = self._image(dataclasses.replace(image, id=''))
                target.migrating = False
                del self._images[source.id]

    def _new_migrated(self, source: HeldImage) -> None:
        new = self._new_image(
            source.pool,
            source.namespace,
            source.name,
            source.size_bytes,
            source.order,
        )
        new.migrating = True
        new.parent, new.clone_format = source.parent, source.clone_format
        new.data = dict(source.data)
        new.snapshots = list(source.snapshots)
        for child in self._images.values():
            if child.parent and child.parent[0] is source:
                child.parent = (new, child.parent[1])

    def unmark_lineage(self, pool: str) -> None:
        """Let *pool* lose the mark of its lineage, as a new pool has none."""
        with self._lock:
            self._lineage_marks.pop(pool, None)

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

    def write(
        self, image: Image, offset: int, data: bytes, later_s: float = 0
    ) -> None:
        """Write *data* into *image*, by its clock so much later than now."""
        with self._lock:
            held = self._image(image)
            held.write(offset, data)
            held.modified_at += datetime.timedelta(seconds=later_s)

    def read(
        self, image: Image, offset: int, length: int, snapshot: str = ''
    ) -> bytes:
        """Read *image*, or its *snapshot*, through its parents."""
        with self._lock:
            held: HeldImage | HeldSnapshot = self._image(image)
            if snapshot:
                _, held = self._snapshot(Snapshot(image, snapshot))
            return pages.read(data_of(held), offset, length)

    @contextlib.contextmanager
    def reading(
        self, image: Image, snapshot: str = ''
    ) -> Iterator[Callable[[int, int], bytes]]:
        """Read, by offset and length, what is opened once."""
        yield functools.partial(self.read, image, snapshot=snapshot)

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

    # What a test looks at

    def named(self, pool: str, namespace: str = '') -> dict[str, str]:
        """Return the pool's images, name → id, without its trash."""
        with self._lock:
            return self._named(pool, namespace)

    def trashed(self, pool: str) -> dict[str, str]:
        """Return the pool's trash, id → the name that it had."""
        with self._lock:
            return {
                i.id: i.name
                for i in self._images.values()
                if i.pool == pool and i.trashed
            }

    def inventory(self) -> list[str]:
        """Return all that there is, sorted: ``vms/disk``, ``vms/disk@snap``.

        What lies in a trash is followed by ``(trashed)``.
        """
        with self._lock:
            found = []
            for image in self._images.values():
                name = str(self._noun(image))
                found.append(name + _mark(image))
                for held in image.snapshots:
                    path = f'{name}{_mark(image)}@{held.name}'
                    found.append(path + _mark(held))
            return sorted(found)

    def total_snapshots(self) -> int:
        """Count the snapshots of all images, those in a trash too."""
        with self._lock:
            return sum(len(i.snapshots) for i in self._images.values())

    # What is underneath

    def _is_held_by_v1(self, held: HeldSnapshot) -> bool:
        formats = {i.clone_format for i in self._children(held)}
        return held.protected and CloneFormat.V1 in formats

    def _remove_as_ceph_does(
        self, image: HeldImage, held: HeldSnapshot
    ) -> None:
        if held.protected:
            raise errors.CephRefused(act='remove', reason='protected')
        if self._children(held):
            held.trashed = True
        else:
            self._drop_snapshot(image, held)

    def _in_use(self, image: HeldImage) -> errors.RbdImageInUse:
        return errors.RbdImageInUse(
            pool=image.pool, image=image.name, watchers=sorted(image.watchers)
        )


def _mark(held: HeldImage | HeldSnapshot) -> str:
    return ' (trashed)' if held.trashed else ''

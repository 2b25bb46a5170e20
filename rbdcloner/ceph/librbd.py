# SPDX-License-Identifier: Apache-2.0
"""The driver, done by librbd: the verbs that change Ceph.

Those that look are in :mod:`.reading`.
"""

from collections.abc import Iterator
import contextlib
import errno
import time

import rbd

from rbdcloner import errors
from rbdcloner.ceph import flattening
from rbdcloner.ceph import lineage_mark
from rbdcloner.ceph import looking
from rbdcloner.ceph import notes
from rbdcloner.ceph import removing
from rbdcloner.ceph import snapshots
from rbdcloner.ceph.driver import Progress
from rbdcloner.ceph.opening import LibrbdImage
from rbdcloner.ceph.reading import Reading
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts


class LibrbdDriver(Reading):
    """One cluster, reached with one key; safe to use from many threads."""

    def strike_note(self, pool: str, name: str, text: str) -> None:
        with self._handle('strike a note', pool) as handle:
            self._permit()
            notes.strike(handle.ioctx(pool), name, text)

    def mark_lineage(self, pool: str, before: str, mark: str) -> bool:
        with self._handle('write the lineage mark', pool) as handle:
            self._permit()
            return lineage_mark.write(handle.ioctx(pool), before, mark)

    def create(self, image: Image, size_bytes: int) -> None:
        taken = errors.RbdImageExists(pool=image.pool, image=image.name)
        with self._ioctx('create', image, {errno.EEXIST: taken}) as ioctx:
            self._permit()
            rbd.RBD().create(ioctx, image.name, size_bytes, old_format=False)

    def clone(
        self,
        parent: Snapshot,
        child: Image,
        clone_format: CloneFormat,
        order: int,
    ) -> None:
        try:
            self._clone(parent, child, clone_format, order)
        except (errors.CephForbidden, errors.CephRefused):
            # librbd doesn't say which of the two it was about.
            self._refuse_parent(parent, clone_format)
            raise
        except errors.OutOfSpace:
            self._cloned_at.pop(child.pool, None)
            raise
        self._cloned_at[child.pool] = time.monotonic()

    @contextlib.contextmanager
    def open(self, image: Image) -> Iterator[LibrbdImage]:
        with (
            self._ioctx('open', image) as ioctx,
            looking.opened(ioctx, image, writable=True) as opened,
        ):
            yield LibrbdImage(
                image,
                ioctx,
                opened,
                lambda: self._has_space(image),
                self._permit,
            )

    def take_snapshot(self, image: Image, name: str) -> SnapshotFacts:
        with self._ioctx('take a snapshot of', image) as ioctx:
            self._permit()
            return snapshots.take(
                ioctx, image, name, lambda: self._has_space(image)
            )

    def remove_snapshot(self, snapshot: Snapshot) -> None:
        with (
            contextlib.suppress(errors.RbdImageNotFound),
            self._ioctx('remove a snapshot of', snapshot.image) as ioctx,
        ):
            snapshots.remove(ioctx, snapshot, self._permit)

    def rollback(self, snapshot: Snapshot) -> None:
        act = f'roll back to {snapshot}'
        with self._handle(act, snapshot.image.pool) as handle:
            self._permit()
            snapshots.rollback(handle, snapshot)

    def flatten(
        self, image: Image, progress: Progress, forced: bool = False
    ) -> None:
        with self._own_handle(f'flatten {image}', image.pool) as handle:
            flattening.flatten(handle, image, progress, forced, self._permit)

    def protect(self, snapshot: Snapshot) -> None:
        with self._opened(snapshot.image, 'protect', writable=True) as opened:
            self._permit()
            snapshots.protect(opened, snapshot)

    def unprotect(self, snapshot: Snapshot) -> None:
        image = snapshot.image
        has_children = errors.SnapshotHasChildren(
            pool=image.pool, image=image.name, snapshot=snapshot.name
        )
        answers = {errno.EBUSY: has_children}
        with (
            contextlib.suppress(errors.RbdImageNotFound),
            self._opened(image, 'unprotect', True, answers) as opened,
        ):
            self._permit()
            snapshots.unprotect(opened, snapshot)

    def trash(self, image: Image) -> None:
        with self._ioctx('trash', image) as ioctx:
            self._permit()
            removing.trash(ioctx, image)

    def restore(self, image: Image) -> None:
        with self._ioctx('restore', image) as ioctx:
            self._permit()
            removing.restore(ioctx, image)

    def purge(self, image: Image) -> None:
        with self._ioctx('purge', image) as ioctx:
            self._permit()
            removing.purge(ioctx, image)

    def free_name(self, image: Image) -> None:
        with self._ioctx('free the name', image) as ioctx:
            self._permit()
            removing.free_name(ioctx, image)

    def _clone(
        self,
        parent: Snapshot,
        child: Image,
        clone_format: CloneFormat,
        order: int,
    ) -> None:
        taken = errors.RbdImageExists(pool=child.pool, image=child.name)
        with self._handle(
            f'clone {child}', child.pool, {errno.EEXIST: taken}, clone_format
        ) as handle:
            self._permit()
            rbd.RBD().clone(
                handle.ioctx(parent.image.pool, parent.image.namespace),
                parent.image.name,
                parent.name,
                handle.ioctx(child.pool, child.namespace),
                child.name,
                order=max(order, handle.default_order),
            )

    def _refuse_parent(
        self, parent: Snapshot, clone_format: CloneFormat
    ) -> None:
        image = parent.image
        facts = self.find_snapshot(
            image.pool, image.namespace, image.name, parent.name
        )
        known = facts.snapshot
        if (parent.image.id, parent.id) != (known.image.id, known.id):
            # Of larger objects, for example.
            raise looking.no_snapshot(image, parent.name)
        if clone_format == CloneFormat.V1 and not facts.protected:
            raise errors.SnapshotUnprotected(
                pool=image.pool, image=image.name, snapshot=parent.name
            )

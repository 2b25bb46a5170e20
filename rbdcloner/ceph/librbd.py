# SPDX-License-Identifier: Apache-2.0
"""The driver's verbs, done by librbd.

Each verb opens what it needs and closes it: no two calls share an open image.
What only looks opens read-only, since an open to write is a watch.
"""

from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import errno
import time
from typing import Any

import rbd

from rbdcloner import errors
from rbdcloner.ceph import descent
from rbdcloner.ceph import flattening
from rbdcloner.ceph import looking
from rbdcloner.ceph import notes
from rbdcloner.ceph import probing
from rbdcloner.ceph import removing
from rbdcloner.ceph import snapshots
from rbdcloner.ceph.connection import Connections
from rbdcloner.ceph.connection import Handle
from rbdcloner.ceph.connection import Recorder
from rbdcloner.ceph.connection import translated
from rbdcloner.ceph.driver import Permit
from rbdcloner.ceph.driver import Progress
from rbdcloner.ceph.opening import LibrbdImage
from rbdcloner.model import CloneFormat
from rbdcloner.model import Descent
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import PoolFacts
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts

#: Longer than anybody is stopped and wakes again: a day.
_SHUT_OUT_S = 86400
#: Nobody's, by RFC 5737.
_NOBODYS_ADDRESS = '192.0.2.1:0/1'

#: So long after a clone, its pool is taken to have space.
_SPACE_PROVED_S = 1.0


class LibrbdDriver:
    """One cluster, reached with one key; safe to use from many threads."""

    def __init__(
        self,
        conffile: str,
        user: str,
        timeout_s: float,
        clone_format: CloneFormat = CloneFormat.V2,
        keyring: str = '',
        permit: Permit = lambda: None,
        recorder: Recorder | None = None,
    ) -> None:
        self._connections = Connections(
            conffile,
            user,
            timeout_s,
            clone_format,
            keyring,
            recorder,
        )
        self._permit = permit
        self._cloned_at: dict[str, float] = {}
        self._fsid = ''

    def connect(self) -> None:
        """Connect to the cluster; nothing if that is done.

        To be called after the process was forked.

        :raises CephAuthentication: the key is wrong, or there is none.
        :raises ConfigurationError: there is no configuration file.
        """
        with self._connections.use() as handle:
            self._fsid = handle.fsid

    def close(self) -> None:
        """Disconnect, once the calls in progress have ended."""
        self._connections.close()

    @property
    def fsid(self) -> str:
        return self._fsid

    def shut_out(self, addresses: Collection[str]) -> None:
        with translated('shut a client out', ''):
            self._connections.shut_out(addresses, _SHUT_OUT_S)

    def may_shut_out(self) -> bool:
        """Tell whether the key may do that, by doing it for a second.

        It is done to an address that nobody has.
        """
        try:
            with translated('shut a client out', ''):
                self._connections.shut_out([_NOBODYS_ADDRESS], 1)
        except errors.CephForbidden:
            return False
        return True

    def probe(self, pool: str) -> PoolFacts:
        with self._handle(f'probe {pool}', pool) as handle:
            return probing.probe(pool, handle)

    def find_snapshot(
        self, pool: str, namespace: str, image: str, snapshot: str
    ) -> SnapshotFacts:
        parent = Image(self.fsid, pool, namespace, image)
        with self._opened(parent, 'look at') as opened:
            return looking.snapshot_facts(parent, opened, snapshot)

    def find_image(self, image: Image) -> ImageFacts | None:
        try:
            with (
                self._ioctx('look at', image) as ioctx,
                looking.opened(ioctx, image) as opened,
            ):
                row = looking.tag(ioctx, opened.id())
                return looking.image_facts(image, opened, row)
        except errors.RbdImageNotFound:
            return None

    def find_parent(self, image: Image) -> Descent | None:
        with self._handle(f'look above {image}', image.pool) as handle:
            return descent.find(handle, image)

    def is_trashed(self, image: Image) -> bool:
        with self._ioctx('look for', image) as ioctx:
            return looking.trash_entry(ioctx, image.id) is not None

    def watchers(self, image: Image) -> list[str]:
        try:
            with self._opened(image, 'look at') as opened:
                return looking.watchers(opened)
        except errors.RbdImageNotFound:
            return []

    def used_bytes(self, image: Image) -> int:
        with self._opened(image, 'measure') as opened:
            return looking.used_bytes(opened)

    def images(self, pool: str) -> dict[str, str]:
        with self._handle('list the images', pool) as handle:
            found = rbd.RBD().list2(handle.ioctx(pool))
            return {one['id']: one['name'] for one in found}

    def snapshots(self, image: Image) -> list[SnapshotFacts]:
        try:
            with self._opened(image, 'list the snapshots of') as opened:
                return looking.snapshots(image, opened)
        except errors.RbdImageNotFound:
            return []

    def notes(
        self,
        pool: str,
        prefix: str = '',
        after: str = '',
        limit: int = 100,
    ) -> dict[str, str]:
        with self._handle('read the notes', pool) as handle:
            return notes.read(handle.ioctx(pool), prefix, after, limit)

    def strike_note(self, pool: str, name: str, text: str) -> None:
        with self._handle('strike a note', pool) as handle:
            self._permit()
            notes.strike(handle.ioctx(pool), name, text)

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
        with (
            translated(f'flatten {image}', image.pool),
            self._connections.own() as handle,
        ):
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

    def children(self, snapshot: Snapshot) -> list[Image]:
        try:
            with self._opened(
                snapshot.image, 'list the children of'
            ) as opened:
                return looking.children(self.fsid, opened, snapshot)
        except errors.RbdImageNotFound:
            return []

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
        if clone_format == CloneFormat.V1 and not facts.protected:
            raise errors.SnapshotUnprotected(
                pool=image.pool, image=image.name, snapshot=parent.name
            )

    def _has_space(self, image: Image) -> bool:
        cloned_at = self._cloned_at.get(image.pool)
        if cloned_at and time.monotonic() - cloned_at < _SPACE_PROVED_S:
            return True
        with self._handle(f'write beside {image}', image.pool) as handle:
            return probing.has_space(handle.ioctx(image.pool, image.namespace))

    @contextlib.contextmanager
    def _handle(
        self,
        act: str,
        pool: str,
        answers: Mapping[int, errors.Error] | None = None,
        clone_format: CloneFormat | None = None,
    ) -> Iterator[Handle]:
        with (
            translated(act, pool, answers),
            self._connections.use(clone_format) as handle,
        ):
            yield handle

    @contextlib.contextmanager
    def _ioctx(
        self,
        verb: str,
        image: Image,
        answers: Mapping[int, errors.Error] | None = None,
    ) -> Iterator[Any]:
        act = f'{verb} {image}'
        with self._handle(act, image.pool, answers) as handle:
            yield handle.ioctx(image.pool, image.namespace)

    @contextlib.contextmanager
    def _opened(
        self,
        image: Image,
        verb: str,
        writable: bool = False,
        answers: Mapping[int, errors.Error] | None = None,
    ) -> Iterator[Any]:
        with (
            self._ioctx(verb, image, answers) as ioctx,
            looking.opened(ioctx, image, writable) as opened,
        ):
            yield opened

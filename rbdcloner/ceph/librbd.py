# SPDX-License-Identifier: Apache-2.0
"""The driver's verbs, done by librbd.

Each verb opens what it needs and closes it: no two calls share an open image.
What only looks opens read-only, since an open to write is a watch.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import errno
import time
from typing import Any

import rbd

from rbdcloner import errors
from rbdcloner.ceph import looking
from rbdcloner.ceph import probing
from rbdcloner.ceph import removing
from rbdcloner.ceph.connection import Connections
from rbdcloner.ceph.connection import Handle
from rbdcloner.ceph.connection import translated
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import PoolFacts
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts

#: So long after a clone, its pool is taken to have space.
_SPACE_PROVED_S = 1.0


class LibrbdImage:
    """An image opened to write."""

    def __init__(
        self,
        image: Image,
        ioctx: Any,
        opened: Any,
        has_space: Callable[[], bool],
    ) -> None:
        self._image = image
        self._ioctx = ioctx
        self._opened = opened
        self._has_space = has_space
        self._tag: str | None = None

    def facts(self) -> ImageFacts:
        with self._translated('look at'):
            if self._tag is None:
                self._tag = looking.tag(self._ioctx, self._opened.id())
            return looking.image_facts(self._image, self._opened, self._tag)

    def tag(self, uuid: str) -> None:
        with self._translated('tag'):
            # Not image metadata: that is copied to clones and by "rbd cp",
            # and librbd reads the image anew after each change of it. The
            # header exists as long as we watch it.
            self._ioctx.set_xattr(
                looking.header(self._opened.id()), looking.TAG, uuid.encode()
            )
        self._tag = uuid

    def resize(self, size_bytes: int) -> None:
        with self._translated('resize'):
            if self._opened.size() == size_bytes:
                return
            # librbd resizes on a full pool, but spoils the object map then.
            # Looking at the map afterwards would cost six operations.
            if not self._has_space():
                raise errors.OutOfSpace(pool=self._image.pool)
            self._opened.resize(size_bytes)

    def _translated(self, act: str) -> contextlib.AbstractContextManager[None]:
        return translated(f'{act} {self._image}', self._image.pool)


class LibrbdDriver:
    """One cluster, reached with one key; safe to use from many threads."""

    def __init__(
        self,
        conffile: str,
        user: str,
        timeout_s: float,
        clone_format: CloneFormat = CloneFormat.V2,
        keyring: str = '',
    ) -> None:
        self._connections = Connections(
            conffile, user, timeout_s, clone_format, keyring
        )
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
                image, ioctx, opened, lambda: self._has_space(image)
            )

    def protect(self, snapshot: Snapshot) -> None:
        with self._opened(snapshot.image, 'protect', writable=True) as opened:
            facts = looking.snapshot_facts(
                snapshot.image, opened, snapshot.name
            )
            if snapshot.id not in (None, facts.snapshot.id):
                raise looking.no_snapshot(snapshot.image, snapshot.name)
            if not facts.protected:
                opened.protect_snap(snapshot.name)

    def unprotect(self, snapshot: Snapshot) -> None:
        image = snapshot.image
        has_children = errors.SnapshotHasChildren(
            pool=image.pool, image=image.name, snapshot=snapshot.name
        )
        answers = {errno.EBUSY: has_children}
        try:
            with self._opened(image, 'unprotect', True, answers) as opened:
                name = looking.live_name(opened, snapshot)
                if name and opened.is_protected_snap(name):
                    opened.unprotect_snap(name)
        except errors.RbdImageNotFound:
            return

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
            removing.trash(ioctx, image)

    def purge(self, image: Image) -> None:
        with self._ioctx('purge', image) as ioctx:
            removing.purge(ioctx, image)

    def free_name(self, image: Image) -> None:
        with self._ioctx('free the name', image) as ioctx:
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

# SPDX-License-Identifier: Apache-2.0
"""An image that is open to write, and what is done to it while it is."""

from collections.abc import Callable
from collections.abc import Iterable
import contextlib
from typing import Any

from rbdcloner import errors
from rbdcloner.ceph import looking
from rbdcloner.ceph import snapshots
from rbdcloner.ceph import writing
from rbdcloner.ceph.connection import translated
from rbdcloner.ceph.driver import Permit
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts


class LibrbdImage:
    """An image opened to write."""

    def __init__(
        self,
        image: Image,
        ioctx: Any,
        opened: Any,
        has_space: Callable[[], bool],
        permit: Permit,
    ) -> None:
        self._image = image
        self._ioctx = ioctx
        self._opened = opened
        self._has_space = has_space
        self._permit = permit
        self._tag = ''

    def facts(self) -> ImageFacts:
        with self._translated('look at'):
            return looking.image_facts(self._image, self._opened, self._tag)

    def tag(self, uuid: str) -> None:
        self._write_tag('tag', uuid + looking.MAKING)

    def mark_delivered(self, uuid: str, writing: bool = False) -> None:
        self._write_tag('mark', uuid + (looking.WRITING if writing else ''))

    def mark_committed(self, uuid: str) -> None:
        self._write_tag('mark', uuid + looking.COMMITTED)

    def resize(self, size_bytes: int) -> None:
        with self._translated('resize'):
            if self._opened.size() == size_bytes:
                return
            # librbd resizes on a full pool, but spoils the object map then.
            # Looking at the map afterwards would cost six operations.
            if not self._has_space():
                raise errors.OutOfSpace(pool=self._image.pool)
            self._permit()
            self._opened.resize(size_bytes)

    def write(self, blocks: Iterable[tuple[int, bytes]]) -> None:
        with self._translated('write into'):
            writing.write(self._image, self._opened, blocks, self._permit)

    def take_snapshot(self, name: str) -> SnapshotFacts:
        with self._translated('take a snapshot of'):
            self._permit()
            return snapshots.take_of(
                self._opened, self._image, name, self._has_space
            )

    def protect(self, name: str) -> None:
        with self._translated('protect a snapshot of'):
            self._permit()
            snapshots.protect(self._opened, Snapshot(self._image, name))

    def _write_tag(self, act: str, text: str) -> None:
        with self._translated(act):
            self._permit()
            # Not image metadata: that is copied to clones and by "rbd cp",
            # and librbd reads the image anew after each change of it. The
            # header exists as long as we watch it.
            self._ioctx.set_xattr(
                looking.header(self._opened.id()), looking.TAG, text.encode()
            )
        self._tag = text

    def _translated(self, act: str) -> contextlib.AbstractContextManager[None]:
        return translated(f'{act} {self._image}', self._image.pool)

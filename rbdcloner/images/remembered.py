# SPDX-License-Identifier: Apache-2.0
"""Glance with a short memory: threads that ask the same ask once.

An image's data never changes, but its status, owner and members may: what
was changed in Glance holds here some seconds later.
"""

from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterator
from collections.abc import MutableMapping
from concurrent import futures
import contextlib
import dataclasses
import threading
import time
from typing import Generic
from typing import TypeVar

import cachetools

from rbdcloner.images import glance
from rbdcloner.model import GlanceImage

_REMEMBERED_S = 5
_PROVED_S = 10
_SETTLED = 'active'
_REMEMBERED_IMAGES = 1024

Key = TypeVar('Key', bound=Hashable)
Value = TypeVar('Value')


class RememberingGlance:
    """A :class:`rbdcloner.images.glance.Glance` that remembers for 5 s."""

    def __init__(self, asked: glance.Glance) -> None:
        self._asked = asked
        self._images: _Memory[str, GlanceImage] = _Memory(asked.image)
        self._members: _Memory[str, frozenset[str]] = _Memory(asked.members)
        self._proved_until = 0.0

    def get(self, image_id: str, project_id: str = '') -> GlanceImage:
        """Return the image; as :meth:`Glance.get`. Errors are not kept."""
        image = self._images.get(image_id)
        if image.status != _SETTLED:
            # It may be active the next moment.
            self._images.forget(image_id)
        if not glance.needs_members(image, project_id):
            return image
        return dataclasses.replace(image, members=self._members.get(image_id))

    def look(self, image_id: str) -> GlanceImage:
        """Return the image as it is now, without members, and keep nothing.

        For who only watches: what is kept is what requests are decided by.
        """
        return self._asked.image(image_id)

    def confirm_sight(self) -> None:
        """Return if Glance shows every project's images, now or 10 s ago.

        As :meth:`Glance.confirm_sight`; errors are not kept.
        """
        asked_at = time.monotonic()
        if asked_at > self._proved_until:
            self._asked.confirm_sight()
            self._proved_until = asked_at + _PROVED_S

    def download(
        self, image_id: str
    ) -> contextlib.AbstractContextManager[Iterator[bytes]]:
        """Give the image's data; as :meth:`Glance.download`."""
        return self._asked.download(image_id)

    def copy_to(self, image_id: str, store: str) -> bool:
        """Have Glance copy the image; as :meth:`Glance.copy_to`."""
        return self._asked.copy_to(image_id, store)

    def forget(self, image_id: str) -> None:
        """Ask Glance again next time."""
        self._images.forget(image_id)
        self._members.forget(image_id)


class _Memory(Generic[Key, Value]):
    """Values for some seconds, each loaded by one thread at a time."""

    def __init__(self, load: Callable[[Key], Value]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._kept: MutableMapping[Key, Value] = cachetools.TTLCache(
            _REMEMBERED_IMAGES, _REMEMBERED_S
        )
        self._loading: dict[Key, futures.Future[Value]] = {}

    def get(self, key: Key) -> Value:
        with self._lock:
            if (kept := self._kept.get(key)) is not None:
                return kept
            others = self._loading.get(key)
            if others is None:
                mine = self._loading[key] = futures.Future()
        if others is not None:
            return others.result()
        return self._loaded(key, mine)

    def forget(self, key: Key) -> None:
        """Keep neither what is known nor what is being loaded now."""
        with self._lock:
            self._kept.pop(key, None)
            self._loading.pop(key, None)

    def _loaded(self, key: Key, mine: 'futures.Future[Value]') -> Value:
        try:
            value = self._load(key)
        except BaseException as exc:
            self._finish(key, mine)
            mine.set_exception(exc)
            raise
        self._finish(key, mine, value)
        mine.set_result(value)
        return value

    def _finish(
        self,
        key: Key,
        mine: 'futures.Future[Value]',
        value: Value | None = None,
    ) -> None:
        with self._lock:
            if self._loading.get(key) is not mine:
                return
            del self._loading[key]
            if value is not None:
                self._kept[key] = value

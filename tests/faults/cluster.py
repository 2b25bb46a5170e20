# SPDX-License-Identifier: Apache-2.0
"""A real cluster for a machine: a driver, and what others do there."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
from typing import Any

import rbd

from rbdcloner import errors
from rbdcloner.model import Image
from tests import ceph_double
from tests.faults import test_crashes
from tests.stack import reading


class Cluster(test_crashes.WatchedDriver):
    """A driver that tells of each act, before and after it."""

    def __init__(self, driver: Any, admin: Any, guest: Any) -> None:
        super().__init__(driver, admin)
        self._guest = guest
        self._guests: dict[str, Any] = {}
        self._held_open: set[Any] = set()

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._driver, name)
        if name not in ceph_double.ACTS:
            return verb

        def act(*given: Any) -> Any:
            self.on_act(name, 'before')
            answer = verb(*given)
            self.on_act(name, 'after')
            return answer

        return act

    @contextlib.contextmanager
    def reading(
        self, image: Image, snapshot: str = ''
    ) -> Iterator[Callable[[int, int], bytes]]:
        """Read, by offset and length, what is opened once."""
        with (
            self._ioctx(image.pool) as ioctx,
            reading.opened(ioctx, image.name, image.id, snapshot) as held,
        ):
            yield held.read

    @contextlib.contextmanager
    def watch(self, image: Image) -> Iterator[None]:
        """Hold *image* open to write, as another client."""
        if image.pool not in self._guests:
            self._guests[image.pool] = self._guest.open_ioctx(image.pool)
        with rbd.Image(self._guests[image.pool], image.name) as held:
            self._held_open.add(held)
            yield

    def close(self) -> None:
        for held in self._held_open:
            held.close()
        super().close()
        for ioctx in self._guests.values():
            ioctx.close()

    def flatten_image(self, image: Image) -> None:
        # Without a parent it is an invalid argument.
        with (
            self._ioctx(image.pool) as ioctx,
            rbd.Image(ioctx, **_which(image)) as held,
            contextlib.suppress(rbd.InvalidArgument),
        ):
            held.flatten()

    def remove_image(self, image: Image) -> None:
        with self._ioctx(image.pool) as ioctx:
            rbd.RBD().remove(ioctx, image.name)

    def glance_delete(self, image: Image) -> None:
        """Delete *image* as ``_delete_image`` of glance_store 5.7 does."""
        with self._ioctx(image.pool) as ioctx:
            try:
                self._drop_snapshot(ioctx, image.name)
                rbd.RBD().remove(ioctx, image.name)
            except rbd.ImageHasSnapshots:
                rbd.RBD().trash_move(ioctx, image.name)
            except rbd.ImageBusy as exc:
                raise errors.RbdImageInUse(
                    pool=image.pool, image=image.name, watchers=[]
                ) from exc
            except rbd.ImageNotFound as exc:
                raise errors.RbdImageNotFound(
                    pool=image.pool, image=image.name
                ) from exc

    def _drop_snapshot(self, ioctx: Any, name: str) -> None:
        with (
            rbd.Image(ioctx, name) as held,
            contextlib.suppress(rbd.ImageNotFound),
        ):
            with contextlib.suppress(rbd.InvalidArgument):
                held.unprotect_snap('snap')
            held.remove_snap('snap')


def _which(image: Image) -> dict[str, str]:
    return {'image_id': image.id} if image.id else {'name': image.name}

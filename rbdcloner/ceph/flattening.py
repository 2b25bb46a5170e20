# SPDX-License-Identifier: Apache-2.0
"""Flattening: a child gets its parent's data as its own.

librbd asks from a thread of its own, per object, whether to go on. What
Python raises there is lost, and then the flattening would go on unseen; so
it is kept, the flattening stopped, and raised where it was called.

It goes on without the image's object map. A client that dies in its first
write to an object leaves a map that has the object, though Ceph has not;
librbd skips what the map has, and the data would be lost with the parent
(https://tracker.ceph.com/issues/68998). Rebuilding the map does not help: it
keeps such an entry. Librbd 18.2.5 and 19.2.1 skip nothing, but it is the
librbd of a guest that flattens what the guest has open.
"""

from collections.abc import Iterator
import contextlib
import errno
from typing import Any

import rados
import rbd

from rbdcloner import errors
from rbdcloner.ceph import looking
from rbdcloner.ceph import probing
from rbdcloner.ceph.driver import Permit
from rbdcloner.ceph.driver import Progress
from rbdcloner.ceph.handle import Handle
from rbdcloner.model import Image

#: What the header of an image says that has lost these features to us.
MAPS_OFF = 'rbdcloner.maps_off'
_MAPS = rbd.RBD_FEATURE_OBJECT_MAP | rbd.RBD_FEATURE_FAST_DIFF


class _Progress:
    """What librbd calls: never raises, and is stopped only once."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.goes_on = True
        self.error: BaseException | None = None

    def __call__(self, done: int, total: int) -> int:
        if self.goes_on:
            try:
                self.goes_on = self._progress(done, total)
            except BaseException as exc:
                self.error = exc
                self.goes_on = False
        return 0 if self.goes_on else -errno.ECANCELED


def flatten(
    handle: Handle,
    image: Image,
    progress: Progress,
    forced: bool,
    permit: Permit,
) -> None:
    """Give *image* its parent's data; see the driver."""
    ioctx = handle.ioctx(image.pool, image.namespace)
    with looking.opened(ioctx, image) as opened:
        if looking.parent(image, opened) is None and not _maps_off(
            ioctx, opened
        ):
            return
        if not forced:
            looking.refuse_watchers(image, opened)
    # A guest that has no space waits for it, and we for the guest.
    if not probing.has_space(ioctx):
        raise errors.OutOfSpace(pool=image.pool)
    with looking.opened(ioctx, image, writable=True) as opened:
        if not forced:
            looking.refuse_watchers(image, opened, handle.address)
        with _without_object_map(ioctx, opened, permit):
            _flatten(image, opened, _Progress(progress))


@contextlib.contextmanager
def _without_object_map(
    ioctx: Any, opened: Any, permit: Permit
) -> Iterator[None]:
    """Take the object map away, and make it anew in the end.

    Whoever dies meanwhile leaves a note in the header for who comes next.
    """
    header = looking.header(opened.id())
    permit()
    if maps := opened.features() & _MAPS:
        ioctx.set_xattr(header, MAPS_OFF, b'%d' % maps)
        opened.update_features(maps, False)
    try:
        yield
    finally:
        if maps := _maps_off(ioctx, opened):
            permit()
            opened.update_features(maps, True)
            opened.rebuild_object_map()
            ioctx.rm_xattr(header, MAPS_OFF)


def _maps_off(ioctx: Any, opened: Any) -> int:
    try:
        return int(ioctx.get_xattr(looking.header(opened.id()), MAPS_OFF))
    except (rados.NoData, rados.ObjectNotFound):
        return 0


def _flatten(image: Image, opened: Any, progress: _Progress) -> None:
    with _stoppable(image, progress):
        try:
            opened.flatten(on_progress=progress)
        except rbd.InvalidArgument:
            # So it says too of what has no parent any more.
            if looking.parent(image, opened) is not None:
                raise


@contextlib.contextmanager
def _stoppable(image: Image, progress: _Progress) -> Iterator[None]:
    try:
        yield
    except rbd.OperationCanceled as exc:
        if progress.goes_on:
            raise
        if progress.error is None:
            raise errors.FlattenStopped(
                pool=image.pool, image=image.name
            ) from exc
    if progress.error is not None:
        raise progress.error

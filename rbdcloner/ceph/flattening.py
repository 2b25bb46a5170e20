# SPDX-License-Identifier: Apache-2.0
"""Flattening: a child gets its parent's data as its own.

librbd asks from a thread of its own, per object, whether to go on. What
Python raises there is lost, and then the flattening would go on unseen; so
it is kept, the flattening stopped, and raised where it was called.
"""

from collections.abc import Iterator
import contextlib
import errno
from typing import Any

import rbd

from rbdcloner import errors
from rbdcloner.ceph import looking
from rbdcloner.ceph import probing
from rbdcloner.ceph.connection import Handle
from rbdcloner.ceph.driver import Progress
from rbdcloner.model import Image


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
    handle: Handle, image: Image, progress: Progress, forced: bool
) -> None:
    """Give *image* its parent's data; see the driver."""
    ioctx = handle.ioctx(image.pool, image.namespace)
    with looking.opened(ioctx, image) as opened:
        if looking.parent(image, opened) is None:
            return
        if not forced:
            looking.refuse_watchers(image, opened)
    # A guest that has no space waits for it, and we for the guest.
    if not probing.has_space(ioctx):
        raise errors.OutOfSpace(pool=image.pool)
    with looking.opened(ioctx, image, writable=True) as opened:
        if not forced:
            looking.refuse_watchers(image, opened, handle.address)
        _flatten(image, opened, _Progress(progress))


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

# SPDX-License-Identifier: Apache-2.0
"""A file of the compute host into an image that a manager made for it."""

import collections
from collections.abc import Iterator
import os
from typing import Any

from nova import exception
import rados
import rbd

from rbdcloner.nova import rbd_utils

_BLOCK_BYTES = 4 * 2**20
_ZEROS = bytes(_BLOCK_BYTES)
#: So many blocks are on their way to Ceph at once.
_IN_FLIGHT = 8


def write(driver: rbd_utils.RBDDriver, image_id: str, path: str) -> None:
    """Write the file into the image with that RBD id, and close it.

    Where the file has nothing but zeros the image keeps its own.

    :raises StorageError: it was not written, or in part.
    """
    with open(path, 'rb') as file:
        try:
            driver.at_pool(
                lambda ioctx: _write(ioctx, image_id, file.fileno())
            )
        except (OSError, rados.Error, rbd.Error) as exc:
            raise exception.StorageError(
                reason=f'{path} was not written into {image_id}: {exc}'
            ) from exc


def _write(ioctx: Any, image_id: str, fd: int) -> None:
    under_way: collections.deque[Any] = collections.deque()
    with rbd.Image(ioctx, image_id=image_id) as image:
        for offset, data in _blocks(fd):
            if len(under_way) == _IN_FLIGHT:
                _finish(under_way.popleft())
            under_way.append(
                image.aio_write(data, offset, lambda completion: None)
            )
        while under_way:
            _finish(under_way.popleft())
        image.flush()


def _finish(completion: Any) -> None:
    completion.wait_for_complete_and_cb()
    code = completion.get_return_value()
    if code < 0:
        raise rbd.OSError('write', errno=-code)


def _blocks(fd: int) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and the data of each block that has some."""
    end = os.fstat(fd).st_size
    offset = _next_data(fd, 0, end)
    while offset < end:
        # Of one RADOS object at the most.
        data = os.pread(fd, _BLOCK_BYTES - offset % _BLOCK_BYTES, offset)
        if not data:
            return
        if data != _ZEROS[: len(data)]:
            yield offset, data
        offset = _next_data(fd, offset + len(data), end)


def _next_data(fd: int, offset: int, end: int) -> int:
    """Return where the file has data at or after *offset*, or its *end*."""
    if offset >= end:
        return end
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError:
        # ENXIO: only a hole is left.
        return end

# SPDX-License-Identifier: Apache-2.0
"""Data into an open image, several blocks at a time.

Without a cache of librbd's each block is on the disks of the cluster when it
is complete, and what did not get there is known of that block.
"""

import collections
from collections.abc import Iterable
from typing import Any

import rbd

from rbdcloner import errors
from rbdcloner.ceph.driver import Permit
from rbdcloner.model import Image

#: So many blocks are on their way to Ceph at once. Of each librbd makes a
#: copy.
_IN_FLIGHT = 8


def write(
    image: Image,
    opened: Any,
    blocks: Iterable[tuple[int, bytes]],
    permit: Permit,
) -> None:
    """Write *blocks* into an image that is open; see the interface."""
    under_way: collections.deque[Any] = collections.deque()
    # The first takes the image's lock. What waits for that while Ceph does
    # not answer is given up one after the other, each after a timeout.
    allowed = 1
    try:
        for offset, data in blocks:
            if len(under_way) == allowed:
                _finish(under_way.popleft())
                allowed = _IN_FLIGHT
            _refuse_beyond(image, opened, offset + len(data))
            permit()
            under_way.append(
                opened.aio_write(data, offset, lambda completion: None)
            )
        while under_way:
            _finish(under_way.popleft())
    finally:
        for completion in under_way:
            completion.wait_for_complete_and_cb()
    opened.flush()


def _refuse_beyond(image: Image, opened: Any, end: int) -> None:
    # librbd leaves out what is past the end, and says nothing.
    if end > opened.size():
        raise errors.CephRefused(
            act=f'write into {image}', reason=f'it ends before byte {end}'
        )


def _finish(completion: Any) -> None:
    completion.wait_for_complete_and_cb()
    code = completion.get_return_value()
    if code < 0:
        raise rbd.OSError('write', errno=-code)

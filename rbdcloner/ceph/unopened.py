# SPDX-License-Identifier: Apache-2.0
"""What RADOS says of an image that nobody had to open for it.

librbd opens an image and its parent, in more than twenty operations, before
it tells who else has the image open. Here each question is one operation on
the image's own objects. None is about an image in the trash.
"""

from concurrent import futures
import struct
from typing import Any

import rados
import rbd

from rbdcloner.ceph.looking import header

#: Where a pool has the names of its images.
_DIRECTORY = 'rbd_directory'

# Of the image, not of a snapshot; without those that a reader may ignore.
_HEAD = struct.pack('<QB', 2**64 - 2, 0)

# RADOS knows whole seconds.
_ANSWERS_WITHIN_MS = 1000
_ENDS_WITHIN_S = 3


def name(ioctx: Any, image_id: str) -> str:
    """Return the name of an image, empty if there is no such image."""
    asked = struct.pack('<I', len(image_id)) + image_id.encode()
    try:
        answer = _call(ioctx, _DIRECTORY, 'dir_get_name', asked)
    except rados.ObjectNotFound:
        return ''
    return answer[4:].decode()


def is_bound(ioctx: Any, image_id: str) -> bool:
    """Tell whether the image belongs to a group or is being migrated.

    :raises rados.ObjectNotFound: there is no such image.
    """
    of = header(image_id)
    (operations,) = struct.unpack('<Q', _call(ioctx, of, 'op_features_get'))
    (features, _incompatible) = struct.unpack(
        '<QQ', _call(ioctx, of, 'get_features', _HEAD)
    )
    return bool(
        operations & rbd.RBD_OPERATION_FEATURE_GROUP
        or features & rbd.RBD_FEATURE_MIGRATING
    )


def may_be_open(ioctx: Any, image_id: str) -> bool:
    """Tell whether anybody may have the image open to write.

    That nobody has is certain: RADOS names all who watch the header, or who
    did not answer. Whoever has it open is told that the header changed, and
    reads it again. Who is stopped, or was killed lately, is waited for, 1 s.
    """
    answer: futures.Future[tuple[int, Any, Any]] = futures.Future()
    ioctx.aio_notify(
        header(image_id),
        lambda _, *said: answer.set_result(said),
        # Empty, librbd and the kernel take it for a change of the header.
        timeout_ms=_ANSWERS_WITHIN_MS,
    )
    try:
        result, heard, silent = answer.result(_ENDS_WITHIN_S)
    except futures.TimeoutError:
        return True
    return result != 0 or bool(heard or silent)


def _call(ioctx: Any, key: str, method: str, data: bytes = b'') -> bytes:
    return bytes(ioctx.execute(key, 'rbd', method, data)[1])

# SPDX-License-Identifier: Apache-2.0
"""The index of a pool's trash, read as librbd keeps it.

librbd lists it too, but Pacific's ``trash_list()`` raises IndexError for a
whole pool that has an entry with the source USER_PARENT.
"""

import struct
from typing import Any

import rados

#: Where librbd keeps a pool's trash.
OBJECT = 'rbd_trash'

#: Of the keys; the image's id follows (``trash::image_key`` of cls_rbd).
_PREFIX = 'id_'

_AT_ONCE = 500

#: Of cls_rbd's TrashImageSpec: version, compatible version, length, source
#: and the length of the name, which follows.
_HEAD = struct.Struct('<BBIBI')


def images(ioctx: Any) -> dict[str, str]:
    """Return the images in the trash, id → name; see the driver."""
    found: dict[str, str] = {}
    after = ''
    while page := _page(ioctx, after):
        found |= {
            key.removeprefix(_PREFIX): _name(value)
            for key, value in page.items()
        }
        after = max(page)
    return found


def _page(ioctx: Any, after: str) -> dict[str, bytes]:
    with rados.ReadOpCtx() as operation:
        found, _ = ioctx.get_omap_vals(operation, after, _PREFIX, _AT_ONCE)
        try:
            ioctx.operate_read_op(operation, OBJECT)
        except rados.ObjectNotFound:
            return {}
        return dict(found)


def _name(spec: bytes) -> str:
    *_, length = _HEAD.unpack_from(spec)
    name = spec[_HEAD.size : _HEAD.size + length]
    return name.decode(errors='backslashreplace')

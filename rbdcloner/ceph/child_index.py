# SPDX-License-Identifier: Apache-2.0
"""The children of a snapshot as its image's header lists them.

librbd opens the pool of each child for its name, and lists none where the key
may not read one of the pools, such as Cinder's. The header has the pools and
the ids, of the children of format 2 alone.
"""

import struct
from typing import Any

import rados

from rbdcloner.ceph import looking
from rbdcloner.ceph.handle import Handle
from rbdcloner.model import Image
from rbdcloner.model import Snapshot

#: Of each child: two versions, its length, the pool's id, the id's length.
_HEAD = struct.Struct('<BBIqI')
_LENGTH = struct.Struct('<I')


def children(handle: Handle, ioctx: Any, snapshot: Snapshot) -> list[Image]:
    """Return the children of *snapshot*, by its ids; their names are empty."""
    try:
        _, answer = ioctx.execute(
            looking.header(snapshot.image.id),
            'rbd',
            'children_list',
            struct.pack('<Q', snapshot.id),
        )
    except rados.ObjectNotFound:
        return []
    (number,), at = _LENGTH.unpack_from(answer), _LENGTH.size
    found = []
    for _ in range(number):
        _, _, length, pool_id, id_length = _HEAD.unpack_from(answer, at)
        begin = at + _HEAD.size
        child_id = answer[begin : begin + id_length].decode()
        pool = handle.pool_name(pool_id)
        found.append(Image(handle.fsid, pool, '', '', child_id))
        # The length counts from after itself.
        at += 2 + _LENGTH.size + length
    return found

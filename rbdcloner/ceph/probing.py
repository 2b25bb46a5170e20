# SPDX-License-Identifier: Apache-2.0
"""What a key may do with a pool, found by acting on an object of our own."""

import dataclasses
import errno
from typing import Any
import uuid

import rados
import rbd

from rbdcloner import errors
from rbdcloner.ceph import trash_index
from rbdcloner.ceph.handle import Handle
from rbdcloner.model import PoolFacts

#: Beside the images' objects; removed at once.
_OBJECT = 'rbdcloner.probe'

_DATA_POOL = 'rbd_default_data_pool'


def probe(pool: str, handle: Handle) -> PoolFacts:
    """Find out what this key can do with *pool*."""
    try:
        facts = _probe(pool, handle.ioctx(pool))
    except (errors.PoolNotFound, rados.ObjectNotFound):
        return PoolFacts(pool, False, False, False, False, False)
    data_pool = _data_pool(handle, pool) if facts.readable else ''
    if data_pool in ('', pool):
        return facts
    usable = _may_use(handle, data_pool)
    return dataclasses.replace(facts, data_pool=data_pool, data_usable=usable)


def _data_pool(handle: Handle, pool: str) -> str:
    """Return where librbd puts the data of *pool*'s new images."""
    try:
        own = rbd.RBD().config_get(handle.ioctx(pool), _DATA_POOL)
    except KeyError:
        return handle.default_data_pool
    return str(own)


def _may_use(handle: Handle, pool: str) -> bool:
    """Tell whether images can have their data in *pool*, and lose it.

    Without caps there an image is made, and its data never goes.
    """
    try:
        ioctx = handle.ioctx(pool)
        has_space(ioctx)
        return _may_read(ioctx)
    except (
        errors.PoolNotFound,
        rados.ObjectNotFound,
        rados.PermissionError,
        rados.PermissionDeniedError,
    ):
        return False


def _probe(pool: str, ioctx: Any) -> PoolFacts:
    initialised = 'rbd' in ioctx.application_list()
    readable, writable, full = _may_read(ioctx), True, False
    try:
        full = not has_space(ioctx)
        if not full:
            _make_trash(ioctx)
    except (rados.PermissionError, rados.PermissionDeniedError):
        writable = False
    return PoolFacts(pool, True, initialised, readable, writable, full)


def has_space(ioctx: Any) -> bool:
    """Tell whether the pool takes one object more, by writing one."""
    # A full pool refuses only what adds to it: it must be a new object.
    name = f'{_OBJECT}.{uuid.uuid4()}'
    try:
        ioctx.write_full(name, b'probe')
    except rados.OSError as exc:
        if exc.errno in (errno.EDQUOT, errno.ENOSPC):
            return False
        raise
    ioctx.remove_object(name)
    return True


def _may_read(ioctx: Any) -> bool:
    try:
        ioctx.stat(_OBJECT)
    except rados.ObjectNotFound:
        return True
    except (rados.PermissionError, rados.PermissionDeniedError):
        return False
    return True


def _make_trash(ioctx: Any) -> None:
    # Without this object nothing can be moved to the trash of a full pool.
    with rados.WriteOpCtx() as operation:
        operation.new(rados.LIBRADOS_CREATE_IDEMPOTENT)
        ioctx.operate_write_op(operation, trash_index.OBJECT)

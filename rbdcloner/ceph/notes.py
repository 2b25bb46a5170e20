# SPDX-License-Identifier: Apache-2.0
"""What nova-compute notes of the disks that it made while nobody answered.

An omap holds them, one to a disk's name: notes of many hosts at once do not
get in each other's way, and each is removed for itself.
"""

import contextlib
import errno
from typing import Any

import rados

OBJECT = 'rbdcloner.unadopted'


def read(ioctx: Any, prefix: str, after: str, limit: int) -> dict[str, str]:
    """Return notes by names; see the driver."""
    found = _values(ioctx, prefix, after, limit)
    return {name: _text(value) for name, value in found.items()}


def strike(ioctx: Any, name: str, text: str) -> None:
    """Remove a note that still says *text*; see the driver."""
    value = _values(ioctx, name, '', 1).get(name)
    if value is None or _text(value) != text:
        return
    with rados.WriteOpCtx() as operation:
        if value.isascii():
            # As JSON is; rados cannot compare with anything else.
            operation.omap_cmp(name, text)
        ioctx.remove_omap_keys(operation, (name,))
        with contextlib.suppress(rados.ObjectNotFound):
            _unless_changed(ioctx, operation)


def _unless_changed(ioctx: Any, operation: Any) -> None:
    try:
        ioctx.operate_write_op(operation, OBJECT)
    except rados.Error as exc:
        if exc.errno != errno.ECANCELED:
            raise


def _values(
    ioctx: Any, prefix: str, after: str, limit: int
) -> dict[str, bytes]:
    with rados.ReadOpCtx() as operation:
        found, _ = ioctx.get_omap_vals(operation, after, prefix, limit)
        try:
            ioctx.operate_read_op(operation, OBJECT)
        except rados.ObjectNotFound:
            return {}
        # One that is empty comes as None.
        return {name: value or b'' for name, value in found}


def _text(value: bytes) -> str:
    return value.decode(errors='backslashreplace')

# SPDX-License-Identifier: Apache-2.0
"""Which lineage a pool belongs to, kept in the pool itself.

A key in the omap of an object of its own. Compared and written in one
operation: a key that is missing compares as empty, and so does one of an
object that the operation has just made (``PrimaryLogPG``, OMAPCMP).
"""

import errno
from typing import Any

import rados

OBJECT = 'rbdcloner.lineage'
_KEY = 'mark'


def read(ioctx: Any) -> str:
    """Return the mark, empty without one; see the driver."""
    with rados.ReadOpCtx() as operation:
        found, _ = ioctx.get_omap_vals_by_keys(operation, (_KEY,))
        try:
            ioctx.operate_read_op(operation, OBJECT)
        except rados.ObjectNotFound:
            return ''
        # One that is empty comes as None.
        values = [value or b'' for _name, value in found]
    return ''.join(each.decode(errors='backslashreplace') for each in values)


def write(ioctx: Any, before: str, mark: str) -> bool:
    """Replace the mark *before*; see the driver."""
    with rados.WriteOpCtx() as operation:
        operation.new(rados.LIBRADOS_CREATE_IDEMPOTENT)
        operation.omap_cmp(_KEY, before)
        ioctx.set_omap(operation, (_KEY,), (mark,))
        try:
            ioctx.operate_write_op(operation, OBJECT)
        except rados.Error as exc:
            if exc.errno != errno.ECANCELED:
                raise
            return False
    return True

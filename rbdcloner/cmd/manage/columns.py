# SPDX-License-Identifier: Apache-2.0
"""How values are shown: short to persons, whole to programs."""

from collections.abc import Callable
from collections.abc import Sequence
import datetime
from typing import Any

from cliff import columns

from rbdcloner.model import Clone
from rbdcloner.model import Parent

_UNITS = ('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')
_SHORT = 8
_FEW = 3


class Size(columns.FormattableColumn[int]):
    """Bytes; to persons in the largest fitting unit."""

    def human_readable(self) -> str:
        """Return the size with at most two decimals."""
        return size(self._value)


class Identity(columns.FormattableColumn[str]):
    """A uuid; to persons only its beginning."""

    def human_readable(self) -> str:
        """Return enough to tell it from its neighbours."""
        return self._value[:_SHORT]


class Counted(columns.FormattableColumn[int | None]):
    """Bytes that somebody counts, or has not yet: null to programs."""

    def human_readable(self) -> str:
        """Return the size, or a question mark."""
        return '?' if self._value is None else size(self._value)


class Names(columns.FormattableColumn[list[str]]):
    """Names; to persons the first few."""

    def human_readable(self) -> str:
        """Return some, and how many more there are."""
        return few(self._value)


def few(names: Sequence[str]) -> str:
    """Return some of *names* for a person, and how many more there are."""
    more = len(names) - _FEW
    text = ', '.join(names[:_FEW])
    return f'{text} and {more} more' if more > 0 else text


def size(size_bytes: int) -> str:
    """Return *size_bytes* for a person: ``1.5 GiB``."""
    value, power = float(size_bytes), 0
    while value >= 1024 and power < len(_UNITS) - 1:
        value, power = value / 1024, power + 1
    return f'{value:.2f}'.rstrip('0').rstrip('.') + f' {_UNITS[power]}'


def moment(when: datetime.datetime | None) -> str:
    """Return a time of the database, which is UTC, as ISO 8601 has it."""
    if when is None:
        return ''
    return f'{when.replace(tzinfo=None).isoformat(timespec="seconds")}Z'


def duration(time: datetime.timedelta) -> str:
    """Return how long *time* is, for a person: ``2.1 s``, ``3 min``."""
    seconds = max(0.0, time.total_seconds())
    if seconds < 10:
        return f'{seconds:.1f} s'
    for unit, length in (('d', 86400), ('h', 3600), ('min', 60)):
        if seconds >= 2 * length:
            return f'{seconds / length:.0f} {unit}'
    return f'{seconds:.0f} s'


def _of_parent(get: Callable[[Parent], Any]) -> Callable[[Clone], Any]:
    """Return *get*, of a clone's parent; nothing where it has none."""
    return lambda clone: get(clone.parent) if clone.parent else ''


_PARENT: dict[str, Callable[[Parent], Any]] = {
    'id': lambda parent: parent.id,
    'pool': lambda parent: parent.snapshot.image.pool,
    'namespace': lambda parent: parent.snapshot.image.namespace,
    'image': lambda parent: parent.snapshot.image.name,
    'image_id': lambda parent: parent.snapshot.image.id,
    'snapshot': lambda parent: parent.snapshot.name,
    'snapshot_id': lambda parent: parent.snapshot.id or '',
    'size_bytes': lambda parent: Size(parent.size_bytes),
    'state': lambda parent: str(parent.state),
    'protector': lambda parent: str(parent.protector),
    'purpose': lambda parent: str(parent.purpose),
}

#: What a list shows to persons.
BRIEF: dict[str, Callable[[Clone], Any]] = {
    'ID': lambda clone: clone.id,
    'Disk': lambda clone: str(clone.image),
    'Kind': lambda clone: str(clone.kind),
    'State': lambda clone: str(clone.state),
    'Size': lambda clone: Size(clone.size_bytes),
    'Parent': lambda clone: str(clone.parent.snapshot if clone.parent else ''),
    'Instance': lambda clone: Identity(clone.instance_uuid),
    'Project': lambda clone: Identity(clone.project_id),
    'Host': lambda clone: clone.host,
    'Created': lambda clone: moment(clone.created_at),
}

#: Everything that is recorded of a clone and of its parent.
FULL: dict[str, Callable[[Clone], Any]] = {
    'id': lambda clone: clone.id,
    'uuid': lambda clone: clone.uuid,
    'name': lambda clone: clone.image.name,
    'fsid': lambda clone: clone.image.fsid,
    'pool': lambda clone: clone.image.pool,
    'namespace': lambda clone: clone.image.namespace,
    'image_id': lambda clone: clone.image.id,
    'size_bytes': lambda clone: Size(clone.size_bytes),
    'clone_format': lambda clone: int(clone.clone_format),
    'state': lambda clone: str(clone.state),
    'reason': lambda clone: clone.reason,
    'glance_image_id': lambda clone: clone.glance_image_id,
    'instance_uuid': lambda clone: clone.instance_uuid,
    'project_id': lambda clone: clone.project_id,
    'host': lambda clone: clone.host,
    'kind': lambda clone: str(clone.kind),
    **{f'parent_{name}': _of_parent(get) for name, get in _PARENT.items()},
    'attached': lambda clone: clone.attached,
    'rollback_to': lambda clone: clone.rollback_to or '',
    'held_bytes': lambda clone: Counted(clone.held_bytes),
    'attempts': lambda clone: clone.attempts,
    'retry_at': lambda clone: moment(clone.retry_at),
    'owner': lambda clone: clone.owner,
    'fence': lambda clone: clone.fence,
    'lease_expires_at': lambda clone: moment(clone.lease_expires_at),
    'created_at': lambda clone: moment(clone.created_at),
    'updated_at': lambda clone: moment(clone.updated_at),
}

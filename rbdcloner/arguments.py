# SPDX-License-Identifier: Apache-2.0
"""What a caller may send: types, ranges and names, checked before any work."""

from collections.abc import Mapping
import dataclasses
import re
from typing import Any

from oslo_utils import uuidutils

from rbdcloner import errors
from rbdcloner.model import DiskRequest
from rbdcloner.model import Filters
from rbdcloner.model import Kind
from rbdcloner.states import State

#: librbd's object map holds no more objects (cls_rbd_types.h,
#: MAX_OBJECT_MAP_OBJECT_COUNT); 4 MiB is the default object.
MAX_SIZE_BYTES = 256_000_000 * 4 * 2**20

#: As wide as the columns of the lineage database.
MAX_NAME = 255
MAX_POOL_NAME = 128

#: Four names, every character of which may be quoted.
MAX_LOCATION = 4096

MAX_PAGE = 1000

#: Whether an image that cannot be cloned is imported.
NEVER, ALLOWED = IMPORTS = ('never', 'allowed')

_NAME = re.compile(
    r'[^/@\s\x00-\x1f\x7f](?:[^/@\x00-\x1f\x7f]*[^/@\s\x00-\x1f\x7f])?'
)


def text(argument: str, value: Any, *, empty: bool = False) -> str:
    """Return *value*, a string of at most 255 printable characters."""
    if not isinstance(value, str):
        raise _invalid(argument, f'a string, not {type(value).__name__}')
    if not value and not empty:
        raise _invalid(argument, 'not empty')
    if len(value) > MAX_NAME:
        raise _invalid(argument, f'at most {MAX_NAME} characters')
    if not value.isprintable():
        raise _invalid(argument, 'printable')
    return value


def name(argument: str, value: Any) -> str:
    """Return *value*, fit to be the name of an RBD image."""
    if not _NAME.fullmatch(text(argument, value)):
        raise _invalid(argument, 'without "/", "@" and blanks at its ends')
    return value


def pool(value: Any, argument: str = 'pool') -> str:
    """Return *value*, fit to be the name of a pool."""
    if len(name(argument, value)) > MAX_POOL_NAME:
        raise _invalid(argument, f'at most {MAX_POOL_NAME} characters')
    return value


def uuid(argument: str, value: Any) -> str:
    """Return *value*, a UUID, as it is written."""
    if not uuidutils.is_uuid_like(text(argument, value)):
        raise _invalid(argument, 'a UUID')
    return value


def location(argument: str, value: Any) -> str:
    """Return *value*, a printable url; what it means is not looked at."""
    if not isinstance(value, str) or not value.isprintable():
        raise _invalid(argument, 'a printable string')
    if not 0 < len(value) <= MAX_LOCATION:
        raise _invalid(argument, f'of 1 to {MAX_LOCATION} characters')
    return value


def disk_snapshot(
    pool_name: Any, disk: Any, snapshot: Any
) -> tuple[str, str, str]:
    """Return the checked names of a pool, a disk and its snapshot."""
    return pool(pool_name), name('name', disk), name('snapshot', snapshot)


def whole(argument: str, value: Any, least: int, most: int) -> int:
    """Return *value*, an integer from *least* to *most*."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _invalid(argument, f'an integer, not {type(value).__name__}')
    if not least <= value <= most:
        raise _invalid(argument, f'from {least} to {most}')
    return value


def flag(argument: str, value: Any) -> bool:
    """Return *value*, true or false."""
    if not isinstance(value, bool):
        raise _invalid(argument, f'a boolean, not {type(value).__name__}')
    return value


def size(value: Any) -> int:
    """Return *value*, a disk's size in bytes."""
    return whole('size_bytes', value, 1, MAX_SIZE_BYTES)


def disk_request(**given: Any) -> DiskRequest:
    """Return the checked request of ``create_disk``."""
    imports = given.pop('import_')
    if imports not in IMPORTS:
        raise _invalid('import_', 'one of ' + ', '.join(IMPORTS))
    request = _request(uuid('image_id', given.pop('image_id')), given)
    return dataclasses.replace(request, imports=imports == ALLOWED)


def import_request(**given: Any) -> DiskRequest:
    """Return the checked request of ``begin_import``."""
    return _request('', given)


def adoption_request(**given: Any) -> DiskRequest:
    """Return the checked request of ``adopt_disk``; its size is left open."""
    image_id = given.pop('image_id')
    return _request(
        '' if image_id is None else uuid('image_id', image_id), given
    )


def _request(image_id: str, given: Mapping[str, Any]) -> DiskRequest:
    return DiskRequest(
        image_id=image_id,
        name=name('name', given['name']),
        pool=pool(given['pool']),
        size_bytes=size(given['size_bytes']) if 'size_bytes' in given else 0,
        instance_uuid=uuid('instance_uuid', given['instance_uuid']),
        project_id=text('project_id', given['project_id'], empty=True),
        host=text('host', given['host'], empty=True),
        after=given['after'],
        call=given.get('call', ''),
    )


def filters(instance_uuid: Any, parent: Any, state: Any) -> Filters:
    """Return the checked filters of ``list_disks``; ``None`` is no filter."""
    states: tuple[State, ...] = ()
    if state is not None:
        if state not in tuple(State):
            raise _invalid('state', 'one of ' + ', '.join(State))
        states = (State(state),)
    return Filters(
        instance_uuid=(
            ''
            if instance_uuid is None
            else uuid('instance_uuid', instance_uuid)
        ),
        parent_id=0 if parent is None else whole('parent', parent, 1, 2**63),
        kind=Kind.DISK,
        states=states,
    )


def _invalid(argument: str, wanted: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        argument=argument, reason=f'it must be {wanted}'
    )

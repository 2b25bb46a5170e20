# SPDX-License-Identifier: Apache-2.0
"""Which rows a command is about: those of a name, and pages of many."""

import argparse
from collections.abc import Iterator
import itertools
from typing import TextIO
from typing import TypeVar

from oslo_utils import uuidutils

from rbdcloner import errors
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Base
from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.model import Flatten
from rbdcloner.model import Kind
from rbdcloner.states import FINAL
from rbdcloner.states import LIVE
from rbdcloner.states import State

Row = TypeVar('Row', Base, Clone, Flatten)

_ROWS_AT_ONCE = 500
_LIMIT = 100


def add_page(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`limited` and a marker want."""
    parser.add_argument(
        '--limit',
        type=count,
        default=_LIMIT,
        metavar='ROWS',
        help=f'at most so many, 0: all; default: {_LIMIT}',
    )
    parser.add_argument(
        '--marker',
        type=count,
        default=0,
        metavar='ID',
        help='only rows after the one with this ID',
    )


def add_waiting(parser: argparse.ArgumentParser) -> None:
    """Add how long to wait for the managers."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        '--no-wait',
        action='store_true',
        help='return at once; the managers do it in the background',
    )
    group.add_argument(
        '--timeout',
        type=count,
        default=0,
        metavar='SECONDS',
        help='wait no longer (exit code 1); default: until it is done or '
        'refused. Ctrl-C ends the waiting, nothing else',
    )


def count(text: str) -> int:
    """Return the number, not negative, that *text* is.

    :raises ArgumentTypeError: it is none, or none that a database knows.
    """
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"not a number, or too big: '{text}'")
    return int(text)


def limited(found: Iterator[Row], limit: int, out: TextIO) -> Iterator[Row]:
    """Yield at most *limit* rows; say on *out* how to have those after them.

    All of them where *limit* is 0.
    """
    if not limit:
        yield from found
        return
    last = 0
    for row in itertools.islice(found, limit):
        last = row.id
        yield row
    if last and next(found, None):
        out.write(f'There are more: --marker {last}\n')


def rows(
    lineage: Lineage, filters: Filters, marker: int = 0
) -> Iterator[Clone]:
    """Yield every row that *filters* leave, by id, read page by page."""
    while page := lineage.page(filters, marker, _ROWS_AT_ONCE):
        yield from page
        marker = page[-1].id


def one(lineage: Lineage, disk: str, pool: str) -> Clone:
    """Return the disk of a name, else the one of a row's uuid.

    :raises DiskNotFound: there is neither.
    :raises InvalidArgument: several pools have the name.
    """
    found: dict[tuple[str, str, str], Clone] = {}
    for clone in rows(lineage, Filters(name=disk, pool=pool)):
        # By id, so that a name's live row, its newest, comes last.
        image = clone.image
        found[image.fsid, image.pool, image.namespace] = clone
    living = [clone for clone in found.values() if clone.state in LIVE]
    chosen = living or list(found.values())
    if len(chosen) > 1:
        places = ', '.join(str(clone.image) for clone in chosen)
        raise errors.InvalidArgument(
            argument=disk, reason=f'several have it ({places}); say --pool'
        )
    if not chosen:
        chosen = _of_uuid(lineage, disk, pool)
    if not chosen:
        raise errors.DiskNotFound(name=disk, pool=pool or '(any)')
    return chosen[0]


def living_below(lineage: Lineage, clone: Clone) -> Iterator[Clone]:
    """Yield the nearest living images that descend from a retired one.

    These keep it in the trash, directly or through others that are there.
    """
    if not clone.image.id:
        return
    for parent in lineage.snapshots_of(clone.image):
        attached = Filters(parent_id=parent.id, attached=True)
        for child in rows(lineage, attached):
            if child.state is State.RETIRED:
                yield from living_below(lineage, child)
            elif child.state in LIVE:
                yield child


def _of_uuid(lineage: Lineage, uuid: str, pool: str) -> list[Clone]:
    if not uuidutils.is_uuid_like(uuid):
        return []
    return lineage.page(Filters(pool=pool, uuid=uuid.lower()))


def retired(lineage: Lineage, wanted: str, pool: str) -> list[Clone]:
    """Return what lies in the trash of a Glance image, a uuid or a name.

    That is one row, but of a Glance image one for each pool that it is in.

    :raises DiskNotFound: no row has to do with *wanted*.
    :raises NotRetired: it is not in the trash.
    :raises InvalidArgument: several images in the trash had the name.
    """
    known = (
        _of_glance_image(lineage, wanted, pool)
        or _of_uuid(lineage, wanted, pool)
        or list(rows(lineage, Filters(name=wanted, pool=pool)))
    )
    if not known:
        raise errors.DiskNotFound(name=wanted, pool=pool or '(any)')
    found = [clone for clone in known if clone.state is State.RETIRED]
    if not found:
        last = known[-1]
        raise errors.NotRetired(image=str(last.image), state=last.state)
    of_one_image = all(clone.kind is not Kind.DISK for clone in found)
    places = {str(clone.image) for clone in found}
    if len(found) > (len(places) if of_one_image else 1):
        named = ', '.join(f'{one.image} {one.uuid}' for one in found)
        raise errors.InvalidArgument(
            argument=wanted, reason=f'several had it ({named}); say the uuid'
        )
    return found


def _of_glance_image(
    lineage: Lineage, glance_image_id: str, pool: str
) -> list[Clone]:
    return [
        clone
        for kind in (Kind.IMAGE, Kind.ADOPTED)
        for clone in rows(
            lineage,
            Filters(glance_image_id=glance_image_id, pool=pool, kind=kind),
        )
        if clone.state not in FINAL
    ]

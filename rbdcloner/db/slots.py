# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is, of what waits to be run in the whole cluster.

What runs has a slot, a number that no other row of its table has: as many run
at once as there are numbers to be had, whatever managers do. Who takes a row
raises its fence.
"""

from collections.abc import Callable
from collections.abc import Collection
import dataclasses
from typing import Generic
from typing import TypeVar

from oslo_db import exception
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import clock
from rbdcloner.db import workers
from rbdcloner.model import Base
from rbdcloner.model import Flatten
from rbdcloner.states import FlattenState

# Each time, another manager has taken a row or a slot.
_MAX_TRIES = 32

# Of every queue, as each calls them too.
_WANTED = FlattenState.WANTED.value
_RUNNING = FlattenState.RUNNING.value

_Row = TypeVar('_Row', bound=Flatten | Base)


@dataclasses.dataclass(frozen=True, slots=True)
class Queue(Generic[_Row]):
    """The rows of *table*, of which those running have slots.

    ``one`` returns the oldest under conditions, ``name`` what a row is about.
    """

    table: sa.Table
    one: Callable[..., _Row | None]
    name: Callable[[_Row], str]


def tried(take: Callable[[], _Row | None]) -> _Row | None:
    """Return what *take* takes, or None where others are always first."""
    for _ in range(_MAX_TRIES):
        # Each try is a transaction: one that lost holds no lock for long.
        try:
            return take()
        except errors.RowMoved:
            continue
    return None


def take(
    connection: sa.Connection,
    queue: Queue[_Row],
    owner: str,
    lease_s: float,
    limit: int,
    shut_out: Collection[str] | None,
) -> _Row | None:
    """Take the row to run next, in a free slot of 1 to *limit*.

    First those whose runner is late, then those wanted that don't pause after
    an attempt, the oldest first. None if there is none, or no slot.
    *shut_out* are the addresses that Ceph refuses of a late runner.

    :raises HolderLate: another is late, and *shut_out* was not given, or
        lacks one of its addresses.
    :raises RowMoved: another was first, with the row or with the slot.
    """
    table = queue.table
    known = _oldest(connection, queue)
    slot = known and _free_slot(connection, table, known, limit)
    if known is None or slot is None:
        return None
    if known.state == _RUNNING and known.owner != owner:
        name = queue.name(known)
        workers.refuse_late(connection, known.owner, name, shut_out)
    statement = sa.update(table).where(
        *_as_left(table, known), sa.or_(_late(table), _due(table))
    )
    statement = statement.values(
        state=_RUNNING,
        slot=slot,
        owner=owner,
        fence=table.c.fence + 1,
        lease_expires_at=clock.utc_after(lease_s),
        updated_at=clock.utc_now(),
    )
    try:
        taken = connection.execute(statement).rowcount
    except exception.DBDuplicateEntry as exc:
        raise _moved(queue, known, 'alone in its slot') from exc
    if not taken:
        raise _moved(queue, known, known.state)
    return queue.one(connection, table.c.id == known.id)


def _late(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(
        table.c.state == _RUNNING,
        table.c.lease_expires_at < clock.utc_now(),
    )


def _due(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(
        table.c.state == _WANTED,
        sa.or_(
            table.c.retry_at.is_(None), table.c.retry_at <= clock.utc_now()
        ),
    )


def _oldest(connection: sa.Connection, queue: Queue[_Row]) -> _Row | None:
    """Return the row to take next.

    The late ones come first: their slots are theirs, so that nobody has to
    take one away.
    """
    return queue.one(connection, _late(queue.table)) or queue.one(
        connection, _due(queue.table)
    )


def _free_slot(
    connection: sa.Connection, table: sa.Table, row: Flatten | Base, limit: int
) -> int | None:
    """Return a slot for *row*, its own if it has one; None if none is."""
    others = sa.select(table.c.slot).where(
        table.c.slot >= 1, table.c.id != row.id
    )
    taken = set(connection.scalars(others))
    # Slots over the limit are of a manager that knows a higher one.
    if len(taken) >= limit:
        return None
    own = [row.slot] if row.slot else []
    slots = [*own, *range(1, limit + 1)]
    return next(s for s in slots if s <= limit and s not in taken)


def _as_left(
    table: sa.Table, row: Flatten | Base
) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        table.c.id == row.id,
        table.c.state == row.state,
        table.c.fence == row.fence,
    )


def _moved(queue: Queue[_Row], row: _Row, expected: str) -> errors.RowMoved:
    return errors.RowMoved(name=queue.name(row), expected=expected)

# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is to be flattened.

A flatten that runs has a slot, a number that no other has: as many run at
once as there are numbers to be had, whatever managers do. Who takes a flatten
raises its fence.
"""

from collections.abc import Collection

from oslo_db import exception
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import clock
from rbdcloner.db import flattening
from rbdcloner.db import workers
from rbdcloner.db.tables import flattens
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import writes
from rbdcloner.model import Flatten
from rbdcloner.states import FlattenState

# Each time, another manager has taken a flatten or a slot.
_MAX_TRIES = 32


class Slots(Database):
    """How :class:`~rbdcloner.db.lineage.Lineage` hands out flattens."""

    def next_flatten(
        self,
        owner: str,
        lease_s: float,
        limit: int,
        shut_out: Collection[str] | None = None,
    ) -> Flatten | None:
        """Take a flatten to run, in a free slot of 1 to *limit*.

        First those whose runner is late, then those wanted that don't pause
        after an attempt, the oldest first. None if there is none, or no slot.
        *shut_out* are the addresses that Ceph refuses of a late runner.

        :raises HolderLate: another is late, and *shut_out* was not given, or
            lacks one of its addresses.
        """
        for _ in range(_MAX_TRIES):
            # Each try is a transaction: one that lost holds no lock for long.
            try:
                return self._next_flatten(owner, lease_s, limit, shut_out)
            except errors.RowMoved:
                continue
        return None

    @writes
    def _next_flatten(
        self,
        connection: sa.Connection,
        owner: str,
        lease_s: float,
        limit: int,
        shut_out: Collection[str] | None,
    ) -> Flatten | None:
        known = _next(connection)
        slot = known and _free_slot(connection, known, limit)
        if known is None or slot is None:
            return None
        if known.state is FlattenState.RUNNING and known.owner != owner:
            name = str(known.clone.image)
            workers.refuse_late(connection, known.owner, name, shut_out)
        statement = sa.update(flattens).where(*_as_left(known), _waits())
        statement = statement.values(
            state=FlattenState.RUNNING,
            slot=slot,
            owner=owner,
            fence=flattens.c.fence + 1,
            lease_expires_at=clock.utc_after(lease_s),
            updated_at=clock.utc_now(),
        )
        try:
            taken = connection.execute(statement).rowcount
        except exception.DBDuplicateEntry as exc:
            raise flattening.moved(known.id, 'alone in its slot') from exc
        if not taken:
            raise flattening.moved(known.id, known.state)
        return flattening.flatten_of(connection, known.id)


def _late() -> sa.ColumnElement[bool]:
    return sa.and_(
        flattens.c.state == FlattenState.RUNNING,
        flattens.c.lease_expires_at < clock.utc_now(),
    )


def _due() -> sa.ColumnElement[bool]:
    return sa.and_(
        flattens.c.state == FlattenState.WANTED,
        sa.or_(
            flattens.c.retry_at.is_(None),
            flattens.c.retry_at <= clock.utc_now(),
        ),
    )


def _waits() -> sa.ColumnElement[bool]:
    return sa.or_(_late(), _due())


def _next(connection: sa.Connection) -> Flatten | None:
    """Return the flatten to take next.

    The late ones come first: their slots are theirs, so that nobody has to
    take one away.
    """
    return flattening.one(connection, _late()) or flattening.one(
        connection, _due()
    )


def _free_slot(
    connection: sa.Connection, flatten: Flatten, limit: int
) -> int | None:
    """Return a slot for *flatten*, its own if it has one; None if none is."""
    others = sa.select(flattens.c.slot).where(
        flattens.c.slot >= 1, flattens.c.id != flatten.id
    )
    taken = set(connection.scalars(others))
    # Slots over the limit are of a manager that knows a higher one.
    if len(taken) >= limit:
        return None
    own = [flatten.slot] if flatten.slot else []
    slots = [*own, *range(1, limit + 1)]
    return next(s for s in slots if s <= limit and s not in taken)


def _as_left(flatten: Flatten) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        flattens.c.id == flatten.id,
        flattens.c.state == flatten.state,
        flattens.c.fence == flatten.fence,
    )

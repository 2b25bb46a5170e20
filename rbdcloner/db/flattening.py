# SPDX-License-Identifier: Apache-2.0
"""Which children get their parents' data as their own, and whose turn it is.

A flatten that runs has a slot, a number that no other has: as many run at
once as there are numbers to be had, whatever managers do. Who takes a flatten
raises its fence. Where a clone's row is locked too, it is locked first.
"""

from collections.abc import Sequence
from typing import Any

from oslo_db import exception
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import ancestry
from rbdcloner.db import clock
from rbdcloner.db import door
from rbdcloner.db import rows
from rbdcloner.db import tables
from rbdcloner.db.tables import clones
from rbdcloner.db.tables import flattens
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from rbdcloner.model import Clone
from rbdcloner.model import Flatten
from rbdcloner.model import FlattenReason
from rbdcloner.states import FlattenState

# Each time, another manager has taken a flatten or a slot.
_MAX_TRIES = 32

_OVER: dict[str, Any] = {'live': None, 'slot': None, 'lease_expires_at': None}


class Flattening(Database):
    """What :class:`~rbdcloner.db.lineage.Lineage` does to a flatten's row."""

    @writes
    def want_flatten(
        self,
        connection: sa.Connection,
        clone: Clone,
        why: FlattenReason,
        forced: bool = False,
    ) -> Flatten:
        """Have *clone* flattened: its WANTED or RUNNING row, or a new one.

        Once forced, it stays forced.

        :raises RowMoved: the clone is not attached.
        """
        door.keep(connection, clone, clones.c.attached == 1)
        live = (flattens.c.clone_id == clone.id, flattens.c.live == 1)
        known = _one(connection, *live)
        if known is None:
            ancestry.done(connection, _insert(clone, why, forced))
            known = _one(connection, *live)
        elif forced and not known.forced:
            here = (flattens.c.id == known.id, flattens.c.live == 1)
            statement = sa.update(flattens).where(*here).values(forced=True)
            connection.execute(statement.values(updated_at=clock.utc_now()))
            known = _one(connection, *live)
        if known is None:
            # Done or cancelled just now, after it was there.
            raise door.moved(clone)
        return known

    def next_flatten(
        self, owner: str, lease_s: float, limit: int
    ) -> Flatten | None:
        """Take a flatten to run, in a free slot of 1 to *limit*.

        First those whose runner is late, then those wanted that don't pause
        after an attempt, the oldest first. None if there is none, or no slot.
        """
        for _ in range(_MAX_TRIES):
            # Each try is a transaction: one that lost holds no lock for long.
            try:
                return self._next_flatten(owner, lease_s, limit)
            except errors.RowMoved:
                continue
        return None

    @writes
    def _next_flatten(
        self, connection: sa.Connection, owner: str, lease_s: float, limit: int
    ) -> Flatten | None:
        known = _next(connection)
        slot = known and _free_slot(connection, known, limit)
        if known is None or slot is None:
            return None
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
            raise _moved(known.id, 'alone in its slot') from exc
        if not taken:
            raise _moved(known.id, known.state)
        return _known(connection, known.id)

    @writes
    def flatten_progress(
        self,
        connection: sa.Connection,
        flatten: Flatten,
        done_objects: int,
        total_objects: int,
        lease_s: float,
    ) -> Flatten:
        """Record how far the RUNNING *flatten* is, and renew its lease.

        :raises RowMoved: it was cancelled, or another took it.
        """
        return _run_on(
            connection,
            flatten,
            done_objects=done_objects,
            total_objects=total_objects,
            lease_expires_at=clock.utc_after(lease_s),
        )

    @writes
    def flattened(
        self, connection: sa.Connection, flatten: Flatten
    ) -> Flatten:
        """Move *flatten* RUNNING → DONE; its clone is not attached any more.

        :raises RowMoved: as :meth:`flatten_progress`; then nothing changes.
        """
        door.detached(connection, flatten.clone)
        return _run_on(
            connection, flatten, state=FlattenState.DONE, reason='', **_OVER
        )

    @writes
    def put_back_flatten(
        self, connection: sa.Connection, flatten: Flatten, reason: str
    ) -> Flatten:
        """Move *flatten* RUNNING → WANTED, after a pause, longer each time.

        :raises RowMoved: as :meth:`flatten_progress`.
        """
        return _run_on(
            connection,
            flatten,
            state=FlattenState.WANTED,
            reason=reason[: tables.REASON_LENGTH],
            slot=None,
            lease_expires_at=None,
            **door.backoff(flatten.attempts),
        )

    @writes
    def cancel_flatten(
        self, connection: sa.Connection, flatten: Flatten | int, reason: str
    ) -> Flatten:
        """Move a flatten, or the one with an id, to CANCELLED.

        Nothing if it is DONE or CANCELLED.

        :raises RowMoved: it has no row.
        """
        id_ = flatten if isinstance(flatten, int) else flatten.id
        here = flattens.c.id == id_
        connection.execute(_cancelling(reason).where(here))
        return _known(connection, id_)

    @writes
    def cancel_flattens_of(
        self, connection: sa.Connection, clone: Clone, reason: str
    ) -> int:
        """Cancel what is WANTED or RUNNING for *clone*; return how many."""
        # By id: whoever else writes a row locks it by that first.
        ids = connection.scalars(
            sa.select(flattens.c.id).where(
                flattens.c.clone_id == clone.id, flattens.c.live == 1
            )
        ).all()
        here = flattens.c.id.in_(ids)
        return connection.execute(_cancelling(reason).where(here)).rowcount

    @reads
    def flattens(
        self,
        connection: sa.Connection,
        states: Sequence[FlattenState] = (),
        clone_id: int = 0,
        marker: int = 0,
        limit: int = 100,
    ) -> list[Flatten]:
        """Return flattens with id > *marker*, by id, at most *limit*.

        Those in *states* and of the clone with *clone_id*, or all.
        """
        statement = rows.FLATTENS.where(flattens.c.id > marker)
        if states:
            statement = statement.where(flattens.c.state.in_(states))
        if clone_id:
            statement = statement.where(flattens.c.clone_id == clone_id)
        statement = statement.order_by(flattens.c.id).limit(limit)
        return [rows.flatten(row) for row in connection.execute(statement)]


def _insert(clone: Clone, why: FlattenReason, forced: bool) -> sa.Insert:
    return sa.insert(flattens).values(
        clone_id=clone.id,
        why=why,
        forced=forced,
        state=FlattenState.WANTED,
        live=1,
        done_objects=0,
        total_objects=0,
        reason='',
        owner='',
        fence=0,
        attempts=0,
        created_at=clock.utc_now(),
        updated_at=clock.utc_now(),
    )


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
    return _one(connection, _late()) or _one(connection, _due())


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


def _one(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool]
) -> Flatten | None:
    statement = (
        rows.FLATTENS.where(*conditions).order_by(flattens.c.id).limit(1)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else rows.flatten(row)


def _known(connection: sa.Connection, id_: int) -> Flatten:
    known = _one(connection, flattens.c.id == id_)
    if known is None:
        raise _moved(id_, 'present')
    return known


def _as_left(flatten: Flatten) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        flattens.c.id == flatten.id,
        flattens.c.state == flatten.state,
        flattens.c.fence == flatten.fence,
    )


def _run_on(
    connection: sa.Connection, flatten: Flatten, **values: Any
) -> Flatten:
    """Write *values* into the row of *flatten*, which is still running.

    :raises RowMoved: it was cancelled, or another took it.
    """
    statement = sa.update(flattens).where(
        flattens.c.id == flatten.id,
        flattens.c.state == FlattenState.RUNNING,
        flattens.c.fence == flatten.fence,
    )
    statement = statement.values(**values, updated_at=clock.utc_now())
    if not connection.execute(statement).rowcount:
        raise _moved(flatten.id, f'running, fence {flatten.fence}')
    return _known(connection, flatten.id)


def _cancelling(reason: str) -> sa.Update:
    return (
        sa.update(flattens)
        .where(flattens.c.live == 1)
        .values(
            state=FlattenState.CANCELLED,
            reason=reason[: tables.REASON_LENGTH],
            updated_at=clock.utc_now(),
            **_OVER,
        )
    )


def _moved(id_: int, expected: str) -> errors.RowMoved:
    return errors.RowMoved(name=f'flatten {id_}', expected=expected)

# SPDX-License-Identifier: Apache-2.0
"""Which children get their parents' data as their own.

Where a clone's row is locked too, it is locked before the flatten's.
"""

from collections.abc import Collection
from collections.abc import Sequence
import dataclasses
from typing import Any

import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import ancestry
from rbdcloner.db import changing
from rbdcloner.db import clock
from rbdcloner.db import columns
from rbdcloner.db import rows
from rbdcloner.db import slots
from rbdcloner.db.tables import clones
from rbdcloner.db.tables import flattens
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from rbdcloner.model import Clone
from rbdcloner.model import Flatten
from rbdcloner.model import FlattenReason
from rbdcloner.states import FlattenState

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
        changing.keep(connection, clone, clones.c.attached == 1)
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
            raise changing.moved(clone)
        return known

    def next_flatten(
        self,
        owner: str,
        lease_s: float,
        limit: int,
        shut_out: Collection[str] | None = None,
    ) -> Flatten | None:
        """Take a flatten to run, as :func:`rbdcloner.db.slots.take`.

        :raises HolderLate: another is late, and *shut_out* was not given, or
            lacks one of its addresses.
        """
        return slots.tried(
            lambda: self._next_flatten(owner, lease_s, limit, shut_out)
        )

    @writes
    def _next_flatten(
        self,
        connection: sa.Connection,
        owner: str,
        lease_s: float,
        limit: int,
        shut_out: Collection[str] | None,
    ) -> Flatten | None:
        here = self.here(clones)
        queue = dataclasses.replace(
            _QUEUE, one=lambda *wanted: _one(*wanted, *here)
        )
        return slots.take(connection, queue, owner, lease_s, limit, shut_out)

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
        changing.detached(connection, flatten.clone)
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
            reason=reason[: columns.REASON_LENGTH],
            slot=None,
            lease_expires_at=None,
            **changing.backoff(flatten.attempts),
        )

    @writes
    def cancel_flatten(
        self, connection: sa.Connection, flatten: Flatten | int, reason: str
    ) -> Flatten:
        """Move a flatten, or the one with an id, to CANCELLED.

        Nothing if it is DONE or CANCELLED.

        :raises FlattenNotFound: it has no row.
        """
        id_ = flatten if isinstance(flatten, int) else flatten.id
        here = flattens.c.id == id_
        connection.execute(_cancelling(reason).where(here))
        return _flatten_of(connection, id_)

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


def _one(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool]
) -> Flatten | None:
    """Return the oldest flatten under *conditions*, if there is one."""
    statement = (
        rows.FLATTENS.where(*conditions).order_by(flattens.c.id).limit(1)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else rows.flatten(row)


def _flatten_of(connection: sa.Connection, id_: int) -> Flatten:
    """Return the flatten with an id.

    :raises FlattenNotFound: it has no row.
    """
    known = _one(connection, flattens.c.id == id_)
    if known is None:
        raise errors.FlattenNotFound(id=id_)
    return known


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
    return _flatten_of(connection, flatten.id)


def _cancelling(reason: str) -> sa.Update:
    return (
        sa.update(flattens)
        .where(flattens.c.live == 1)
        .values(
            state=FlattenState.CANCELLED,
            reason=reason[: columns.REASON_LENGTH],
            updated_at=clock.utc_now(),
            **_OVER,
        )
    )


def _moved(id_: int, expected: str) -> errors.RowMoved:
    """Return the error that a flatten is not as it was left."""
    return errors.RowMoved(name=f'flatten {id_}', expected=expected)


_QUEUE = slots.Queue(flattens, _one, lambda flatten: str(flatten.clone.image))

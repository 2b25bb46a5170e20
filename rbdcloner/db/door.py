# SPDX-License-Identifier: Apache-2.0
"""The one door: a row of ``clones`` is held, and moved from state to state.

A row in progress is *held* by an owner under a lease by the database's
clock. Whoever takes a row raises its fence, so that the former holder's
moves no longer match.
"""

from collections.abc import Collection
from collections.abc import Mapping
from typing import Any

from oslo_db import exception
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.db import clock
from rbdcloner.db import rows
from rbdcloner.db import tables
from rbdcloner.db import workers
from rbdcloner.db.deletions import Deletions
from rbdcloner.db.tables import clones
from rbdcloner.db.transaction import writes
from rbdcloner.model import Clone
from rbdcloner.model import Kind
from rbdcloner.states import State

#: Nobody is at work on the row, or whoever was is late.
UNHELD = sa.or_(
    clones.c.lease_expires_at.is_(None),
    clones.c.lease_expires_at < clock.utc_now(),
)

#: The pause after the last attempt is over.
DUE = sa.or_(clones.c.retry_at.is_(None), clones.c.retry_at <= clock.utc_now())

_MAX_PAUSE_S = 300


class Door(Deletions):
    """What :class:`~rbdcloner.db.lineage.Lineage` does to a clone's row."""

    @writes
    def hold(
        self,
        connection: sa.Connection,
        clone: Clone,
        owner: str,
        lease_s: float,
        shut_out: Collection[str] | None = None,
    ) -> Clone:
        """Hold the row of *clone* for *owner*, raising its fence.

        The row may have changed since *clone* was read, but for its state:
        what is returned is what it says now. *shut_out* are the addresses
        that Ceph refuses of who held the row.

        :raises DiskBusy: it is held and the lease has not run out.
        :raises HolderLate: the lease of another has run out, and *shut_out*
            was not given, or lacks one of its addresses.
        :raises RowMoved: the row is not in *clone*'s state any more.
        """
        here = (clones.c.id == clone.id, clones.c.state == clone.state)
        look = sa.select(
            clones.c.owner,
            clones.c.lease_expires_at,
            UNHELD.label('unheld'),
        ).where(*here)
        found = connection.execute(look.with_for_update()).one_or_none()
        if found is None:
            raise moved(clone)
        if not found.unheld:
            raise errors.DiskBusy(
                name=clone.image.name, pool=clone.image.pool, state=clone.state
            )
        if found.lease_expires_at is not None and found.owner != owner:
            workers.refuse_late(
                connection, found.owner, str(clone.image), shut_out
            )
        statement = sa.update(clones).where(*here)
        return _changed(
            connection, clone, statement.values(_taking(owner, lease_s))
        )

    @writes
    def renew(
        self, connection: sa.Connection, clone: Clone, lease_s: float
    ) -> Clone:
        """Have the lease of *clone* end in *lease_s* from now.

        One that has run out is renewed too, if nobody took the row.

        :raises RowMoved: state or fence are not *clone*'s any more, or the
            lease was ended.
        """
        statement = sa.update(clones).where(
            *as_left(clone), clones.c.lease_expires_at.is_not(None)
        )
        lease = {'lease_expires_at': clock.utc_after(lease_s)}
        return _changed(connection, clone, statement.values(lease))

    @writes
    def renew_all(
        self,
        connection: sa.Connection,
        fences: Mapping[int, int],
        owner: str,
        lease_s: float,
    ) -> set[int]:
        """Have *owner*'s leases end in *lease_s* from now; whose were renewed.

        *fences* are the rows' by their ids. One that has run out is renewed
        too, if nobody took the row; one that was ended is not. The rows count
        as untouched.
        """
        ours = (
            clones.c.id.in_(sorted(fences)),
            clones.c.owner == owner,
            clones.c.lease_expires_at.is_not(None),
        )
        lease = {'lease_expires_at': clock.utc_after(lease_s)}
        connection.execute(sa.update(clones).where(*ours).values(lease))
        look = sa.select(clones.c.id, clones.c.fence).where(*ours)
        return {
            row.id
            for row in connection.execute(look)
            if row.fence == fences[row.id]
        }

    @writes
    def let_go(
        self, connection: sa.Connection, clone: Clone, reason: str
    ) -> None:
        """End the lease early and note why; nothing if it was taken over.

        That was an attempt: the row waits for the next, longer each time.
        """
        statement = (
            sa.update(clones)
            .where(*as_left(clone))
            .values(
                lease_expires_at=None,
                reason=reason[: tables.REASON_LENGTH],
                updated_at=clock.utc_now(),
                **backoff(clone.attempts),
            )
        )
        connection.execute(statement)

    @writes
    def move(
        self,
        connection: sa.Connection,
        clone: Clone,
        state: State,
        *,
        owner: str = '',
        lease_s: float = 0,
        image_id: str | None = None,
        size_bytes: int | None = None,
        reason: str | None = None,
        rollback_to: int | None = None,
        after: int | None = None,
        call: str = '',
    ) -> Clone:
        """Move the row from ``clone.state`` to *state*: the one door.

        What is None stays, but that a READY one goes back to nothing. With an
        owner the row stays held by it, or is taken, which raises the fence,
        if nobody else holds it; without, the lease ends. The attempts at
        what the old state asked for are forgotten.

        :raises CreationOutdated: a later deletion than *after*, the last that
            the caller knows of, concerns the name, and is not *call*'s own.
        :raises RowMoved: state or fence are not *clone*'s any more, or
            another than *owner* holds the row.
        :raises DiskExists: *state* takes the name, which a live row has.
        """
        return self._moved(
            connection,
            clone,
            state,
            owner=owner,
            lease_s=lease_s,
            image_id=image_id,
            size_bytes=size_bytes,
            reason=reason,
            rollback_to=rollback_to,
            after=after,
            call=call,
        )

    @writes
    def note_image_id(
        self, connection: sa.Connection, clone: Clone, image_id: str
    ) -> Clone:
        """Record the child's image id, without a change of state.

        :raises RowMoved: as :meth:`move`.
        """
        statement = sa.update(clones).where(*as_left(clone))
        return _changed(connection, clone, statement.values(image_id=image_id))

    @writes
    def note_held_bytes(
        self, connection: sa.Connection, clone: Clone, held_bytes: int
    ) -> None:
        """Record what the RETIRED *clone* occupies; nothing in other states.

        Nobody need hold it, and it counts as untouched.
        """
        connection.execute(
            sa.update(clones)
            .where(clones.c.id == clone.id, clones.c.state == State.RETIRED)
            .values(held_bytes=held_bytes)
        )

    @writes
    def detach(self, connection: sa.Connection, clone: Clone) -> Clone:
        """Record that *clone* has no parent any more; repeated, nothing.

        Whoever holds the row keeps it.
        """
        detached(connection, clone)
        statement = rows.CLONES.where(clones.c.id == clone.id)
        return rows.clone_and_parent(connection.execute(statement).one())

    def _moved(
        self,
        connection: sa.Connection,
        clone: Clone,
        state: State,
        *,
        owner: str = '',
        lease_s: float = 0,
        reason: str | None = None,
        after: int | None = None,
        call: str = '',
        **changes: Any,
    ) -> Clone:
        if not states.may_follow(clone.state, state):
            raise ValueError(f'{state} may not follow {clone.state}')
        self._refuse_outdated(
            connection, clone.image, disks_instance(clone), after, call
        )
        values = _entering(state)
        conditions = as_left(clone)
        if owner and _held_by(clone, owner):
            values['lease_expires_at'] = clock.utc_after(lease_s)
        elif owner:
            values |= _taking(owner, lease_s)
            conditions += (UNHELD,)
        values |= {k: v for k, v in changes.items() if v is not None}
        if reason is not None:
            values['reason'] = reason[: tables.REASON_LENGTH]
        statement = sa.update(clones).where(*conditions).values(values)
        try:
            return _changed(connection, clone, statement)
        except exception.DBDuplicateEntry as exc:
            raise errors.DiskExists(
                name=clone.image.name, pool=clone.image.pool
            ) from exc


def disks_instance(clone: Clone) -> str:
    """Return the instance that *clone* is a disk of; empty if it is none."""
    return clone.instance_uuid if clone.kind is Kind.DISK else ''


def backoff(attempts: int) -> dict[str, Any]:
    """Return what a row says after another attempt than *attempts*."""
    # Any more would be over the limit, too, and one day no float.
    pause_s = min(2 ** min(attempts, 16), _MAX_PAUSE_S)
    return {'attempts': attempts + 1, 'retry_at': clock.utc_after(pause_s)}


def as_left(clone: Clone) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition that nobody moved or took the row of *clone*."""
    return (
        clones.c.id == clone.id,
        clones.c.state == clone.state,
        clones.c.fence == clone.fence,
    )


def keep(
    connection: sa.Connection,
    clone: Clone,
    *conditions: sa.ColumnElement[bool],
) -> None:
    """Let nobody change the row of *clone* until the transaction's end.

    :raises RowMoved: it is not under *conditions*.
    """
    look = sa.select(clones.c.id).where(clones.c.id == clone.id, *conditions)
    if connection.scalar(look.with_for_update(read=True)) is None:
        raise moved(clone)


def detached(connection: sa.Connection, clone: Clone) -> None:
    """Record that *clone* has no parent any more; repeated, nothing."""
    connection.execute(
        sa.update(clones)
        .where(clones.c.id == clone.id, clones.c.attached == 1)
        .values(attached=None, updated_at=clock.utc_now())
    )


def _entering(state: State) -> dict[str, Any]:
    values: dict[str, Any] = {
        'state': state,
        'live': 1 if state in states.LIVE else None,
        'lease_expires_at': None,
        'attempts': 0,
        'retry_at': None,
    }
    if state in states.FINAL:
        values['attached'] = None
    if state == State.READY:
        values['rollback_to'] = None
    return values


def _held_by(clone: Clone, owner: str) -> bool:
    return clone.owner == owner and clone.lease_expires_at is not None


def _taking(owner: str, lease_s: float) -> dict[str, Any]:
    return {
        'owner': owner,
        'fence': clones.c.fence + 1,
        'lease_expires_at': clock.utc_after(lease_s),
    }


def _changed(
    connection: sa.Connection, clone: Clone, statement: sa.Update
) -> Clone:
    row = _update(connection, clone, statement)
    if row is None:
        raise moved(clone)
    return rows.changed(clone, row)


def _update(
    connection: sa.Connection, clone: Clone, statement: sa.Update
) -> Any:
    # The times are the database's: they are read back, by RETURNING or, as
    # MariaDB has none for UPDATE, by a look at the row that is ours to commit.
    statement = statement.values(updated_at=clock.utc_now())
    if connection.dialect.update_returning:
        returning = statement.returning(*rows.CHANGING)
        return connection.execute(returning).one_or_none()
    if not connection.execute(statement).rowcount:
        return None
    look = sa.select(*rows.CHANGING).where(clones.c.id == clone.id)
    return connection.execute(look).one()


def moved(clone: Clone) -> errors.RowMoved:
    """Return the error that *clone* is not as it was left."""
    return errors.RowMoved(
        name=str(clone.image),
        expected=f'{clone.state}, fence {clone.fence}',
    )

# SPDX-License-Identifier: Apache-2.0
"""The one door: a row of ``clones`` is moved from state to state."""

from typing import Any

from oslo_db import exception
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.db import changing
from rbdcloner.db import clock
from rbdcloner.db import columns
from rbdcloner.db import rows
from rbdcloner.db.leases import Leases
from rbdcloner.db.tables import bases
from rbdcloner.db.tables import clones
from rbdcloner.db.transaction import writes
from rbdcloner.db.warrants import Warrants
from rbdcloner.model import Clone
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import Warrant
from rbdcloner.states import BaseState
from rbdcloner.states import State


class Door(Leases, Warrants):
    """What :class:`~rbdcloner.db.lineage.Lineage` does to a clone's row."""

    @writes
    def note_image_id(
        self, connection: sa.Connection, clone: Clone, image_id: str
    ) -> Clone:
        """Record the child's image id, without a change of state.

        :raises RowMoved: as :meth:`move`.
        """
        statement = sa.update(clones).where(*changing.as_left(clone))
        return changing.changed(
            connection, clone, statement.values(image_id=image_id)
        )

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
        changing.detached(connection, clone)
        statement = rows.CLONES.where(clones.c.id == clone.id)
        return rows.clone_and_parent(connection.execute(statement).one())

    def _moved(
        self,
        connection: sa.Connection,
        /,
        clone: Clone,
        state: State,
        *,
        owner: str = '',
        lease_s: float = 0,
        image_id: str | None = None,
        size_bytes: int | None = None,
        reason: str | None = None,
        rollback_to: int | None = None,
        retry_after_s: float | None = None,
        warrant: Warrant | None = None,
        after: int | None = None,
        call: str = '',
        done: bool | None = None,
    ) -> Clone:
        """Move the row from ``clone.state`` to *state*: the one door.

        What is None stays, but that a READY one goes back to nothing, and
        without *retry_after_s* nothing is waited for in the new state. With an
        owner the row stays held by it, or is taken, which raises the fence,
        if nobody else holds it; without, the lease ends. The attempts at
        what the old state asked for are forgotten. A base whose image is
        DELETING is DROPPED: nobody takes a child of it any more.
        The *warrant* says by whose order the image goes; UNDOING is by the
        maker's, on the evidence of *reason*. *done* says of a change of the
        disk that it is over, and whether it was made.

        :raises CreationOutdated: a later deletion than *after*, the last that
            the caller knows of, concerns the name, and is not *call*'s own.
        :raises RowMoved: state or fence are not *clone*'s any more, or
            another than *owner* holds the row.
        :raises DiskExists: *state* takes the name, which a live row has.
        """
        if not states.may_follow(clone.state, state):
            raise ValueError(f'{state} may not follow {clone.state}')
        self._refuse_outdated(
            connection, clone.image, disks_instance(clone), after, call
        )
        values = _entering(state)
        conditions = changing.as_left(clone)
        if owner and _held_by(clone, owner):
            values['lease_expires_at'] = clock.utc_after(lease_s)
        elif owner:
            values |= changing.taking(owner, lease_s)
            conditions += (changing.UNHELD,)
        changes = {
            'image_id': image_id,
            'size_bytes': size_bytes,
            'reason': reason and reason[: columns.REASON_LENGTH],
            'rollback_to': rollback_to,
        }
        values |= {k: v for k, v in changes.items() if v is not None}
        if retry_after_s is not None:
            values['retry_at'] = clock.utc_after(retry_after_s)
        statement = sa.update(clones).where(*conditions).values(values)
        try:
            moved = changing.changed(connection, clone, statement)
        except exception.DBDuplicateEntry as exc:
            raise errors.DiskExists(
                name=clone.image.name, pool=clone.image.pool
            ) from exc
        if done is not None:
            self._end_changes(connection, clone, done)
        self._record_order(connection, moved, warrant)
        if clone.kind is Kind.BASE and state is State.DELETING:
            _drop_base_of(connection, moved)
        return moved

    move = writes(_moved)

    def _record_order(
        self,
        connection: sa.Connection,
        moved: Clone,
        warrant: Warrant | None,
    ) -> None:
        if moved.state is State.UNDOING:
            warrant = warrant or Warrant(Order.UNDO, moved.reason or 'undone')
        if warrant is not None:
            self._issue(connection, moved, warrant)


def disks_instance(clone: Clone) -> str:
    """Return the instance that *clone* is a disk of; empty if it is none."""
    return clone.instance_uuid if clone.kind is Kind.DISK else ''


def _drop_base_of(connection: sa.Connection, clone: Clone) -> None:
    connection.execute(
        sa.update(bases)
        .where(bases.c.clone_id == clone.id, bases.c.state == BaseState.READY)
        .values(
            state=BaseState.DROPPED,
            live=None,
            reason=clone.reason or 'its image is removed',
            updated_at=clock.utc_now(),
        )
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

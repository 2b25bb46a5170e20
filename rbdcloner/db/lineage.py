# SPDX-License-Identifier: Apache-2.0
"""Who was cloned from whom, and what was promised: every query on clones.

One public method is one transaction; none is open while Ceph, Glance or
RabbitMQ works. A state is changed by :meth:`Lineage.move` alone, a
conditional UPDATE on (id, state, fence).

A row in progress is *held* by an owner under a lease by the database's
clock. Whoever takes a row raises its fence, so that the former holder's
moves no longer match. Taking a child and releasing its parent race on the
parent's row: the taker reads it FOR SHARE, the releaser FOR UPDATE, and one
of them sees the other's work.
"""

import dataclasses
from typing import Any

from oslo_db import exception
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.db import ancestry
from rbdcloner.db import clock
from rbdcloner.db import reservation
from rbdcloner.db import rows
from rbdcloner.db import tables
from rbdcloner.db.tables import clones
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import DiskRequest
from rbdcloner.model import Filters
from rbdcloner.model import Parent
from rbdcloner.states import State

# Nobody is at work on the row, or whoever was is late.
_UNHELD = sa.or_(
    clones.c.lease_expires_at.is_(None),
    clones.c.lease_expires_at < clock.utc_now(),
)


class Lineage(ancestry.Ancestry):
    """The lineage database, through one SQLAlchemy engine.

    Every method raises :class:`rbdcloner.errors.DatabaseUnavailable` when the
    database cannot be reached, within seconds. A deadlock is retried, a lost
    connection is not: what came of a change is then unknown, and the caller
    looks.
    """

    @writes
    def reserve(
        self,
        connection: sa.Connection,
        request: DiskRequest,
        parent: Parent,
        clone_format: CloneFormat,
        owner: str,
        lease_s: float,
    ) -> Clone:
        """Write the intent: a RESERVED row under the request's name, held.

        :raises DiskExists: a live row has the name.
        :raises ParentNotFound: *parent* has no row.
        :raises ParentReleased: *parent* takes no child.
        """
        values = reservation.values(
            request, parent, clone_format, owner, lease_s
        )
        try:
            row = connection.execute(
                reservation.STATEMENT, values
            ).one_or_none()
        except exception.DBDuplicateEntry as exc:
            raise errors.DiskExists(
                name=request.name, pool=request.pool
            ) from exc
        if row is None:
            raise ancestry.refusal(connection, parent)
        return rows.clone(row, parent)

    @reads
    def find(
        self,
        connection: sa.Connection,
        fsid: str,
        pool: str,
        namespace: str,
        name: str,
    ) -> Clone:
        """Return the live row of a name, else its newest final one.

        :raises DiskNotFound: no row ever had that name.
        """
        # A live row is the newest: none is made while another lives.
        statement = (
            rows.CLONES.where(
                clones.c.name == name,
                clones.c.pool == pool,
                clones.c.namespace == namespace,
                clones.c.fsid == fsid,
            )
            .order_by(clones.c.id.desc())
            .limit(1)
        )
        row = connection.execute(statement).one_or_none()
        if row is None:
            raise errors.DiskNotFound(name=name, pool=pool)
        return rows.clone_and_parent(row)

    @writes
    def hold(
        self,
        connection: sa.Connection,
        clone: Clone,
        owner: str,
        lease_s: float,
    ) -> Clone:
        """Hold the row of *clone* for *owner*, raising its fence.

        The row may have changed since *clone* was read, but for its state:
        what is returned is what it says now.

        :raises DiskBusy: it is held and the lease has not run out.
        :raises RowMoved: the row is not in *clone*'s state any more.
        """
        here = (clones.c.id == clone.id, clones.c.state == clone.state)
        statement = sa.update(clones).where(*here, _UNHELD)
        row = _update(
            connection, clone, statement.values(_taking(owner, lease_s))
        )
        if row is not None:
            return rows.changed(clone, row)
        if connection.scalar(sa.select(clones.c.id).where(*here)) is None:
            raise _moved(clone)
        raise errors.DiskBusy(
            name=clone.image.name, pool=clone.image.pool, state=clone.state
        )

    @writes
    def let_go(
        self, connection: sa.Connection, clone: Clone, reason: str
    ) -> None:
        """End the lease early and note why; nothing if it was taken over."""
        statement = (
            sa.update(clones)
            .where(*_as_left(clone))
            .values(
                lease_expires_at=None,
                reason=reason[: tables.REASON_LENGTH],
                updated_at=clock.utc_now(),
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
    ) -> Clone:
        """Move the row from ``clone.state`` to *state*: the one door.

        What is None stays. With an owner the row stays held by it, or is
        taken, which raises the fence, if nobody else holds it; without, the
        lease ends.

        :raises RowMoved: state or fence are not *clone*'s any more, or
            another than *owner* holds the row.
        """
        if not states.may_follow(clone.state, state):
            raise ValueError(f'{state} may not follow {clone.state}')
        values: dict[str, Any] = {
            'state': state,
            'live': None if state in states.FINAL else 1,
            'lease_expires_at': None,
        }
        conditions = _as_left(clone)
        if owner and _held_by(clone, owner):
            values['lease_expires_at'] = clock.utc_after(lease_s)
        elif owner:
            values |= _taking(owner, lease_s)
            conditions += (_UNHELD,)
        changes = {'image_id': image_id, 'size_bytes': size_bytes}
        values |= {k: v for k, v in changes.items() if v is not None}
        if reason is not None:
            values['reason'] = reason[: tables.REASON_LENGTH]
        statement = sa.update(clones).where(*conditions).values(values)
        return _changed(connection, clone, statement)

    @writes
    def note_image_id(
        self, connection: sa.Connection, clone: Clone, image_id: str
    ) -> Clone:
        """Record the child's image id, without a change of state.

        :raises RowMoved: as :meth:`move`.
        """
        statement = sa.update(clones).where(*_as_left(clone))
        return _changed(connection, clone, statement.values(image_id=image_id))

    @reads
    def page(
        self,
        connection: sa.Connection,
        filters: Filters,
        marker: int = 0,
        limit: int = 100,
    ) -> list[Clone]:
        """Return rows with id > *marker*, by id, at most *limit*."""
        statement = rows.CLONES.where(clones.c.id > marker)
        for field in dataclasses.fields(filters):
            wanted = getattr(filters, field.name)
            if wanted and field.name == 'states':
                statement = statement.where(clones.c.state.in_(wanted))
            elif wanted:
                column = clones.c[field.name]
                statement = statement.where(column == wanted)
        statement = statement.order_by(clones.c.id).limit(limit)
        return [
            rows.clone_and_parent(row) for row in connection.execute(statement)
        ]

    @reads
    def abandoned(
        self, connection: sa.Connection, idle_s: float, limit: int
    ) -> list[Clone]:
        """Return rows in progress that nobody holds, idle for *idle_s*.

        Those that nobody has touched for the longest come first, so that
        rows which fail again and again do not keep others waiting; at most
        *limit*.
        """
        statement = (
            rows.CLONES.where(
                clones.c.state.in_(sorted(states.IN_PROGRESS)),
                clones.c.updated_at <= clock.utc_after(-idle_s),
                _UNHELD,
            )
            .order_by(clones.c.updated_at, clones.c.id)
            .limit(limit)
        )
        return [
            rows.clone_and_parent(row) for row in connection.execute(statement)
        ]


def _as_left(clone: Clone) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        clones.c.id == clone.id,
        clones.c.state == clone.state,
        clones.c.fence == clone.fence,
    )


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
        raise _moved(clone)
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


def _moved(clone: Clone) -> errors.RowMoved:
    return errors.RowMoved(
        name=str(clone.image),
        expected=f'{clone.state}, fence {clone.fence}',
    )

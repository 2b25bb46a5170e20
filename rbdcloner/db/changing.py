# SPDX-License-Identifier: Apache-2.0
"""One row of ``clones`` in a statement: its conditions, and its change."""

from typing import Any

import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import clock
from rbdcloner.db import rows
from rbdcloner.db.tables import clones
from rbdcloner.model import Clone

#: Nobody is at work on the row, or whoever was is late.
UNHELD = sa.or_(
    clones.c.lease_expires_at.is_(None),
    clones.c.lease_expires_at < clock.utc_now(),
)

#: The pause after the last attempt is over.
DUE = sa.or_(clones.c.retry_at.is_(None), clones.c.retry_at <= clock.utc_now())

_MAX_PAUSE_S = 300


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


def taking(owner: str, lease_s: float) -> dict[str, Any]:
    """Return what a row says that *owner* has taken."""
    return {
        'owner': owner,
        'fence': clones.c.fence + 1,
        'lease_expires_at': clock.utc_after(lease_s),
    }


def changed(
    connection: sa.Connection, clone: Clone, statement: sa.Update
) -> Clone:
    """Return *clone* as *statement*, of its row alone, leaves it.

    :raises RowMoved: the row is not under the statement's conditions.
    """
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

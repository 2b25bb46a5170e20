# SPDX-License-Identifier: Apache-2.0
"""The end of a parent: never from under a child, and once."""

from typing import Any

import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import ancestry
from rbdcloner.db.tables import clones
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import writes
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.states import ParentState

_CHILDREN_NAMED = 5


class Releasing(Database):
    """How :class:`~rbdcloner.db.lineage.Lineage` gives a parent back."""

    @writes
    def releasing(
        self,
        connection: sa.Connection,
        parent: Parent,
        as_left: bool = False,
    ) -> Parent:
        """Move *parent* ACTIVE → RELEASING: no child is taken from now on.

        A PLANNED one too. Repeated on a RELEASING or RELEASED one it changes
        nothing.

        :raises ParentHasChildren: an attached child is recorded.
        :raises ParentNotFound: it has no row.
        :raises RowMoved: it was to be *as_left*, and was made meanwhile.
        """
        return begin(connection, parent, as_left)

    @writes
    def restored(self, connection: sa.Connection, parent: Parent) -> Parent:
        """Move *parent* RELEASING → ACTIVE: it has children after all.

        One that was never made becomes PLANNED again. Repeated it changes
        nothing.

        :raises RowMoved: it is released.
        :raises ParentNotFound: it has no row.
        """
        made = parent.snapshot.id is not None
        state = ParentState.ACTIVE if made else ParentState.PLANNED
        values = {'state': state}
        return _moved_on(connection, parent, values)

    @writes
    def released(self, connection: sa.Connection, parent: Parent) -> Parent:
        """Move *parent* RELEASING → RELEASED; its protector is nobody.

        Repeated on a RELEASED one it changes nothing.

        :raises RowMoved: it is active or planned.
        :raises ParentNotFound: it has no row.
        """
        values = {
            'state': ParentState.RELEASED,
            'live': None,
            'protector': Protector.NOBODY,
        }
        return _moved_on(connection, parent, values)


def begin(
    connection: sa.Connection, parent: Parent, as_left: bool = False
) -> Parent:
    """Begin the release of *parent*; see :meth:`Releasing.releasing`."""
    now = ancestry.locked(connection, parent)
    if as_left and now.state == ParentState.ACTIVE != parent.state:
        raise errors.RowMoved(name=str(parent.snapshot), expected=parent.state)
    if now.state not in (ParentState.ACTIVE, ParentState.PLANNED):
        return now
    refuse_children(connection, parent)
    return ancestry.updated(connection, now, {'state': ParentState.RELEASING})


def refuse_children(connection: sa.Connection, parent: Parent) -> None:
    """Raise if *parent*, whose row is locked, has children.

    :raises ParentHasChildren: an attached child is recorded.
    """
    # A statement of its own, begun after the lock was had: whoever took a
    # child before has committed, and this statement sees it; whoever comes
    # later waits, and then finds no active parent. Within one statement, or
    # under REPEATABLE READ on PostgreSQL, the count would be of a moment
    # before the lock, and miss a child.
    children = connection.scalars(
        sa.select(clones.c.name)
        .where(clones.c.parent_id == parent.id, clones.c.attached == 1)
        .limit(_CHILDREN_NAMED)
    ).all()
    if children:
        raise errors.ParentHasChildren(
            parent=str(parent.snapshot), children=', '.join(children)
        )


def _moved_on(
    connection: sa.Connection, parent: Parent, values: dict[str, Any]
) -> Parent:
    """Move a RELEASING parent to the state in *values*."""
    now = ancestry.locked(connection, parent)
    if now.state == values['state']:
        return now
    if now.state != ParentState.RELEASING:
        raise errors.RowMoved(
            name=str(parent.snapshot), expected=ParentState.RELEASING
        )
    return ancestry.updated(connection, now, values)

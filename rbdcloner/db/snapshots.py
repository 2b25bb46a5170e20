# SPDX-License-Identifier: Apache-2.0
"""The snapshots that the service makes: planned first, then made."""

from oslo_db import exception
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import ancestry
from rbdcloner.db import changing
from rbdcloner.db import clock
from rbdcloner.db import rows
from rbdcloner.db.tables import clones
from rbdcloner.db.tables import parents
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from rbdcloner.model import Clone
from rbdcloner.model import Image
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.model import SnapshotFacts
from rbdcloner.states import ParentState


class Snapshots(Database):
    """What :class:`~rbdcloner.db.lineage.Lineage` knows before Ceph does."""

    @reads
    def snapshots_of(
        self, connection: sa.Connection, image: Image
    ) -> list[Parent]:
        """Return the rows of *image*, by its id, not yet released, by id."""
        return _snapshots(connection, image)

    @writes
    def plan_snapshot(
        self,
        connection: sa.Connection,
        image: Image,
        name: str,
        purpose: Purpose,
        protector: Protector,
        *,
        clone: Clone | None = None,
        size_bytes: int,
        order: int = 0,
        glance_image_id: str = '',
        depth: int = 0,
    ) -> Parent:
        """Write the intent: a PLANNED row, or return the one of that name.

        Of those that the service made; it may be in any state but RELEASED.
        With *clone*, nobody moves
        its row meanwhile. Of two requests at once, the unique key on what
        the service makes has one find the other's row.

        :raises ParentReleased: the snapshot of that name is being released.
        :raises RowMoved: the row of *clone* is not as it was left, or the
            snapshot of that name was released just now.
        """
        if clone is not None:
            still(connection, clone)
        if known := _named(connection, image, name):
            return known
        statement = sa.insert(parents).values(
            **ancestry.values(image),
            snapshot_name=name,
            snapshot_id=None,
            live=1,
            size_bytes=size_bytes,
            order=order,
            glance_image_id=glance_image_id,
            protector=protector,
            purpose=purpose,
            depth=depth,
            state=ParentState.PLANNED,
        )
        ancestry.done(connection, statement)
        if known := _named(connection, image, name):
            return known
        raise errors.RowMoved(
            name=f'{image}@{name}', expected=ParentState.PLANNED
        )

    @writes
    def lost_name(self, connection: sa.Connection, parent: Parent) -> None:
        """Record that the snapshot lies in Ceph's trash, without its name.

        Its children keep it; another of that name can be planned.
        """
        statement = sa.update(parents).where(parents.c.id == parent.id)
        connection.execute(
            statement.values(live=None, updated_at=clock.utc_now())
        )

    @writes
    def made_snapshot(
        self, connection: sa.Connection, parent: Parent, facts: SnapshotFacts
    ) -> Parent:
        """Move *parent* PLANNED → ACTIVE: the snapshot is there, as *facts*.

        Repeated with the same id it changes nothing.

        :raises RowMoved: it is on its way out, or another snapshot; or the
            snapshot has a row of its own.
        :raises ParentNotFound: it has no row.
        """
        now = ancestry.locked(connection, parent)
        made = facts.snapshot.id
        if (now.state, now.snapshot.id) == (ParentState.ACTIVE, made):
            return now
        moved = errors.RowMoved(
            name=str(parent.snapshot), expected=ParentState.PLANNED
        )
        if now.state != ParentState.PLANNED:
            raise moved
        values = {
            'snapshot_id': made,
            'size_bytes': facts.size_bytes,
            'order': facts.order,
            'state': ParentState.ACTIVE,
        }
        try:
            return ancestry.updated(connection, now, values)
        except exception.DBDuplicateEntry as exc:
            raise moved from exc


def still(connection: sa.Connection, clone: Clone) -> None:
    """Keep others from moving *clone* until the transaction's end.

    :raises RowMoved: somebody moved it before.
    """
    conditions = [clones.c.state == clone.state]
    if clone.lease_expires_at is not None:
        conditions.append(clones.c.fence == clone.fence)
    changing.keep(connection, clone, *conditions)


def _snapshots(
    connection: sa.Connection,
    image: Image,
    *conditions: sa.ColumnElement[bool],
) -> list[Parent]:
    statement = (
        sa.select(parents)
        .where(
            *ancestry.of_image(image),
            parents.c.state != ParentState.RELEASED,
            *conditions,
        )
        .order_by(parents.c.id)
    )
    return [rows.parent(row) for row in connection.execute(statement)]


def _named(
    connection: sa.Connection, image: Image, name: str
) -> Parent | None:
    """Return the row of the snapshot that the service made under a name.

    :raises ParentReleased: it is being released.
    """
    named = (parents.c.snapshot_name == name, parents.c.live == 1)
    known = _snapshots(connection, image, *named)
    if known and known[0].state == ParentState.RELEASING:
        raise errors.ParentReleased(parent=str(known[0].snapshot))
    return known[0] if known else None

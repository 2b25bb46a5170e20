# SPDX-License-Identifier: Apache-2.0
"""The parents: recorded, protected, released, and never from under a child."""

from collections.abc import Sequence
from typing import Any

from oslo_db import exception
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import clock
from rbdcloner.db import rows
from rbdcloner.db.tables import clones
from rbdcloner.db.tables import parents
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts
from rbdcloner.states import ParentState

_CHILDREN_NAMED = 5


class Ancestry(Database):
    """What :class:`~rbdcloner.db.lineage.Lineage` does to a parent's row."""

    def adopt(
        self,
        facts: SnapshotFacts,
        glance_image_id: str,
        protector: Protector,
    ) -> Parent:
        """Record *facts*' snapshot as an active parent, or return its row.

        A released parent becomes active again, with *protector*; an active
        one keeps its own. A known parent, the common case, costs one read.

        :raises ParentReleased: it is being released now.
        """
        known = self.find_parent(facts.snapshot)
        if known is not None and _is_as(known, facts):
            return known
        return self._adopt(facts, glance_image_id, protector)

    @reads
    def find_parent(
        self, connection: sa.Connection, snapshot: Snapshot
    ) -> Parent | None:
        """Return the row of *snapshot*, by its ids, if it has one."""
        statement = sa.select(parents).where(*_identity(snapshot))
        row = connection.execute(statement).one_or_none()
        return None if row is None else rows.parent(row)

    @writes
    def _adopt(
        self,
        connection: sa.Connection,
        facts: SnapshotFacts,
        glance_image_id: str,
        protector: Protector,
    ) -> Parent:
        _add_unless_there(connection, facts, glance_image_id, protector)
        statement = sa.select(parents).where(*_identity(facts.snapshot))
        row = connection.execute(statement.with_for_update()).one()
        parent = rows.parent(row)
        if parent.state == ParentState.RELEASING:
            raise errors.ParentReleased(parent=str(parent.snapshot))
        values: dict[str, Any] = {
            'image_name': facts.snapshot.image.name,
            'snapshot_name': facts.snapshot.name,
        }
        if parent.state == ParentState.RELEASED:
            values['state'] = ParentState.ACTIVE
            values['protector'] = protector
        if _is_as(parent, facts):
            return parent
        return _updated(connection, parent, values)

    @writes
    def protected_by(
        self, connection: sa.Connection, parent: Parent, protector: Protector
    ) -> Parent:
        """Record who protects *parent*.

        :raises ParentNotFound: it has no row.
        """
        return _updated(connection, parent, {'protector': protector})

    @reads
    def parents(
        self, connection: sa.Connection, ids: Sequence[int] = ()
    ) -> list[Parent]:
        """Return the parents with *ids*, or all."""
        statement = sa.select(parents).order_by(parents.c.id)
        if ids:
            statement = statement.where(parents.c.id.in_(ids))
        return [rows.parent(row) for row in connection.execute(statement)]

    @reads
    def unneeded_parents(
        self, connection: sa.Connection, idle_s: float, limit: int
    ) -> list[Parent]:
        """Return the parents to release, untouched for *idle_s*.

        Those that the service protects for no live child, and those whose
        release somebody began and left; the longest untouched first.
        """
        child = sa.exists().where(
            clones.c.parent_id == parents.c.id, clones.c.live == 1
        )
        for_nobody = sa.and_(
            parents.c.state == ParentState.ACTIVE,
            parents.c.protector == Protector.SERVICE,
            sa.not_(child),
        )
        statement = (
            sa.select(parents)
            .where(
                sa.or_(for_nobody, parents.c.state == ParentState.RELEASING),
                parents.c.updated_at <= clock.utc_after(-idle_s),
            )
            .order_by(parents.c.updated_at, parents.c.id)
            .limit(limit)
        )
        return [rows.parent(row) for row in connection.execute(statement)]

    @writes
    def releasing(self, connection: sa.Connection, parent: Parent) -> Parent:
        """Move *parent* ACTIVE → RELEASING: no child is taken from now on.

        Repeated on a RELEASING or RELEASED one it changes nothing.

        :raises ParentHasChildren: a live child is recorded.
        :raises ParentNotFound: it has no row.
        """
        now = _locked(connection, parent)
        if now.state != ParentState.ACTIVE:
            return now
        # A statement of its own, begun after the lock was had: whoever took
        # a child before has committed, and this statement sees it; whoever
        # comes later waits, and then finds no active parent. Within one
        # statement, or under REPEATABLE READ on PostgreSQL, the count would
        # be of a moment before the lock, and miss a child.
        children = connection.scalars(
            sa.select(clones.c.name)
            .where(clones.c.parent_id == parent.id, clones.c.live == 1)
            .limit(_CHILDREN_NAMED)
        ).all()
        if children:
            raise errors.ParentHasChildren(
                parent=str(parent.snapshot), children=', '.join(children)
            )
        return _updated(connection, now, {'state': ParentState.RELEASING})

    @writes
    def restored(self, connection: sa.Connection, parent: Parent) -> Parent:
        """Move *parent* RELEASING → ACTIVE: it has children after all.

        Repeated on an ACTIVE one it changes nothing.

        :raises RowMoved: it is released.
        :raises ParentNotFound: it has no row.
        """
        values = {'state': ParentState.ACTIVE}
        return _moved_on(connection, parent, values)

    @writes
    def released(self, connection: sa.Connection, parent: Parent) -> Parent:
        """Move *parent* RELEASING → RELEASED; its protector is nobody.

        Repeated on a RELEASED one it changes nothing.

        :raises RowMoved: it is active.
        :raises ParentNotFound: it has no row.
        """
        values = {
            'state': ParentState.RELEASED,
            'protector': Protector.NOBODY,
        }
        return _moved_on(connection, parent, values)


def refusal(connection: sa.Connection, parent: Parent) -> errors.Error:
    """Return why *parent* takes no child."""
    statement = sa.select(parents.c.id).where(parents.c.id == parent.id)
    if connection.scalar(statement) is None:
        return errors.ParentNotFound(parent=str(parent.snapshot))
    return errors.ParentReleased(parent=str(parent.snapshot))


def _identity(snapshot: Snapshot) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        parents.c.image_id == snapshot.image.id,
        parents.c.snapshot_id == snapshot.id,
        parents.c.pool == snapshot.image.pool,
        parents.c.namespace == snapshot.image.namespace,
        parents.c.fsid == snapshot.image.fsid,
    )


def _is_as(parent: Parent, facts: SnapshotFacts) -> bool:
    active = parent.state == ParentState.ACTIVE
    return active and parent.snapshot == facts.snapshot


def _add_unless_there(
    connection: sa.Connection,
    facts: SnapshotFacts,
    glance_image_id: str,
    protector: Protector,
) -> None:
    image = facts.snapshot.image
    statement = sa.insert(parents).values(
        fsid=image.fsid,
        pool=image.pool,
        namespace=image.namespace,
        image_name=image.name,
        image_id=image.id,
        snapshot_name=facts.snapshot.name,
        snapshot_id=facts.snapshot.id,
        size_bytes=facts.size_bytes,
        order=facts.order,
        glance_image_id=glance_image_id,
        protector=protector,
        state=ParentState.ACTIVE,
        created_at=clock.utc_now(),
        updated_at=clock.utc_now(),
    )
    try:
        # PostgreSQL gives up the whole transaction after an error.
        with connection.begin_nested():
            connection.execute(statement)
    except exception.DBDuplicateEntry:
        return


def _locked(connection: sa.Connection, parent: Parent) -> Parent:
    statement = sa.select(parents).where(parents.c.id == parent.id)
    row = connection.execute(statement.with_for_update()).one_or_none()
    if row is None:
        raise errors.ParentNotFound(parent=str(parent.snapshot))
    return rows.parent(row)


def _moved_on(
    connection: sa.Connection, parent: Parent, values: dict[str, Any]
) -> Parent:
    """Move a RELEASING parent to the state in *values*."""
    now = _locked(connection, parent)
    if now.state == values['state']:
        return now
    if now.state != ParentState.RELEASING:
        raise errors.RowMoved(
            name=str(parent.snapshot), expected=ParentState.RELEASING
        )
    return _updated(connection, now, values)


def _updated(
    connection: sa.Connection, parent: Parent, values: dict[str, Any]
) -> Parent:
    statement = sa.update(parents).where(parents.c.id == parent.id)
    connection.execute(statement.values(**values, updated_at=clock.utc_now()))
    return _locked(connection, parent)

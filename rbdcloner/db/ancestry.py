# SPDX-License-Identifier: Apache-2.0
"""The parents: recorded, and protected by somebody or nobody."""

from typing import Any

from oslo_db import exception
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import clock
from rbdcloner.db import rows
from rbdcloner.db.tables import parents
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from rbdcloner.model import Image
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts
from rbdcloner.states import ParentState


class Ancestry(Database):
    """What :class:`~rbdcloner.db.lineage.Lineage` does to a parent's row."""

    def adopt(
        self,
        facts: SnapshotFacts,
        glance_image_id: str,
        protector: Protector,
        depth: int = 0,
        purpose: Purpose = Purpose.ADOPTED,
    ) -> Parent:
        """Record *facts*' snapshot as an active parent, or return its row.

        A released parent becomes active again, with *protector*; an active
        one keeps its own, and any its purpose and depth. One that is planned
        under the snapshot's name is that snapshot, made. A known parent, the
        common case, costs one read.

        :raises ParentReleased: it is being released now.
        """
        known = self.find_parent(facts.snapshot)
        if known is not None and _is_as(known, facts, glance_image_id):
            return known
        return self._adopt(facts, glance_image_id, protector, depth, purpose)

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
        depth: int,
        purpose: Purpose,
    ) -> Parent:
        if not _finish_plan(connection, facts):
            _add_unless_there(
                connection, facts, glance_image_id, protector, depth, purpose
            )
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
        if not parent.glance_image_id:
            values['glance_image_id'] = glance_image_id
        if _is_as(parent, facts, glance_image_id):
            return parent
        return updated(connection, parent, values)

    @writes
    def protected_by(
        self, connection: sa.Connection, parent: Parent, protector: Protector
    ) -> Parent:
        """Record who protects the ACTIVE *parent*.

        :raises ParentReleased: it is released, or is being.
        :raises ParentNotFound: it has no row.
        """
        now = locked(connection, parent)
        if now.state != ParentState.ACTIVE:
            raise errors.ParentReleased(parent=str(now.snapshot))
        return updated(connection, now, {'protector': protector})


def refusal(connection: sa.Connection, parent: Parent) -> errors.Error:
    """Return why *parent* takes no child."""
    statement = sa.select(parents.c.id).where(parents.c.id == parent.id)
    if connection.scalar(statement) is None:
        return errors.ParentNotFound(parent=str(parent.snapshot))
    return errors.ParentReleased(parent=str(parent.snapshot))


def of_image(image: Image) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition for the parents that are snapshots of *image*."""
    return (
        parents.c.image_id == image.id,
        parents.c.pool == image.pool,
        parents.c.namespace == image.namespace,
        parents.c.fsid == image.fsid,
    )


def values(image: Image) -> dict[str, Any]:
    """Return what a new row says of *image* and the time."""
    return {
        'fsid': image.fsid,
        'pool': image.pool,
        'namespace': image.namespace,
        'image_name': image.name,
        'image_id': image.id,
        'created_at': clock.utc_now(),
        'updated_at': clock.utc_now(),
    }


def done(connection: sa.Connection, statement: sa.Insert | sa.Update) -> bool:
    """Execute *statement*; tell whether it wrote a row.

    It does not where a unique key is against it.
    """
    try:
        # PostgreSQL gives up the whole transaction after an error.
        with connection.begin_nested():
            return connection.execute(statement).rowcount == 1
    except exception.DBDuplicateEntry:
        return False


def locked(connection: sa.Connection, parent: Parent) -> Parent:
    """Return what the row of *parent* says, and keep others from it.

    :raises ParentNotFound: it has no row.
    """
    statement = sa.select(parents).where(parents.c.id == parent.id)
    row = connection.execute(statement.with_for_update()).one_or_none()
    if row is None:
        raise errors.ParentNotFound(parent=str(parent.snapshot))
    return rows.parent(row)


def updated(
    connection: sa.Connection, parent: Parent, values: dict[str, Any]
) -> Parent:
    """Write *values* into the row of *parent*; return what it says.

    :raises ParentNotFound: it has no row.
    """
    statement = sa.update(parents).where(parents.c.id == parent.id)
    connection.execute(statement.values(**values, updated_at=clock.utc_now()))
    return locked(connection, parent)


def _identity(snapshot: Snapshot) -> tuple[sa.ColumnElement[bool], ...]:
    return (*of_image(snapshot.image), parents.c.snapshot_id == snapshot.id)


def _is_as(parent: Parent, facts: SnapshotFacts, glance_image_id: str) -> bool:
    active = parent.state == ParentState.ACTIVE
    known = parent.glance_image_id or not glance_image_id
    return active and bool(known) and parent.snapshot == facts.snapshot


def _finish_plan(connection: sa.Connection, facts: SnapshotFacts) -> bool:
    """Make active what was planned under the snapshot's name, if it was.

    The plan was committed before the snapshot was made, and the snapshot was
    made before it was seen: a plan that there is, is found.
    """
    statement = (
        sa.update(parents)
        .where(
            *of_image(facts.snapshot.image),
            parents.c.snapshot_name == facts.snapshot.name,
            parents.c.live == 1,
            parents.c.state == ParentState.PLANNED,
        )
        .values(
            snapshot_id=facts.snapshot.id,
            size_bytes=facts.size_bytes,
            order=facts.order,
            state=ParentState.ACTIVE,
            updated_at=clock.utc_now(),
        )
    )
    return not facts.trashed and done(connection, statement)


def _add_unless_there(
    connection: sa.Connection,
    facts: SnapshotFacts,
    glance_image_id: str,
    protector: Protector,
    depth: int,
    purpose: Purpose,
) -> None:
    statement = sa.insert(parents).values(
        **values(facts.snapshot.image),
        snapshot_name=facts.snapshot.name,
        snapshot_id=facts.snapshot.id,
        size_bytes=facts.size_bytes,
        order=facts.order,
        glance_image_id=glance_image_id,
        protector=protector,
        purpose=purpose,
        depth=depth,
        state=ParentState.ACTIVE,
    )
    done(connection, statement)

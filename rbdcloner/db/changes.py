# SPDX-License-Identifier: Apache-2.0
"""Requests that change a disk: each takes effect once, in its turn.

A request is noted, among the deletions, in the transaction that makes its
effect the row's promise. Sent again, it finds that note: what it has done is
done, and what it has not done it goes on with, unless a request came later.
One that was not noted is refused where a later request for the name is noted
than its caller knew of: its caller has given it up, or asks again.
"""

from typing import Any

from oslo_db import exception
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import ancestry
from rbdcloner.db import changing
from rbdcloner.db import clock
from rbdcloner.db import releasing
from rbdcloner.db import rows
from rbdcloner.db import snapshots
from rbdcloner.db.door import Door
from rbdcloner.db.tables import changes
from rbdcloner.db.tables import clones
from rbdcloner.db.tables import deletions
from rbdcloner.db.tables import parents
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from rbdcloner.model import Change
from rbdcloner.model import Clone
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.model import Request
from rbdcloner.model import SnapshotFacts
from rbdcloner.states import ParentState
from rbdcloner.states import State

_CHANGES = sa.select(changes, deletions.c.call, deletions.c.created_at).join(
    deletions, deletions.c.id == changes.c.id
)


class Changes(Door):
    """How :class:`~rbdcloner.db.lineage.Lineage` begins to change disks."""

    @reads
    def find_change(
        self, connection: sa.Connection, request: Request
    ) -> Change | None:
        """Return what is noted of *request*, ``None`` if nothing is."""
        return self._noted(connection, request)

    @reads
    def find_open_change(
        self, connection: sa.Connection, clone: Clone
    ) -> Change | None:
        """Return the newest request that the disk's row is in progress for.

        ``None`` on the schema of the release before.
        """
        if not self._are_remembered(connection, changes):
            return None
        statement = (
            _CHANGES.where(changes.c.clone_id == clone.id, changes.c.open == 1)
            .order_by(changes.c.id.desc())
            .limit(1)
        )
        row = connection.execute(statement).one_or_none()
        return None if row is None else _change(row)

    @writes
    def abandon_change(
        self,
        connection: sa.Connection,
        clone: Clone,
        reason: str,
        size_bytes: int | None,
    ) -> Clone:
        """Give up the rollback of a ROLLING_BACK row; the row, READY.

        Its requests stay noted, so that none that is sent again is done.

        :raises RowMoved: the row is not as it was left.
        """
        moved = self._moved(
            connection,
            clone,
            State.READY,
            reason=reason,
            size_bytes=size_bytes,
        )
        if self._are_remembered(connection, changes):
            connection.execute(
                sa.update(changes)
                .where(changes.c.clone_id == clone.id, changes.c.open == 1)
                .values(open=None, parent_id=None)
            )
        return moved

    @writes
    def begin_change(
        self,
        connection: sa.Connection,
        clone: Clone,
        state: State,
        request: Request,
        owner: str,
        lease_s: float,
        rollback_to: int | SnapshotFacts | None = None,
    ) -> Clone:
        """Note that *request* changes the disk, and move its row to *state*.

        A row that *owner* holds in that state stays so: the request goes on
        with what another began. A snapshot without a row that the disk goes
        back to gets one: a caller named it.

        :raises DiskBusy: the disk goes back to another snapshot.
        :raises RequestOutdated: a later request than its caller knows of, or
            than the request itself, is noted for the name.
        :raises RowMoved: the row is not as it was left.
        """
        if isinstance(rollback_to, SnapshotFacts):
            rollback_to = _recorded_id(connection, clone, rollback_to)
        self._note(connection, clone, request, rollback_to, is_open=True)
        if clone.state is not state:
            return self._moved(
                connection,
                clone,
                state,
                owner=owner,
                lease_s=lease_s,
                rollback_to=rollback_to,
            )
        if clone.rollback_to != rollback_to:
            raise errors.DiskBusy(
                name=clone.image.name, pool=clone.image.pool, state=clone.state
            )
        statement = sa.update(clones).where(*changing.as_left(clone))
        lease = {'lease_expires_at': clock.utc_after(lease_s)}
        return changing.changed(connection, clone, statement.values(lease))

    @writes
    def begin_snapshot(
        self,
        connection: sa.Connection,
        clone: Clone,
        name: str,
        request: Request,
    ) -> Parent:
        """Write the intent to take a snapshot of the disk: a PLANNED row.

        :raises DiskSnapshotExists: another request's snapshot has the name.
        :raises RequestOutdated: as :meth:`begin_change`.
        :raises RowMoved: the disk's row is not as it was left.
        """
        snapshots.still(connection, clone)
        parent = _recorded(connection, clone, name)
        if parent is None:
            raise errors.DiskSnapshotExists(
                snapshot=name, name=clone.image.name, pool=clone.image.pool
            )
        self._note(connection, clone, request, parent.id)
        return parent

    @writes
    def begin_removal(
        self,
        connection: sa.Connection,
        clone: Clone,
        found: Parent | SnapshotFacts,
        request: Request,
    ) -> Parent | None:
        """Begin to release a snapshot of the disk, for *request*.

        One that others took, without a row, gets one by its id. ``None`` if
        the request has removed another snapshot before.

        :raises ParentHasChildren: an attached child is recorded.
        :raises RequestOutdated: as :meth:`begin_change`.
        :raises RowMoved: the name got another row meanwhile.
        """
        parent = found if isinstance(found, Parent) else None
        noted = self._noted(connection, request)
        if noted is not None and noted.parent_id != (parent and parent.id):
            return None
        if isinstance(found, SnapshotFacts):
            parent = _recorded(connection, clone, found.snapshot.name, found)
        if parent is None:
            raise changing.moved(clone)
        self._note(connection, clone, request, parent.id)
        return releasing.begin(connection, parent)

    def _note(
        self,
        connection: sa.Connection,
        clone: Clone,
        request: Request,
        parent_id: int | None,
        is_open: bool = False,
    ) -> None:
        """Note *request*, unless it was noted, if it is its turn.

        :raises RequestOutdated: it is not.
        :raises RowMoved: the same request is, or was, executed elsewhere.
        """
        if not self._are_remembered(connection, changes):
            return
        noted = self._noted(connection, request)
        if noted is not None and noted.clone_id != clone.id:
            raise errors.RequestOutdated(
                name=clone.image.name, pool=clone.image.pool, later=noted.id
            )
        self._refuse_outdated(
            connection,
            clone.image,
            clone.instance_uuid,
            request.after if noted is None else noted.id,
            request.call,
            changing=True,
        )
        if noted is not None and noted.open != is_open:
            # Another thread has done it just now.
            raise changing.moved(clone)
        if noted is not None:
            # Its snapshot was never made, and the plan of it given up.
            again = sa.update(changes).where(changes.c.id == noted.id)
            connection.execute(again.values(parent_id=parent_id))
            return
        try:
            number = self._insert_deletion(
                connection, request.call, clone.image
            )
        except exception.DBDuplicateEntry as exc:
            raise changing.moved(clone) from exc
        connection.execute(
            sa.insert(changes).values(
                id=number,
                clone_id=clone.id,
                parent_id=parent_id,
                open=1 if is_open else None,
            )
        )

    def _noted(
        self, connection: sa.Connection, request: Request
    ) -> Change | None:
        if not request.call or not self._are_remembered(connection, changes):
            return None
        statement = _CHANGES.where(deletions.c.call == request.call)
        row = connection.execute(statement).one_or_none()
        return None if row is None else _change(row)


def _change(row: sa.Row[Any]) -> Change:
    return Change(
        id=row.id,
        clone_id=row.clone_id,
        parent_id=row.parent_id,
        open=row.open == 1,
        call=row.call,
        begun_at=row.created_at,
    )


def _recorded_id(
    connection: sa.Connection, clone: Clone, facts: SnapshotFacts
) -> int:
    """Record a snapshot of the disk that has no row; the id of its row.

    :raises RowMoved: the name, or the snapshot, got a row meanwhile.
    """
    parent = _recorded(connection, clone, facts.snapshot.name, facts)
    if parent is None:
        raise changing.moved(clone)
    return parent.id


def _recorded(
    connection: sa.Connection,
    clone: Clone,
    name: str,
    facts: SnapshotFacts | None = None,
) -> Parent | None:
    """Return the new row of a snapshot of the disk, which a caller named.

    PLANNED, or ACTIVE if it is there, as *facts*; ``None`` if a row has the
    name.
    """
    values = {
        'snapshot_name': name,
        'snapshot_id': facts.snapshot.id if facts else None,
        'live': 1,
        'size_bytes': facts.size_bytes if facts else clone.size_bytes,
        'order': facts.order if facts else 0,
        'glance_image_id': '',
        'protector': Protector.NOBODY,
        'purpose': Purpose.CALLER,
        'depth': 0,
        'state': ParentState.ACTIVE if facts else ParentState.PLANNED,
    }
    statement = sa.insert(parents).values(
        **ancestry.values(clone.image), **values
    )
    if not ancestry.done(connection, statement):
        return None
    look = sa.select(parents).where(
        *ancestry.of_image(clone.image),
        parents.c.snapshot_name == name,
        parents.c.live == 1,
    )
    return rows.parent(connection.execute(look).one())

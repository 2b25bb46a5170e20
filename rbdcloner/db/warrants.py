# SPDX-License-Identifier: Apache-2.0
"""By whose order the images of clones are destroyed, and on what evidence.

A warrant is written in the transaction that moves the row to DELETING or
UNDOING; the last one of a row counts. On the schema of the release before,
none is recorded.
"""

import sqlalchemy as sa

from rbdcloner.db import clock
from rbdcloner.db import columns
from rbdcloner.db.tables import warrants
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import reads
from rbdcloner.model import Clone
from rbdcloner.model import Order
from rbdcloner.model import Warrant


class Warrants(Database):
    """How :class:`~rbdcloner.db.lineage.Lineage` records who ordered what."""

    _warrants_are_there = False

    @reads
    def warrant_of(
        self, connection: sa.Connection, clone: Clone
    ) -> Warrant | None:
        """Return the last warrant of the clone's row.

        ``None`` where a manager of the release before moved the row.
        """
        if not self._warrants_are_recorded(connection):
            return None
        statement = (
            sa.select(warrants)
            .where(warrants.c.clone_id == clone.id)
            .order_by(warrants.c.id.desc())
            .limit(1)
        )
        row = connection.execute(statement).one_or_none()
        if row is None:
            return None
        return Warrant(Order(row.ordered_by), row.evidence, row.request)

    def _issue(
        self, connection: sa.Connection, clone: Clone, warrant: Warrant
    ) -> None:
        if not self._warrants_are_recorded(connection):
            return
        connection.execute(
            sa.insert(warrants).values(
                clone_id=clone.id,
                ordered_by=warrant.order,
                request=warrant.request[: columns.ID_LENGTH],
                evidence=warrant.evidence[: columns.REASON_LENGTH],
                created_at=clock.utc_now(),
            )
        )

    def _warrants_are_recorded(self, connection: sa.Connection) -> bool:
        if not self._warrants_are_there:
            self._warrants_are_there = sa.inspect(connection).has_table(
                warrants.name
            )
        return self._warrants_are_there

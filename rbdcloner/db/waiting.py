# SPDX-License-Identifier: Apache-2.0
"""Which clones wait for somebody to go on with them."""

import sqlalchemy as sa

from rbdcloner import states
from rbdcloner.db import clock
from rbdcloner.db import rows
from rbdcloner.db.door import UNHELD
from rbdcloner.db.tables import clones
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import reads
from rbdcloner.model import Clone


class Waiting(Database):
    """How :class:`~rbdcloner.db.lineage.Lineage` finds work that was left."""

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
                UNHELD,
            )
            .order_by(clones.c.updated_at, clones.c.id)
            .limit(limit)
        )
        return [
            rows.clone_and_parent(row) for row in connection.execute(statement)
        ]

# SPDX-License-Identifier: Apache-2.0
"""Which lineage this database has, and how old it is.

What it is compared with is in the pools: see
:mod:`rbdcloner.cloning.generation`. On the schema of the release before,
nothing is known of it.
"""

import uuid

import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import ancestry
from rbdcloner.db import clock
from rbdcloner.db import columns
from rbdcloner.db.tables import lineages
from rbdcloner.db.tables import marked_pools
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from rbdcloner.model import Age
from rbdcloner.model import Mark


class Generations(Database):
    """What :class:`~rbdcloner.db.lineage.Lineage` knows of itself."""

    _age_is_there = False

    @reads
    def age(self, connection: sa.Connection) -> Age | None:
        """Return the mark of the database; ``None`` if it has none.

        That is on the schema of the release before.
        """
        if not self._is_recorded(connection):
            return None
        row = connection.execute(sa.select(lineages)).one_or_none()
        if row is None:
            return None
        return Age(
            Mark(row.uuid, row.generation, row.stamp),
            row.advanced_at,
            row.stopped,
        )

    @writes
    def advance(
        self, connection: sa.Connection, before: Mark, least: int = 0
    ) -> Mark:
        """Move the database from the mark *before* to the next; return it.

        Its generation is *least* at least.

        :raises RowMoved: the database has another mark.
        """
        after = Mark(
            before.lineage,
            max(before.generation + 1, least),
            uuid.uuid4().hex,
        )
        statement = (
            sa.update(lineages)
            .where(
                lineages.c.uuid == before.lineage,
                lineages.c.generation == before.generation,
                lineages.c.stamp == before.stamp,
            )
            .values(
                generation=after.generation,
                stamp=after.stamp,
                advanced_at=clock.utc_now(),
            )
        )
        if not connection.execute(statement).rowcount:
            raise errors.RowMoved(name='the lineage', expected=str(before))
        return after

    @writes
    def note_stopped(self, connection: sa.Connection, reason: str) -> None:
        """Record why nothing is destroyed; empty: nothing is against it."""
        stopped = reason[: columns.REASON_LENGTH]
        connection.execute(sa.update(lineages).values(stopped=stopped))

    @reads
    def marked_pools(self, connection: sa.Connection, fsid: str) -> set[str]:
        """Return the pools of a cluster that have this lineage's mark."""
        statement = sa.select(marked_pools.c.pool)
        return set(
            connection.scalars(statement.where(marked_pools.c.fsid == fsid))
        )

    @writes
    def note_marked_pool(
        self, connection: sa.Connection, fsid: str, pool: str
    ) -> None:
        """Record that a pool has this lineage's mark; repeated, nothing."""
        ancestry.done(
            connection, sa.insert(marked_pools).values(fsid=fsid, pool=pool)
        )

    def _is_recorded(self, connection: sa.Connection) -> bool:
        if not self._age_is_there:
            self._age_is_there = sa.inspect(connection).has_table(
                lineages.name
            )
        return self._age_is_there

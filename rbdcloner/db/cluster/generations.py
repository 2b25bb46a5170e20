# SPDX-License-Identifier: Apache-2.0
"""Which lineage this database has, and how old it is.

What it is compared with is in the pools: see
:mod:`rbdcloner.safety.generation`.
"""

import uuid

import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import columns
from rbdcloner.db.core import clock
from rbdcloner.db.core import statements
from rbdcloner.db.core.transaction import Section
from rbdcloner.db.core.transaction import reads
from rbdcloner.db.core.transaction import writes
from rbdcloner.db.schema import lineages
from rbdcloner.db.schema import marked_pools
from rbdcloner.model import Age
from rbdcloner.model import Mark


class Generations(Section):
    """What :class:`~rbdcloner.db.lineage.Lineage` knows of itself."""

    @reads
    def age(self, connection: sa.Connection) -> Age:
        """Return the mark of the database."""
        row = connection.execute(sa.select(lineages)).one()
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
        statements.write(
            connection, sa.insert(marked_pools).values(fsid=fsid, pool=pool)
        )

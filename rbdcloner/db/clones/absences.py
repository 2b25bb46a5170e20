# SPDX-License-Identifier: Apache-2.0
"""Since when Glance has not had the image of a row.

Each absence is a clock: nothing is done about it before it has lasted.
"""

import sqlalchemy as sa

from rbdcloner import states
from rbdcloner.db.core import clock
from rbdcloner.db.core import rows
from rbdcloner.db.core import statements
from rbdcloner.db.core.transaction import Section
from rbdcloner.db.core.transaction import reads
from rbdcloner.db.core.transaction import writes
from rbdcloner.db.schema import absences
from rbdcloner.db.schema import clones
from rbdcloner.db.schema import deletions
from rbdcloner.model import Clone


class Absences(Section):
    """How :class:`~rbdcloner.db.lineage.Lineage` remembers absences."""

    @writes
    def note_absence(self, connection: sa.Connection, clone: Clone) -> None:
        """Start the clock of *clone*; one that runs goes on."""
        statements.write(
            connection,
            sa.insert(absences).values(
                clone_id=clone.id, since=clock.utc_now(), trashed=False
            ),
        )

    @writes
    def note_trashed(self, connection: sa.Connection, clone: Clone) -> None:
        """Record that *clone* is moved to the trash because it is absent.

        Its clock starts anew. Nothing if it is not absent.
        """
        connection.execute(
            sa.update(absences)
            .where(absences.c.clone_id == clone.id)
            .values(since=clock.utc_now(), trashed=True)
        )

    @writes
    def end_absence(self, connection: sa.Connection, clone: Clone) -> None:
        """Stop the clock of *clone*: its image was seen; repeated, nothing."""
        connection.execute(
            sa.delete(absences).where(absences.c.clone_id == clone.id)
        )

    @reads
    def is_absent(
        self, connection: sa.Connection, clone: Clone, for_s: float = 0
    ) -> bool:
        """Tell whether *clone* has been absent for *for_s* at least."""
        statement = sa.select(absences.c.clone_id).where(
            absences.c.clone_id == clone.id,
            absences.c.since <= clock.utc_after(-for_s),
        )
        return connection.scalar(statement) is not None

    @reads
    def was_trashed(self, connection: sa.Connection, clone: Clone) -> bool:
        """Tell whether *clone* was moved to the trash as it was absent."""
        statement = sa.select(absences.c.clone_id).where(
            absences.c.clone_id == clone.id, absences.c.trashed
        )
        return connection.scalar(statement) is not None

    @reads
    def absent(
        self, connection: sa.Connection, marker: int = 0, limit: int = 100
    ) -> list[Clone]:
        """Return rows that are absent and not final, by id > *marker*."""
        statement = (
            rows.CLONES.where(
                clones.c.id.in_(sa.select(absences.c.clone_id)),
                clones.c.id > marker,
                *self.here(clones),
                clones.c.state.not_in(sorted(states.FINAL)),
            )
            .order_by(clones.c.id)
            .limit(limit)
        )
        return [
            rows.clone_and_parent(row) for row in connection.execute(statement)
        ]

    @reads
    def was_ordered(self, connection: sa.Connection, clone: Clone) -> bool:
        """Tell whether somebody deleted *clone*, by its name.

        Since its row was made, and as long as that is remembered.
        """
        statement = sa.select(deletions.c.id).where(
            deletions.c.name == clone.image.name,
            deletions.c.pool == clone.image.pool,
            deletions.c.fsid == clone.image.fsid,
            deletions.c.created_at >= clone.created_at,
        )
        return connection.scalar(statement.limit(1)) is not None


def is_young(for_s: float) -> sa.Exists:
    """Return whether a clone has been absent for less than *for_s*."""
    return (
        sa.exists()
        .where(
            absences.c.clone_id == clones.c.id,
            absences.c.since > clock.utc_after(-for_s),
        )
        .correlate(clones)
    )

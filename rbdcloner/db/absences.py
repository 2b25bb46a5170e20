# SPDX-License-Identifier: Apache-2.0
"""Since when Glance has not had the image of a row.

Each absence is a clock: nothing is done about it before it has lasted. On the
schema of the release before, none is recorded.
"""

import sqlalchemy as sa

from rbdcloner import states
from rbdcloner.db import ancestry
from rbdcloner.db import clock
from rbdcloner.db import rows
from rbdcloner.db.tables import absences
from rbdcloner.db.tables import clones
from rbdcloner.db.tables import deletions
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from rbdcloner.model import Clone


class Absences(Database):
    """How :class:`~rbdcloner.db.lineage.Lineage` remembers absences."""

    _absences_are_there = False

    @writes
    def note_absence(self, connection: sa.Connection, clone: Clone) -> None:
        """Start the clock of *clone*; one that runs goes on."""
        if self._has_absences(connection):
            ancestry.done(
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
        if self._has_absences(connection):
            connection.execute(
                sa.update(absences)
                .where(absences.c.clone_id == clone.id)
                .values(since=clock.utc_now(), trashed=True)
            )

    @writes
    def end_absence(self, connection: sa.Connection, clone: Clone) -> None:
        """Stop the clock of *clone*: its image was seen; repeated, nothing."""
        if self._has_absences(connection):
            connection.execute(
                sa.delete(absences).where(absences.c.clone_id == clone.id)
            )

    @reads
    def is_absent(
        self, connection: sa.Connection, clone: Clone, for_s: float = 0
    ) -> bool:
        """Tell whether *clone* has been absent for *for_s* at least."""
        if not self._has_absences(connection):
            return False
        statement = sa.select(absences.c.clone_id).where(
            absences.c.clone_id == clone.id,
            absences.c.since <= clock.utc_after(-for_s),
        )
        return connection.scalar(statement) is not None

    @reads
    def was_trashed(self, connection: sa.Connection, clone: Clone) -> bool:
        """Tell whether *clone* was moved to the trash as it was absent."""
        if not self._has_absences(connection):
            return False
        statement = sa.select(absences.c.clone_id).where(
            absences.c.clone_id == clone.id, absences.c.trashed
        )
        return connection.scalar(statement) is not None

    @reads
    def absent(
        self, connection: sa.Connection, marker: int = 0, limit: int = 100
    ) -> list[Clone]:
        """Return rows that are absent and not final, by id > *marker*."""
        if not self._has_absences(connection):
            return []
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
        if not self._remembers_orders(connection):
            return False
        statement = sa.select(deletions.c.id).where(
            deletions.c.name == clone.image.name,
            deletions.c.pool == clone.image.pool,
            deletions.c.fsid == clone.image.fsid,
            deletions.c.created_at >= clone.created_at,
        )
        return connection.scalar(statement.limit(1)) is not None

    def _has_absences(self, connection: sa.Connection) -> bool:
        if not self._absences_are_there:
            self._absences_are_there = sa.inspect(connection).has_table(
                absences.name
            )
        return self._absences_are_there

    def _remembers_orders(self, connection: sa.Connection) -> bool:
        """Tell whether deletions are recorded: that schema is older."""
        return self._has_absences(connection) or sa.inspect(
            connection
        ).has_table(deletions.name)


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

# SPDX-License-Identifier: Apache-2.0
"""Periodic work of the whole cluster: whoever asks first when it is due.

One duty is to record that the database answers. Where that is overdue nobody
could write, and no lease could be renewed: the leases say nothing of their
holders then, and all of these get one lease before anything is taken over.
"""

import sqlalchemy as sa

from rbdcloner.db import ancestry
from rbdcloner.db import clock
from rbdcloner.db.tables import duties
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import writes

#: Due a quarter of a lease after it was recorded last.
_ANSWERS = 'database answers'
#: Due when leases may be relied upon.
_TAKEOVER = 'takeover'


class Duties(Database):
    """How :class:`~rbdcloner.db.lineage.Lineage` divides periodic work."""

    @writes
    def take_duty(
        self,
        connection: sa.Connection,
        name: str,
        owner: str,
        every_s: float,
    ) -> bool:
        """Tell one caller per *every_s*, by the database's clock, to do it."""
        due = _due(name, owner, every_s).where(
            duties.c.due_at <= clock.utc_now()
        )
        if connection.execute(due).rowcount:
            return True
        there = sa.select(duties.c.name).where(duties.c.name == name)
        if connection.scalar(there) is not None:
            return False
        return ancestry.done(connection, _first(name, owner, every_s))

    @writes
    def may_take_over(
        self, connection: sa.Connection, owner: str, lease_s: float
    ) -> bool:
        """Record that the database answers; tell whether to trust leases.

        That is, whether it has answered for *lease_s*, to anybody. Every
        worker calls this four times per lease. Repeated, it is one look.
        """
        now = clock.utc_now()
        # More than half a lease without an answer, and a lease may have ended
        # before its holder could renew it.
        silent = duties.c.due_at <= clock.utc_after(-lease_s / 2)
        look = sa.select(
            duties.c.name,
            (duties.c.due_at <= now).label('due'),
            silent.label('silent'),
        ).where(duties.c.name.in_([_ANSWERS, _TAKEOVER]))
        found = {row.name: row for row in connection.execute(look)}
        if set(found) != {_ANSWERS, _TAKEOVER} or found[_ANSWERS].silent:
            for name, after_s in (
                (_ANSWERS, lease_s / 4),
                (_TAKEOVER, lease_s),
            ):
                due = _due(name, owner, after_s)
                if not connection.execute(due).rowcount:
                    ancestry.done(connection, _first(name, owner, after_s))
            return False
        if found[_ANSWERS].due:
            # It may have fallen silent since the look.
            due = _due(_ANSWERS, owner, lease_s / 4).where(sa.not_(silent))
            connection.execute(due)
        return bool(found[_TAKEOVER].due)


def _due(name: str, owner: str, after_s: float) -> sa.Update:
    return (
        sa.update(duties)
        .where(duties.c.name == name)
        .values(owner=owner, due_at=clock.utc_after(after_s))
    )


def _first(name: str, owner: str, after_s: float) -> sa.Insert:
    return sa.insert(duties).values(
        name=name, owner=owner, due_at=clock.utc_after(after_s)
    )

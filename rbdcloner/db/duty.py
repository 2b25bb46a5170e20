# SPDX-License-Identifier: Apache-2.0
"""Periodic work of the whole cluster: whoever asks first when it is due."""

import sqlalchemy as sa

from rbdcloner.db import ancestry
from rbdcloner.db import clock
from rbdcloner.db.tables import duties
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import writes


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
        values = {'owner': owner, 'due_at': clock.utc_after(every_s)}
        due = (
            sa.update(duties)
            .where(duties.c.name == name, duties.c.due_at <= clock.utc_now())
            .values(values)
        )
        if connection.execute(due).rowcount:
            return True
        there = sa.select(duties.c.name).where(duties.c.name == name)
        if connection.scalar(there) is not None:
            return False
        first = sa.insert(duties).values(name=name, **values)
        return ancestry.done(connection, first)

# SPDX-License-Identifier: Apache-2.0
"""Which pools the rows are about, and whether a brake is engaged.

On the schema of the release before, neither is recorded.
"""

import sqlalchemy as sa

from rbdcloner.db import ancestry
from rbdcloner.db import clock
from rbdcloner.db.tables import brakes
from rbdcloner.db.tables import pools
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from rbdcloner.model import Brake


class Safety(Database):
    """How :class:`~rbdcloner.db.lineage.Lineage` knows what is not itself."""

    _brakes_are_there = False

    @writes
    def pool_id(
        self, connection: sa.Connection, fsid: str, pool: str, found: int
    ) -> int:
        """Return the recorded id of *pool*: *found*, if there was none."""
        if not self._has_brakes(connection):
            return found
        statement = sa.select(pools.c.pool_id).where(
            pools.c.fsid == fsid, pools.c.name == pool
        )
        if (known := connection.scalar(statement)) is not None:
            return int(known)
        values = {'fsid': fsid, 'name': pool, 'pool_id': found}
        ancestry.done(connection, sa.insert(pools).values(values))
        return int(connection.execute(statement).scalar_one())

    @writes
    def replace_pool(
        self, connection: sa.Connection, fsid: str, pool: str, pool_id: int
    ) -> None:
        """Record that the rows of *pool* are about the one with *pool_id*."""
        if self._has_brakes(connection):
            connection.execute(
                sa.update(pools)
                .where(pools.c.fsid == fsid, pools.c.name == pool)
                .values(pool_id=pool_id)
            )

    @reads
    def brakes(self, connection: sa.Connection, fsid: str = '') -> list[Brake]:
        """Return the brakes of a cluster, or of all, by name."""
        if not self._has_brakes(connection):
            return []
        statement = sa.select(brakes).order_by(brakes.c.fsid, brakes.c.name)
        if fsid:
            statement = statement.where(brakes.c.fsid == fsid)
        return [Brake(**row._mapping) for row in connection.execute(statement)]

    @writes
    def engage_brake(
        self, connection: sa.Connection, fsid: str, name: str, reason: str
    ) -> bool:
        """Record a brake; False if it was engaged, for whatever reason."""
        if not self._has_brakes(connection):
            return False
        values = {
            'fsid': fsid,
            'name': name,
            'released': False,
            'reason': reason,
            'engaged_at': clock.utc_now(),
        }
        return ancestry.done(connection, sa.insert(brakes).values(values))

    @writes
    def release_brakes(self, connection: sa.Connection) -> int:
        """Record an administrator's word to go on; how many were engaged."""
        if not self._has_brakes(connection):
            return 0
        statement = sa.update(brakes).where(sa.not_(brakes.c.released))
        return connection.execute(statement.values(released=True)).rowcount

    @writes
    def end_brake(
        self, connection: sa.Connection, fsid: str, name: str
    ) -> None:
        """Forget a brake; repeated, nothing."""
        if self._has_brakes(connection):
            connection.execute(
                sa.delete(brakes).where(
                    brakes.c.fsid == fsid, brakes.c.name == name
                )
            )

    def _has_brakes(self, connection: sa.Connection) -> bool:
        if not self._brakes_are_there:
            self._brakes_are_there = sa.inspect(connection).has_table(
                brakes.name
            )
        return self._brakes_are_there

# SPDX-License-Identifier: Apache-2.0
"""Which pools the rows are about, and whether a brake is engaged."""

import sqlalchemy as sa

from rbdcloner.db.core import clock
from rbdcloner.db.core import statements
from rbdcloner.db.core.transaction import Section
from rbdcloner.db.core.transaction import reads
from rbdcloner.db.core.transaction import writes
from rbdcloner.db.schema import brakes
from rbdcloner.db.schema import pools
from rbdcloner.model import Brake


class Pools(Section):
    """How :class:`~rbdcloner.db.lineage.Lineage` knows what is not itself."""

    @writes
    def pool_id(
        self, connection: sa.Connection, fsid: str, pool: str, found: int
    ) -> int:
        """Return the recorded id of *pool*: *found*, if there was none."""
        statement = sa.select(pools.c.pool_id).where(
            pools.c.fsid == fsid, pools.c.name == pool
        )
        if (known := connection.scalar(statement)) is not None:
            return int(known)
        values = {'fsid': fsid, 'name': pool, 'pool_id': found}
        statements.write(connection, sa.insert(pools).values(values))
        return int(connection.execute(statement).scalar_one())

    @writes
    def replace_pool(
        self, connection: sa.Connection, fsid: str, pool: str, pool_id: int
    ) -> None:
        """Record that the rows of *pool* are about the one with *pool_id*."""
        connection.execute(
            sa.update(pools)
            .where(pools.c.fsid == fsid, pools.c.name == pool)
            .values(pool_id=pool_id)
        )

    @reads
    def brakes(self, connection: sa.Connection, fsid: str = '') -> list[Brake]:
        """Return the brakes of a cluster, or of all, by name."""
        statement = sa.select(brakes).order_by(brakes.c.fsid, brakes.c.name)
        if fsid:
            statement = statement.where(brakes.c.fsid == fsid)
        return [Brake(**row._mapping) for row in connection.execute(statement)]

    @writes
    def engage_brake(
        self, connection: sa.Connection, fsid: str, name: str, reason: str
    ) -> bool:
        """Record a brake; False if it was engaged, for whatever reason."""
        values = {
            'fsid': fsid,
            'name': name,
            'released': False,
            'reason': reason,
            'engaged_at': clock.utc_now(),
        }
        return statements.write(connection, sa.insert(brakes).values(values))

    @writes
    def release_brakes(self, connection: sa.Connection) -> int:
        """Record an administrator's word to go on; how many were engaged."""
        statement = sa.update(brakes).where(sa.not_(brakes.c.released))
        return connection.execute(statement.values(released=True)).rowcount

    @writes
    def end_brake(
        self, connection: sa.Connection, fsid: str, name: str
    ) -> None:
        """Forget a brake; repeated, nothing."""
        connection.execute(
            sa.delete(brakes).where(
                brakes.c.fsid == fsid, brakes.c.name == name
            )
        )

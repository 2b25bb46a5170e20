# SPDX-License-Identifier: Apache-2.0
"""Which worker processes there are, where Ceph knows them, what they hold.

The table is newer than the oldest schema that this release works on. Until it
is there nothing of a worker is recorded and nobody is found: each method does
nothing, and looks again the next time. The addresses that a process noted are
kept in its memory, for a row that is made later than they were used.
"""

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence
import datetime
from typing import Any

import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.db import ancestry
from rbdcloner.db import clock
from rbdcloner.db import columns
from rbdcloner.db import rows
from rbdcloner.db.tables import bases
from rbdcloner.db.tables import clones
from rbdcloner.db.tables import flattens
from rbdcloner.db.tables import workers
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from rbdcloner.model import Clone
from rbdcloner.model import Worker
from rbdcloner.states import State

#: Where a row can be held: a retired image's while it is purged, and what is
#: imported while that is finished.
_HELD = sorted(states.IN_PROGRESS | {State.IMPORTING, State.RETIRED})


_MAY_RUN_S = 60.0


class Workers(Database):
    """What :class:`~rbdcloner.db.lineage.Lineage` knows of the workers."""

    _table_is_there = False

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine)
        self._own_addresses: dict[str, list[str]] = {}

    @reads
    def now(self, connection: sa.Connection) -> datetime.datetime:
        """Return the time by the database's clock."""
        return connection.scalars(sa.select(rows.NOW)).one()

    @reads
    def records_workers(self, connection: sa.Connection) -> bool:
        """Tell whether the schema has a place for workers."""
        return self._recorded(connection)

    @writes
    def register_worker(
        self,
        connection: sa.Connection,
        owner: str,
        host: str,
        pid: int,
        version: str,
        rpc_version: str,
    ) -> None:
        """Record the worker *owner*, which is alive; its addresses stay."""
        if self._recorded(connection):
            _locked(connection, owner, self._own_addresses.get(owner, ()))
            _update(
                connection,
                owner,
                host=host[: columns.HOST_LENGTH],
                pid=pid,
                version=version[: columns.ID_LENGTH],
                rpc_version=rpc_version,
                seen_at=clock.utc_now(),
            )

    @writes
    def beat(
        self, connection: sa.Connection, owner: str, clock_offset_ms: int
    ) -> bool:
        """Record that *owner* is alive; False if it must register again."""
        return self._recorded(connection) and _update(
            connection,
            owner,
            clock_offset_ms=clock_offset_ms,
            seen_at=clock.utc_now(),
        )

    @writes
    def note_addresses(
        self, connection: sa.Connection, owner: str, addresses: Sequence[str]
    ) -> None:
        """Add to the addresses that *owner* uses, before it does."""
        noted = self._own_addresses.setdefault(owner, [])
        noted += [one for one in addresses if one not in noted]
        if self._recorded(connection):
            known = _locked(connection, owner, noted)
            new = [one for one in addresses if one not in known]
            _update(connection, owner, addresses=' '.join([*known, *new]))

    @reads
    def addresses_of(
        self, connection: sa.Connection, owner: str
    ) -> tuple[str, ...]:
        """Return the addresses of *owner* that are not yet shut out.

        Where there are none, another process may have shut them out a moment
        ago: whoever relies on that waits for the latest OSD map all the same.
        """
        if not self._recorded(connection):
            return ()
        return _addresses(connection, owner)

    @writes
    def shut_out(
        self, connection: sa.Connection, owner: str, addresses: Iterable[str]
    ) -> None:
        """Record that Ceph refuses these *addresses* of *owner*.

        An address that it got meanwhile stays, to be shut out with the next.
        """
        if self._recorded(connection):
            gone = set(addresses)
            left = [a for a in _locked(connection, owner) if a not in gone]
            _update(
                connection,
                owner,
                addresses=' '.join(left),
                shut_out_at=clock.utc_now(),
            )

    @writes
    def forget_addresses(
        self, connection: sa.Connection, owner: str, addresses: Iterable[str]
    ) -> None:
        """Record that *owner*, if it is recorded, has closed these."""
        gone = set(addresses)
        noted = self._own_addresses.get(owner, ())
        self._own_addresses[owner] = [a for a in noted if a not in gone]
        if self._recorded(connection):
            known = connection.scalar(_addresses_of(owner).with_for_update())
            left = [a for a in (known or '').split() if a not in gone]
            _update(connection, owner, addresses=' '.join(left))

    @writes
    def worker_stopped(self, connection: sa.Connection, owner: str) -> None:
        """Record that *owner* ended by itself."""
        if self._recorded(connection):
            _update(connection, owner, stopped_at=clock.utc_now())

    @writes
    def forget_worker(self, connection: sa.Connection, owner: str) -> None:
        """Delete *owner*, which has never begun to work."""
        if self._recorded(connection):
            connection.execute(
                sa.delete(workers).where(workers.c.owner == owner)
            )

    @writes
    def forget_workers(self, connection: sa.Connection, gone_s: float) -> int:
        """Delete who was not seen for *gone_s* and holds nothing; how many."""
        if not self._recorded(connection):
            return 0
        statement = sa.delete(workers).where(
            workers.c.seen_at < clock.utc_after(-gone_s),
            ~sa.exists().where(
                clones.c.owner == workers.c.owner,
                clones.c.state.in_(_HELD),
                clones.c.lease_expires_at.is_not(None),
            ),
            ~sa.exists().where(
                flattens.c.owner == workers.c.owner,
                flattens.c.state == states.FlattenState.RUNNING,
            ),
        )
        if sa.inspect(connection).has_table(bases.name):
            statement = statement.where(
                ~sa.exists().where(
                    bases.c.owner == workers.c.owner,
                    bases.c.state == states.BaseState.RUNNING,
                )
            )
        return connection.execute(statement).rowcount

    @reads
    def workers(self, connection: sa.Connection) -> list[Worker]:
        """Return every worker that is recorded, by host and start."""
        if not self._recorded(connection):
            return []
        now = rows.NOW.label('looked_at')
        statement = sa.select(workers, now).order_by(
            workers.c.host, workers.c.started_at, workers.c.owner
        )
        return [rows.worker(row) for row in connection.execute(statement)]

    @reads
    def has_workers_before(
        self, connection: sa.Connection, rpc_version: tuple[int, int]
    ) -> bool:
        """Tell whether a worker may run that knows only an older version.

        One that has not been seen for a minute does not.
        """
        if not self._recorded(connection):
            return False
        statement = sa.select(workers.c.rpc_version).where(
            workers.c.stopped_at.is_(None),
            workers.c.seen_at > clock.utc_after(-_MAY_RUN_S),
        )
        return any(
            tuple(map(int, known.split('.'))) < rpc_version
            for known in connection.scalars(statement.distinct())
        )

    @reads
    def held(self, connection: sa.Connection) -> list[Clone]:
        """Return the clones that somebody holds, by id.

        A lease that has run out is one that nobody has taken over yet.
        """
        statement = rows.CLONES.where(
            clones.c.state.in_(_HELD), clones.c.lease_expires_at.is_not(None)
        ).order_by(clones.c.id)
        return [
            rows.clone_and_parent(row) for row in connection.execute(statement)
        ]

    def _recorded(self, connection: sa.Connection) -> bool:
        if not self._table_is_there:
            self._table_is_there = _is_there(connection)
        return self._table_is_there


def refuse_late(
    connection: sa.Connection,
    owner: str,
    name: str,
    shut_out: Collection[str] | None,
) -> None:
    """Refuse to take *name* from an *owner* that may still be at work on it.

    :raises HolderLate: *shut_out*, the addresses that Ceph refuses, is not
        given, or lacks one of its addresses.
    """
    addresses = _addresses(connection, owner) if _is_there(connection) else ()
    if shut_out is None or not set(addresses) <= set(shut_out):
        raise errors.HolderLate(
            owner=owner, name=name, addresses=list(addresses)
        )


def _is_there(connection: sa.Connection) -> bool:
    return sa.inspect(connection).has_table(workers.name)


def _addresses_of(owner: str) -> sa.Select[Any]:
    return sa.select(workers.c.addresses).where(workers.c.owner == owner)


def _addresses(connection: sa.Connection, owner: str) -> tuple[str, ...]:
    return tuple((connection.scalar(_addresses_of(owner)) or '').split())


def _locked(
    connection: sa.Connection, owner: str, noted: Iterable[str] = ()
) -> list[str]:
    """Return the addresses of *owner*'s row, and keep others from it.

    A row that has to be made has those *noted*.
    """
    statement = sa.select(workers.c.addresses).where(workers.c.owner == owner)
    found = connection.scalar(statement.with_for_update())
    if found is None:
        blank = {'host': '', 'pid': 0, 'version': '', 'rpc_version': ''}
        insert = sa.insert(workers).values(
            **blank,
            owner=owner,
            clock_offset_ms=0,
            addresses=' '.join(noted),
            started_at=clock.utc_now(),
            seen_at=clock.utc_now(),
        )
        ancestry.done(connection, insert)
        found = connection.scalar(statement.with_for_update())
    return str(found or '').split()


def _update(connection: sa.Connection, owner: str, **values: Any) -> bool:
    statement = sa.update(workers).where(workers.c.owner == owner)
    return connection.execute(statement.values(**values)).rowcount == 1

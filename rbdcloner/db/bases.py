# SPDX-License-Identifier: Apache-2.0
"""Which Glance images are imported, or are to be.

An image of one checksum has one live row in a cluster: that it is wanted, runs
or is there. On the schema of the release before nothing is imported.
"""

from collections.abc import Sequence
import uuid

import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.db import ancestry
from rbdcloner.db import clock
from rbdcloner.db import migration
from rbdcloner.db import rows
from rbdcloner.db.tables import bases
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from rbdcloner.model import Base
from rbdcloner.model import Way
from rbdcloner.states import BaseState

_LIVE = sorted(states.LIVE_BASES)
_UNDER_WAY = frozenset({BaseState.WANTED, BaseState.RUNNING})

# Callers who wait ask every few seconds, each of them.
_ASKED_EVERY_S = 10


class Bases(Database):
    """How :class:`~rbdcloner.db.lineage.Lineage` finds and wants bases."""

    _bases_are_there = False

    def want_base(
        self,
        fsid: str,
        glance_image_id: str,
        checksum: str,
        total_bytes: int,
        again: bool = False,
    ) -> Base:
        """Have an image imported: its live row, or a new WANTED one.

        One that was refused last is returned, and stays so, unless *again*:
        that is an administrator's wish, for which nobody has to wait. When
        another was asked for is recorded, every few seconds. A READY base, the
        common case, costs one read.

        :raises DatabaseRevision: the schema has no place for bases.
        :raises RowMoved: it was there, and has come to its end just now.
        """
        known = self.find_base(fsid, glance_image_id, checksum)
        if known is None or not _stays(known, again):
            return self._want_base(
                fsid, glance_image_id, checksum, total_bytes, again
            )
        if known.state in _UNDER_WAY:
            self._note_asked(known, again)
        return known

    @reads
    def find_base(
        self,
        connection: sa.Connection,
        fsid: str,
        glance_image_id: str,
        checksum: str,
    ) -> Base | None:
        """Return the live row of an image, else the newest of the others."""
        if not self._are_there(connection):
            return None
        return _newest(connection, fsid, glance_image_id, checksum)

    @reads
    def base(self, connection: sa.Connection, uuid: str) -> Base:
        """Return the row with a uuid.

        :raises BaseNotFound: there is none.
        """
        known = None
        if self._are_there(connection):
            known = one(connection, bases.c.uuid == uuid)
        if known is None:
            raise errors.BaseNotFound(uuid=uuid)
        return known

    @reads
    def bases(
        self,
        connection: sa.Connection,
        states: Sequence[BaseState] = (),
        glance_image_id: str = '',
        marker: int = 0,
        limit: int = 100,
    ) -> list[Base]:
        """Return bases with id > *marker*, by id, at most *limit*.

        Those in *states* and of a Glance image, or all.
        """
        if not self._are_there(connection):
            return []
        conditions = [bases.c.id > marker]
        if states:
            conditions.append(bases.c.state.in_(states))
        if glance_image_id:
            conditions.append(bases.c.glance_image_id == glance_image_id)
        return page(connection, limit, *conditions)

    @reads
    def bases_beat(self, connection: sa.Connection) -> str:
        """Return a text that changes when any live base comes on.

        It does not where only leases are renewed, or where what failed is
        tried again: that comes on when it has some of the data.
        """
        if not self._are_there(connection):
            return ''
        is_first = bases.c.attempts == 0
        statement = sa.select(
            sa.func.count(),
            sa.func.sum(sa.case((is_first, bases.c.fence))),
            sa.func.sum(bases.c.done_bytes),
            sa.func.max(sa.case((is_first, bases.c.updated_at))),
        ).where(bases.c.state.in_(_LIVE))
        return ' '.join(map(str, connection.execute(statement).one()))

    @writes
    def _note_asked(
        self, connection: sa.Connection, base: Base, again: bool
    ) -> None:
        """Record that somebody asked for *base* now."""
        statement = sa.update(bases).where(
            bases.c.id == base.id, bases.c.asked_at.is_not(None)
        )
        if again:
            statement = statement.values(asked_at=None)
        else:
            since = clock.utc_after(-_ASKED_EVERY_S)
            statement = statement.where(bases.c.asked_at < since)
            statement = statement.values(asked_at=clock.utc_now())
        connection.execute(statement)

    @writes
    def _want_base(
        self,
        connection: sa.Connection,
        fsid: str,
        glance_image_id: str,
        checksum: str,
        total_bytes: int,
        again: bool,
    ) -> Base:
        if not self._are_there(connection):
            raise errors.DatabaseRevision(
                current=migration.revision_of(connection),
                needed=migration.needed(),
            )
        known = _newest(connection, fsid, glance_image_id, checksum)
        if known is not None and _stays(known, again):
            return known
        statement = inserting(fsid, glance_image_id, checksum, total_bytes)
        if not again:
            statement = statement.values(asked_at=clock.utc_now())
        ancestry.done(connection, statement)
        known = _newest(connection, fsid, glance_image_id, checksum)
        if known is None or not _stays(known, False):
            raise errors.RowMoved(
                name=f'image {glance_image_id}', expected=BaseState.WANTED
            )
        return known

    def _are_there(self, connection: sa.Connection) -> bool:
        """Tell whether the schema has a place for bases."""
        if not self._bases_are_there:
            schema = sa.inspect(connection)
            self._bases_are_there = schema.has_table(bases.name) and any(
                column['name'] == bases.c.asked_at.name
                for column in schema.get_columns(bases.name)
            )
        return self._bases_are_there


def _stays(base: Base, again: bool) -> bool:
    """Tell whether *base* answers who wants one."""
    if base.state is BaseState.REFUSED:
        return not again
    return base.state in states.LIVE_BASES


def _newest(
    connection: sa.Connection, fsid: str, glance_image_id: str, checksum: str
) -> Base | None:
    """Return the live row of an image, else the newest of the others."""
    statement = rows.BASES.where(
        bases.c.glance_image_id == glance_image_id,
        bases.c.checksum == checksum,
        bases.c.fsid == fsid,
    )
    statement = statement.order_by(bases.c.live.is_(None), bases.c.id.desc())
    row = connection.execute(statement.limit(1)).one_or_none()
    return None if row is None else rows.base(row)


def inserting(
    fsid: str, glance_image_id: str, checksum: str, total_bytes: int
) -> sa.Insert:
    """Return what makes a base that is WANTED."""
    return sa.insert(bases).values(
        uuid=str(uuid.uuid4()),
        fsid=fsid,
        glance_image_id=glance_image_id,
        checksum=checksum,
        state=BaseState.WANTED,
        live=1,
        way=Way.UNDECIDED,
        done_bytes=0,
        total_bytes=total_bytes,
        reason='',
        owner='',
        fence=0,
        attempts=0,
        created_at=clock.utc_now(),
        updated_at=clock.utc_now(),
    )


def page(
    connection: sa.Connection, limit: int, *conditions: sa.ColumnElement[bool]
) -> list[Base]:
    """Return the bases under *conditions*, by id, at most *limit*."""
    statement = rows.BASES.where(*conditions).order_by(bases.c.id).limit(limit)
    return [rows.base(row) for row in connection.execute(statement)]


def one(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool]
) -> Base | None:
    """Return the oldest base under *conditions*, if there is one."""
    return next(iter(page(connection, 1, *conditions)), None)

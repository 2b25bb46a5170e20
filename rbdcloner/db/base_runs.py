# SPDX-License-Identifier: Apache-2.0
"""An import that runs: whose it is, how far, and what comes of it.

Where other rows are locked too, parents come first, then clones, then bases.
"""

from collections.abc import Collection
import dataclasses
from typing import Any

import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.db import bases as known_bases
from rbdcloner.db import changing
from rbdcloner.db import clock
from rbdcloner.db import columns
from rbdcloner.db import slots
from rbdcloner.db.bases import Bases
from rbdcloner.db.tables import bases
from rbdcloner.db.transaction import writes
from rbdcloner.model import Base
from rbdcloner.model import Way
from rbdcloner.states import BaseState


class BaseRuns(Bases):
    """What :class:`~rbdcloner.db.lineage.Lineage` does to a base's row."""

    def next_base(
        self,
        owner: str,
        lease_s: float,
        limit: int,
        shut_out: Collection[str] | None = None,
    ) -> Base | None:
        """Take a base to import, as :func:`rbdcloner.db.slots.take`.

        :raises HolderLate: another is late, and *shut_out* was not given, or
            lacks one of its addresses.
        """
        return slots.tried(
            lambda: self._next_base(owner, lease_s, limit, shut_out)
        )

    @writes
    def base_progress(
        self,
        connection: sa.Connection,
        base: Base,
        done_bytes: int,
        total_bytes: int,
        lease_s: float,
        way: Way | None = None,
    ) -> Base:
        """Record how far the RUNNING *base* is, and renew its lease.

        It counts as untouched where it has not come on since *base* was read.

        :raises RowMoved: it was dropped, or another took it.
        """
        now = {
            'done_bytes': done_bytes,
            'total_bytes': total_bytes,
            'way': base.way if way is None else way,
        }
        values = {'lease_expires_at': clock.utc_after(lease_s), **now}
        if any(getattr(base, name) != value for name, value in now.items()):
            values['updated_at'] = clock.utc_now()
        return run_on(connection, base, **values)

    @writes
    def put_back_base(
        self, connection: sa.Connection, base: Base, reason: str
    ) -> Base:
        """Move *base* RUNNING → WANTED, after a pause, longer each time.

        :raises RowMoved: as :meth:`base_progress`.
        """
        return moved(
            connection,
            base,
            BaseState.WANTED,
            reason=reason,
            done_bytes=0,
            **changing.backoff(base.attempts),
        )

    @writes
    def refuse_base(
        self, connection: sa.Connection, base: Base, reason: str
    ) -> Base:
        """Move *base* WANTED or RUNNING → REFUSED.

        :raises RowMoved: it was dropped, or another took it.
        """
        return moved(connection, base, BaseState.REFUSED, reason=reason)

    @writes
    def abandon_base(
        self, connection: sa.Connection, base: Base, reason: str
    ) -> Base:
        """Move *base* RUNNING → DROPPED; its image is another's to remove.

        :raises RowMoved: as :meth:`base_progress`.
        """
        return moved(connection, base, BaseState.DROPPED, reason=reason)

    @writes
    def copied_base(self, connection: sa.Connection, base: Base) -> Base:
        """Move *base* RUNNING → COPIED.

        :raises RowMoved: as :meth:`base_progress`.
        """
        return moved(connection, base, BaseState.COPIED)

    @writes
    def _next_base(
        self,
        connection: sa.Connection,
        owner: str,
        lease_s: float,
        limit: int,
        shut_out: Collection[str] | None,
    ) -> Base | None:
        if not self._are_there(connection):
            return None
        here = self.here(bases)
        queue = dataclasses.replace(
            _QUEUE, one=lambda *wanted: known_bases.one(*wanted, *here)
        )
        return slots.take(connection, queue, owner, lease_s, limit, shut_out)


def moved(
    connection: sa.Connection,
    base: Base,
    state: BaseState,
    reason: str = '',
    **values: Any,
) -> Base:
    """Move the row of *base* to *state*, and nobody holds it: its one door.

    :raises RowMoved: state or fence are not *base*'s any more.
    """
    if not states.base_may_follow(base.state, state):
        raise ValueError(f'{state} may not follow {base.state}')
    return _changed(
        connection,
        base,
        base.state,
        state=state,
        live=1 if state in states.LIVE_BASES else None,
        reason=reason[: columns.REASON_LENGTH],
        slot=None,
        lease_expires_at=None,
        updated_at=clock.utc_now(),
        **values,
    )


def run_on(connection: sa.Connection, base: Base, **values: Any) -> Base:
    """Write *values* into the row of *base*, which is still running.

    :raises RowMoved: it is not, or another has taken it.
    """
    return _changed(connection, base, BaseState.RUNNING, **values)


def _changed(
    connection: sa.Connection,
    base: Base,
    expected: BaseState,
    /,
    **values: Any,
) -> Base:
    statement = sa.update(bases).where(
        bases.c.id == base.id,
        bases.c.state == expected,
        bases.c.fence == base.fence,
    )
    known = None
    if connection.execute(statement.values(**values)).rowcount:
        known = known_bases.one(connection, bases.c.id == base.id)
    if known is None:
        raise errors.RowMoved(
            name=str(base), expected=f'{expected}, fence {base.fence}'
        )
    return known


_QUEUE = slots.Queue(bases, known_bases.one, str)

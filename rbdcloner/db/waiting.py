# SPDX-License-Identifier: Apache-2.0
"""Which clones and parents wait for somebody to go on with them.

A retired image waits until no child is attached to any of its snapshots: the
two are one question, asked both ways.
"""

from collections.abc import Collection

import sqlalchemy as sa

from rbdcloner import states
from rbdcloner.db import absences
from rbdcloner.db import clock
from rbdcloner.db import rows
from rbdcloner.db.changing import DUE
from rbdcloner.db.changing import UNHELD
from rbdcloner.db.tables import clones
from rbdcloner.db.tables import parents
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from rbdcloner.model import Clone
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.states import ParentState
from rbdcloner.states import State

# A request that plans a snapshot comes back to it sooner.
_MIN_IDLE_PLAN_S = 150.0

#: The clones that :func:`below` asks for.
children = clones.alias('children')
_snapshots = parents.alias('snapshots')


def below(*conditions: sa.ColumnElement[bool]) -> sa.Exists:
    """Return whether a clone has :data:`children` under *conditions*.

    Through any row of its image's snapshots.
    """
    return (
        sa.select(sa.literal(1))
        .select_from(_snapshots)
        .join(children, children.c.parent_id == _snapshots.c.id)
        .where(
            _snapshots.c.image_id == clones.c.image_id,
            _snapshots.c.pool == clones.c.pool,
            _snapshots.c.namespace == clones.c.namespace,
            _snapshots.c.fsid == clones.c.fsid,
            *conditions,
        )
        .correlate(clones)
        .exists()
    )


#: An attached child, through any row of the image's snapshots.
HAS_CHILDREN = below(children.c.attached == 1)


class Waiting(absences.Absences):
    """How :class:`~rbdcloner.db.lineage.Lineage` finds work that was left."""

    @reads
    def abandoned(
        self,
        connection: sa.Connection,
        idle_s: float,
        limit: int,
        among: Collection[State] = states.IN_PROGRESS,
    ) -> list[Clone]:
        """Return rows in progress that nobody holds, idle for *idle_s*.

        In one of the states *among*, and not those that pause after an
        attempt.

        Those that nobody has touched for the longest come first, so that
        rows which fail again and again do not keep others waiting; at most
        *limit*.
        """
        statement = (
            rows.CLONES.where(
                *self.here(clones),
                clones.c.state.in_(sorted(among)),
                clones.c.updated_at <= clock.utc_after(-idle_s),
                UNHELD,
                DUE,
            )
            .order_by(clones.c.updated_at, clones.c.id)
            .limit(limit)
        )
        return [
            rows.clone_and_parent(row) for row in connection.execute(statement)
        ]

    @reads
    def late(
        self, connection: sa.Connection, late_s: float, limit: int
    ) -> list[Clone]:
        """Return rows in progress whose lease ran out *late_s* ago.

        Their holders were killed, or hang: nobody let them go. The latest
        come first; at most *limit*.
        """
        statement = (
            rows.CLONES.where(
                *self.here(clones),
                clones.c.state.in_(sorted(states.IN_PROGRESS)),
                clones.c.lease_expires_at <= clock.utc_after(-late_s),
            )
            .order_by(clones.c.lease_expires_at, clones.c.id)
            .limit(limit)
        )
        return [
            rows.clone_and_parent(row) for row in connection.execute(statement)
        ]

    @reads
    def reapable(
        self, connection: sa.Connection, limit: int, absent_s: float = 0
    ) -> list[Clone]:
        """Return RETIRED rows that no attached child needs.

        None that Glance has lacked for less than *absent_s*. Nobody holds
        them, and they don't pause after an attempt. The longest untouched
        come first; at most *limit*. Costs a look-up for each RETIRED row.
        """
        statement = (
            rows.CLONES.where(
                *self.here(clones),
                clones.c.state == State.RETIRED,
                UNHELD,
                DUE,
                sa.not_(HAS_CHILDREN),
                *(
                    [sa.not_(absences.is_young(absent_s))]
                    if self._has_absences(connection)
                    else []
                ),
            )
            .order_by(clones.c.updated_at, clones.c.id)
            .limit(limit)
        )
        return [
            rows.clone_and_parent(row) for row in connection.execute(statement)
        ]

    @reads
    def is_reapable(self, connection: sa.Connection, clone: Clone) -> bool:
        """Tell whether *clone* is RETIRED and needed no more.

        One that is to lie in the trash for a while is needed until then.
        """
        statement = sa.select(clones.c.id).where(
            clones.c.id == clone.id,
            clones.c.state == State.RETIRED,
            sa.or_(clones.c.attempts > 0, DUE),
            sa.not_(HAS_CHILDREN),
        )
        return connection.scalar(statement) is not None

    @reads
    def waiting(
        self, connection: sa.Connection, marker: int = 0, limit: int = 100
    ) -> list[Clone]:
        """Return RETIRED rows that an attached child needs, by id."""
        statement = (
            rows.CLONES.where(
                *self.here(clones),
                clones.c.state == State.RETIRED,
                clones.c.id > marker,
                HAS_CHILDREN,
            )
            .order_by(clones.c.id)
            .limit(limit)
        )
        return [
            rows.clone_and_parent(row) for row in connection.execute(statement)
        ]

    @writes
    def detach_ended(self, connection: sa.Connection) -> int:
        """Detach the final rows that are attached; return how many were.

        A manager of the release before ends a row without detaching it.
        """
        statement = (
            sa.update(clones)
            .where(clones.c.state.in_(sorted(states.FINAL)))
            .where(clones.c.attached == 1)
            .values(attached=None)
        )
        return connection.execute(statement).rowcount

    @reads
    def unneeded_parents(
        self, connection: sa.Connection, idle_s: float, limit: int
    ) -> list[Parent]:
        """Return the parents to release, untouched for *idle_s*.

        Those that the service protects, or made, for no attached child, those
        whose release somebody began and left, and what was planned and nobody
        made; the longest untouched first. One whose release failed has been
        put off (:meth:`put_off_parent`), so that no number of them keeps
        others waiting.
        """
        statement = (
            sa.select(parents)
            .where(
                *self.here(parents),
                _unneeded(idle_s),
                parents.c.updated_at <= clock.utc_after(-idle_s),
            )
            .order_by(parents.c.updated_at, parents.c.id)
            .limit(limit)
        )
        return [rows.parent(row) for row in connection.execute(statement)]

    @writes
    def put_off_parent(
        self, connection: sa.Connection, parent: Parent
    ) -> None:
        """Record an attempt to release *parent*: others come first now."""
        connection.execute(
            sa.update(parents)
            .where(parents.c.id == parent.id)
            .values(updated_at=clock.utc_now())
        )


def _unneeded(idle_s: float) -> sa.ColumnElement[bool]:
    for_nobody = sa.not_(
        sa.exists().where(
            clones.c.parent_id == parents.c.id, clones.c.attached == 1
        )
    )
    protected = sa.and_(
        parents.c.state == ParentState.ACTIVE,
        parents.c.protector == Protector.SERVICE,
        parents.c.purpose == Purpose.ADOPTED,
        for_nobody,
    )
    edge = sa.and_(
        parents.c.purpose == Purpose.EDGE,
        parents.c.state.in_([ParentState.ACTIVE, ParentState.PLANNED]),
        for_nobody,
    )
    forgotten = sa.and_(
        parents.c.purpose.in_([Purpose.CALLER, Purpose.GLANCE]),
        parents.c.state == ParentState.PLANNED,
        parents.c.updated_at
        <= clock.utc_after(-max(idle_s, _MIN_IDLE_PLAN_S)),
    )
    left = parents.c.state == ParentState.RELEASING
    return sa.or_(protected, edge, forgotten, left)

# SPDX-License-Identifier: Apache-2.0
"""Rollbacks of disks to their snapshots, each for a row that is held."""

import dataclasses

from rbdcloner import errors
from rbdcloner.cloning.generation import Generation
from rbdcloner.cloning.holding import Holder
from rbdcloner.cloning.removing import when_closed
from rbdcloner.cloning.warrants import Gate
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import Order
from rbdcloner.model import Parent
from rbdcloner.model import Warrant
from rbdcloner.states import ParentState
from rbdcloner.states import State

#: Nothing of the image was changed.
_NOT_ROLLED_BACK = (
    errors.DatabaseOutdated,
    errors.DestructionRefused,
    errors.ParentReleased,
    errors.RbdImageInUse,
    errors.RbdImageNotFound,
    errors.SnapshotNotFound,
    errors.SnapshotTrashed,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Rollbacks:
    """Rolls back images of one cluster."""

    lineage: Lineage
    gate: Gate
    generation: Generation
    holder: Holder

    def roll_back(self, clone: Clone, begun: bool) -> Clone:
        """Give a ROLLING_BACK row's image its target's data; the row, READY.

        *begun* is whether somebody may have begun with it before: then the
        image may have some of both, and stays ROLLING_BACK until it is done.

        :raises ParentReleased: the snapshot is being removed.
        """
        with self.holder.working_on(clone, long=True):
            (target,) = self.lineage.parents([clone.rollback_to or 0])
            warrant = Warrant(
                Order.CALLER, f'the row says {clone.state}', clone.uuid
            )
            try:
                self.generation.check(clone.image.pool)
                _check_stays(target)
                when_closed(
                    lambda: self.gate.roll_back(target.snapshot, warrant),
                    self.lineage,
                    clone,
                )
            except _NOT_ROLLED_BACK as exc:
                if not begun:
                    self.lineage.move(
                        clone,
                        State.READY,
                        reason=errors.reason_of(exc),
                        done=False,
                    )
                raise
            return self.lineage.move(
                clone,
                State.READY,
                size_bytes=target.size_bytes,
                reason='',
                done=True,
            )


def _check_stays(target: Parent) -> None:
    """Raise if the snapshot goes; read after the row says ROLLING_BACK.

    Whoever removes it says so first, and then looks at the row.
    """
    if target.state is not ParentState.ACTIVE:
        raise errors.ParentReleased(parent=str(target.snapshot))

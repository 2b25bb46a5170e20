# SPDX-License-Identifier: Apache-2.0
"""Rollbacks of disks to their snapshots, each for a row that is held.

A rollback that was interrupted leaves some of both data, and is done again
from its start. That destroys what was written since its request; so it is
given up, and the row is READY, where a user of the image has come between: a
client has it open that is no worker, or wrote to it after the request. It is
given up too where it can never be done: the snapshot, or the image, is gone.
"""

from collections.abc import Collection
import dataclasses
import logging

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning.generation import Generation
from rbdcloner.cloning.holding import Holder
from rbdcloner.cloning.removing import CLOCKS_DIFFER_BY
from rbdcloner.cloning.removing import when_closed
from rbdcloner.cloning.warrants import Gate
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Change
from rbdcloner.model import Clone
from rbdcloner.model import Order
from rbdcloner.model import Parent
from rbdcloner.model import Warrant
from rbdcloner.states import ParentState
from rbdcloner.states import State

LOG = logging.getLogger(__name__)

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

#: No later attempt can succeed.
_IMPOSSIBLE = (
    errors.RbdImageNotFound,
    errors.SnapshotNotFound,
    errors.SnapshotTrashed,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Rollbacks:
    """Rolls back images of one cluster.

    A client that died may have its images open for *open_for_s*.
    """

    ceph: Driver
    lineage: Lineage
    gate: Gate
    generation: Generation
    holder: Holder
    open_for_s: float = 60

    def roll_back(self, clone: Clone, begun: bool) -> Clone:
        """Give a ROLLING_BACK row's image its target's data; the row, READY.

        *begun* is whether a worker may have begun with it before: then the
        image may have some of both, and the row stays ROLLING_BACK until the
        rollback is done or given up.

        :raises ParentReleased: the snapshot is being removed.
        :raises RollbackAbandoned: it had begun, and is given up.
        """
        with self.holder.working_on(clone, long=True):
            (target,) = self.lineage.parents([clone.rollback_to or 0])
            change = self.lineage.find_open_change(clone)
            try:
                self.generation.check(clone.image.pool)
                if begun:
                    self._check_may_resume(clone, target, change)
                _check_stays(target)
                self._act(clone, target, change)
            except _NOT_ROLLED_BACK as exc:
                if begun and isinstance(exc, _IMPOSSIBLE):
                    why = str(exc).rstrip('.')
                    raise self._abandon(clone, why) from exc
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

    def resume(self, clone: Clone, found: Clone) -> None:
        """Finish a rollback for which no caller waits, or give it up.

        *found* is the row as it was before *clone* was taken.

        :raises RbdImageInUse: the image is open, perhaps by a worker.
        """
        try:
            self.roll_back(clone, begun=True)
        except errors.RollbackAbandoned as exc:
            LOG.debug('Clone %s is not rolled back: %s', clone.uuid, exc)
        except errors.RbdImageInUse as exc:
            users = self._users(found, exc.kwargs['watchers'])
            if not users:
                raise
            self._abandon(clone, f'its image is open at {", ".join(users)}')

    def _act(
        self, clone: Clone, target: Parent, change: Change | None
    ) -> None:
        warrant = Warrant(
            Order.CALLER,
            f'the row says {clone.state}',
            change.call if change else 'unknown',
        )
        when_closed(
            lambda: self.gate.roll_back(target.snapshot, warrant),
            self.lineage,
            clone,
        )

    def _check_may_resume(
        self, clone: Clone, target: Parent, change: Change | None
    ) -> None:
        """Raise where a rollback that had begun is not to be done again.

        When Ceph says that the image was written to just after the request,
        the clocks may differ.

        :raises RollbackAbandoned: it was given up just now.
        """
        if target.state is ParentState.RELEASED:
            raise self._abandon(clone, f'{target.snapshot} was removed')
        facts = self.ceph.find_image(clone.image)
        if facts is None or change is None:
            return
        if facts.modified_at > change.begun_at + CLOCKS_DIFFER_BY:
            raise self._abandon(
                clone,
                f'its image was written to at {facts.modified_at:%F %T} UTC, '
                f'after the request of {change.begun_at:%F %T}',
            )

    def _users(self, found: Clone, watchers: Collection[str]) -> list[str]:
        """Return the addresses where users have the row's image open.

        None while a worker that has just worked on it may be among them.
        """
        seen_at = self.lineage.now()
        idle_s = (seen_at - found.updated_at).total_seconds()
        if found.lease_expires_at is not None or idle_s < self.open_for_s:
            return []
        workers = {
            address
            for worker in self.lineage.workers()
            for address in worker.addresses
        }
        return sorted(set(watchers) - workers)

    def _abandon(self, clone: Clone, why: str) -> errors.RollbackAbandoned:
        """Give a rollback up; the row, READY. Returns what to raise."""
        facts = self.ceph.find_image(clone.image)
        size_bytes = facts.size_bytes if facts else None
        self.lineage.abandon_change(clone, why, size_bytes)
        LOG.error(
            'The rollback of disk %s (%s) is given up, its row is ready: %s. '
            'The disk may have data of before and after the snapshot: check '
            'its file systems. To roll back all the same, while it has the '
            'snapshot, stop the server and request the rollback again',
            *(clone.image, clone.image.id, why),
        )
        return errors.RollbackAbandoned(
            name=clone.image.name, pool=clone.image.pool, reason=why
        )


def _check_stays(target: Parent) -> None:
    """Raise if the snapshot goes; read after the row says ROLLING_BACK.

    Whoever removes it says so first, and then looks at the row.
    """
    if target.state is not ParentState.ACTIVE:
        raise errors.ParentReleased(parent=str(target.snapshot))

# SPDX-License-Identifier: Apache-2.0
"""Finishing or undoing what nobody works on any more.

A row in progress that nobody holds was left by a dead worker, or by a
request that Ceph did not answer. Whose caller still wants it calls again and
takes it over; else it is resolved here: a child not delivered is undone, a
removal is finished, a resize takes the size that Ceph has, a rollback is
finished unless somebody uses the disk. What we hold on a parent for no child
any more is given back.
"""

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import logging
import threading

from rbdcloner import errors
from rbdcloner.cloning.holding import Holder
from rbdcloner.cloning.making import Maker
from rbdcloner.cloning.releasing import Releaser
from rbdcloner.cloning.removing import Remover
from rbdcloner.cloning.rollbacks import Rollbacks
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import Parent
from rbdcloner.states import State

LOG = logging.getLogger(__name__)

#: Rows looked at in one sweep.
_AT_ONCE = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Recovery:
    """Sweeps one cluster's rows."""

    lineage: Lineage
    releaser: Releaser
    maker: Maker
    remover: Remover
    rollbacks: Rollbacks
    holder: Holder
    idle_s: float

    def sweep(self, stopping: threading.Event | None = None) -> int:
        """Resolve what nobody has worked on for ``idle_s``; how many were.

        A row that cannot be resolved now stays for the next sweep. When
        *stopping* is set, no row is begun; nor is one in a database that is
        older than the cluster.
        """
        if not self.remover.generation.is_current():
            return 0
        abandoned = self.lineage.abandoned(self.idle_s, _AT_ONCE)
        resolved = self._resolve_all(abandoned, stopping)
        unneeded = self.lineage.unneeded_parents(self.idle_s, _AT_ONCE)
        for parent in unneeded:
            if stopping and stopping.is_set():
                break
            resolved += self._release(parent)
        return resolved

    def take_over(self, stopping: threading.Event | None = None) -> int:
        """Resolve what the killed were at work on; as :meth:`sweep`.

        Soon after their leases ran out, but not before their callers had a
        moment to call again: these want it finished, not undone.
        """
        if not self.remover.generation.is_current():
            return 0
        late = self.lineage.late(self.holder.lease_s / 2, _AT_ONCE)
        return self._resolve_all(late, stopping)

    def retire_begun(self, stopping: threading.Event | None = None) -> int:
        """Retire what is to be deleted, for nobody waits; as :meth:`sweep`."""
        if not self.remover.generation.is_current():
            return 0
        retired = 0
        # What fails pauses, and is not found again.
        while begun := self.lineage.abandoned(0, _AT_ONCE, (State.DELETING,)):
            some = self._resolve_all(
                begun,
                stopping,
                lambda clone: self.remover.retire(self.holder.hold(clone)),
            )
            retired += some
            if not some:
                break
        return retired

    def _resolve_all(
        self,
        found: Iterable[Clone],
        stopping: threading.Event | None,
        resolve: Callable[[Clone], object] | None = None,
    ) -> int:
        resolved = 0
        for clone in found:
            if stopping and stopping.is_set():
                break
            try:
                (resolve or self._resolve)(clone)
            except (
                errors.DatabaseOutdated,
                errors.DiskBusy,
                errors.RowMoved,
            ):
                continue
            except errors.CephUnavailable as exc:
                LOG.warning('Recovery waits for Ceph: %s', exc)
                return resolved
            except errors.Error as exc:
                LOG.warning(
                    'Clone %s (%s) is still %s: %s',
                    clone.uuid, clone.image, clone.state, exc,
                )  # fmt: skip
            else:
                resolved += 1
        return resolved

    def _release(self, parent: Parent) -> bool:
        try:
            self.releaser.release(parent)
        except errors.Error as exc:
            LOG.warning('Parent %s stays for now: %s', parent.snapshot, exc)
            self.lineage.put_off_parent(parent)
            return False
        return True

    def _resolve(self, clone: Clone) -> None:
        self.remover.generation.check(clone.image.pool)
        found, clone = clone, self.holder.hold(clone)
        LOG.info(
            'Clone %s (%s) was left %s: %s',
            clone.uuid, clone.image, clone.state, clone.reason or 'no word',
        )  # fmt: skip
        match clone.state:
            case State.RESERVED:
                self._resolve_reserved(clone)
            case State.UNDOING:
                self.remover.undo(clone)
            case State.DELETING:
                self.remover.retire(clone)
            case State.RESTORING:
                self.remover.restore(clone)
            case State.RESIZING:
                self.maker.resize(clone, 0)
            case State.ROLLING_BACK:
                self.rollbacks.resume(clone, found)

    def _resolve_reserved(self, clone: Clone) -> None:
        """Deliver what was delivered before; else undo what was made."""
        if self.maker.recover(clone):
            return
        self.remover.undo(
            self.holder.taken(
                self.lineage.move,
                clone,
                State.UNDOING,
                reason=clone.reason or 'its maker died',
            )
        )

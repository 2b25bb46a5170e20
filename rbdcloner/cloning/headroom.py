# SPDX-License-Identifier: Apache-2.0
"""Room for one child or one snapshot more: had, or made while others wait.

Who needs room that there is not yet is told so at once, and asks again: a
client waits longer and cheaper than a worker's thread. What an operation adds
itself is counted before it: a Glance image must leave room for the disks that
boot from it.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

from rbdcloner import errors
from rbdcloner.cloning import policy
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.model import FlattenReason
from rbdcloner.model import Parent
from rbdcloner.states import FlattenState

_AWAITED = (FlattenState.WANTED, FlattenState.RUNNING)


@dataclasses.dataclass(frozen=True, slots=True)
class Headroom:
    """Keeps chains and snapshots within limits, by asking for flattens."""

    lineage: Lineage
    limits: policy.Limits

    def for_child(self, parent: Parent) -> None:
        """Make sure that *parent* may get a disk.

        :raises RoomNeeded: not now; whether it comes, it says.
        """
        self._for_depth(parent, adds=0)

    def for_image(self, disk: Clone) -> None:
        """Make sure that *disk* may become an image that disks boot from.

        :raises RoomNeeded: not now; whether it comes, it says.
        """
        if disk.attached and disk.parent is not None:
            self._for_depth(disk.parent, adds=2)

    def for_snapshots(self, disk: Clone) -> None:
        """Make sure that *disk* may get a snapshot more.

        Those are counted that the service made: to ask Ceph for the others
        would take as long as a tenth of the snapshot.

        :raises RoomNeeded: not now; whether it comes, it says.
        """
        limits = self.limits
        self._ensure(
            f'The number of snapshots of {disk.image}',
            lambda: len(self.lineage.snapshots_of(disk.image)) + 1,
            lambda: self._oldest_image(disk),
            limits.soft_snapshots,
            limits.hard_snapshots,
            FlattenReason.SNAPSHOTS,
        )

    def _for_depth(self, parent: Parent, adds: int) -> None:
        self._ensure(
            f'The depth below {parent.snapshot}',
            lambda: policy.depth(parent, self.lineage.chain(parent)) + adds,
            lambda: self._relief(parent),
            self.limits.soft_depth,
            self.limits.hard_depth,
            FlattenReason.DEPTH,
        )

    def _ensure(
        self,
        what: str,
        measure: Callable[[], int],
        choose: Callable[[], Clone | None],
        soft: int,
        hard: int,
        why: FlattenReason,
    ) -> None:
        value = measure()
        if value <= soft:
            return
        chosen = choose()
        if chosen is not None:
            self._want(chosen, why)
        if value <= hard:
            return
        raise errors.RoomNeeded(
            what=what,
            value=value,
            limit=hard,
            flattens=f'the flatten of {chosen.image}'
            if chosen
            else 'an ancestor that no guest can have open',
            awaited=chosen is not None,
        )

    def _want(self, clone: Clone, why: FlattenReason) -> None:
        try:
            self.lineage.want_flatten(clone, why)
        except errors.RowMoved:
            # It is flattened, or gone, by now.
            return

    def _relief(self, parent: Parent) -> Clone | None:
        """Return whom to flatten; who is waited for already, if anybody."""
        chain = self.lineage.chain(parent)
        for clone in chain:
            if self.lineage.flattens(_AWAITED, clone_id=clone.id):
                return clone
        return policy.relief(chain)

    def _oldest_image(self, disk: Clone) -> Clone | None:
        """Return the first image made of *disk*, to flatten."""
        for parent in self.lineage.snapshots_of(disk.image):
            children: Sequence[Clone] = self.lineage.page(
                Filters(parent_id=parent.id, attached=True)
            )
            if children and all(map(policy.is_idle, children)):
                return children[0]
        return None

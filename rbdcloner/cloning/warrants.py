# SPDX-License-Identifier: Apache-2.0
"""The one gate through which anything in Ceph is destroyed.

No other room has a driver that destroys. The gate is told who ordered a
destruction, checks what such an order needs, asks whether the database is as
new as the cluster, and says in the log what it does, by whose order and on
what evidence.

============ ================================================================
order        what the gate wants
============ ================================================================
``caller``   the id of the request
``operator`` the command
``undo``     while the row is being undone: the image is not marked as
             delivered. How long one that is marked lies in the trash is the
             reaper's to wait for
``absence``  the evidence; the delays are its finder's
``others``   nothing in Ceph is touched
``unneeded`` the evidence; whoever asks has confirmed that it has no child
============ ================================================================
"""

import dataclasses
import logging

from rbdcloner import errors
from rbdcloner.ceph.driver import Cluster
from rbdcloner.cloning.generation import Generation
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import Snapshot
from rbdcloner.model import Warrant
from rbdcloner.states import State

LOG = logging.getLogger(__name__)

#: Of a row that a manager of the release before moved.
_UNRECORDED = Warrant(
    Order.CALLER,
    'recorded by a manager of the release before',
    request='unknown',
)

#: A maker's row, until all of it is undone.
_BEING_UNDONE = frozenset({State.RESERVED, State.UNDOING})


@dataclasses.dataclass(frozen=True, slots=True)
class Gate:
    """Destroys images and snapshots, each by a warrant.

    Every method raises

    :raises DestructionRefused: the order lacks what it needs; nothing was
        done.
    :raises DatabaseOutdated: nothing in the pool may be destroyed now.
    """

    ceph: Cluster
    lineage: Lineage
    generation: Generation

    def warrant_of(self, clone: Clone) -> Warrant:
        """Return by whose order the image of *clone* goes."""
        return self.lineage.warrant_of(clone) or _UNRECORDED

    def trash(self, clone: Clone, warrant: Warrant) -> None:
        """Move the row's image to the trash; as the driver's verb."""
        if self._opens('move to the trash', clone.image, warrant):
            self.ceph.trash(clone.image)

    def purge(self, clone: Clone, warrant: Warrant) -> None:
        """Destroy the row's image, which lies in the trash."""
        if self._opens('purge', clone.image, warrant, clone):
            self.ceph.purge(clone.image)

    def remove_snapshot(self, snapshot: Snapshot, warrant: Warrant) -> None:
        """Take the protection of a snapshot off and destroy it."""
        if self._opens('remove snapshot', snapshot, warrant):
            self.ceph.unprotect(snapshot)
            self.ceph.remove_snapshot(snapshot)

    def roll_back(self, snapshot: Snapshot, warrant: Warrant) -> None:
        """Give the snapshot's image its data; what it has now is lost."""
        if self._opens('roll back to', snapshot, warrant):
            self.ceph.rollback(snapshot)

    def free_name(self, clone: Clone, warrant: Warrant) -> None:
        """Free a name that leads to no image; nothing where it is free."""
        if self._opens('free the name', clone.image, warrant):
            self.ceph.free_name(clone.image)

    def _opens(
        self,
        act: str,
        what: Image | Snapshot,
        warrant: Warrant,
        clone: Clone | None = None,
    ) -> bool:
        """Tell whether to *act*, having said so; False: leave Ceph alone."""
        if warrant.order is Order.OTHERS:
            return False
        self._check(warrant)
        if warrant.order is Order.UNDO and clone is not None:
            self._confirm_undelivered(clone)
        image = what if isinstance(what, Image) else what.image
        self.generation.check(image.pool)
        LOG.info(
            'Destruction: %s %s (%s), ordered by %s',
            *(act, what, image.id or 'no image', warrant),
        )
        return True

    def _check(self, warrant: Warrant) -> None:
        if warrant.order is Order.CALLER and not warrant.request:
            raise _refused(warrant, 'it has no request id')
        if not warrant.evidence:
            raise _refused(warrant, 'it has no evidence')

    def _confirm_undelivered(self, clone: Clone) -> None:
        """Raise if the image of a row in the making may be in use.

        A base is delivered to its children alone, for which Ceph was asked.
        """
        if clone.state not in _BEING_UNDONE or clone.kind is Kind.BASE:
            return
        facts = self.ceph.find_image(clone.image)
        if facts is not None and facts.delivered:
            raise errors.DestructionRefused(
                order=Order.UNDO,
                reason=f'{clone.image} is marked as delivered',
            )


def _refused(warrant: Warrant, reason: str) -> errors.DestructionRefused:
    return errors.DestructionRefused(order=warrant, reason=reason)

# SPDX-License-Identifier: Apache-2.0
"""How a parent goes: no child in the database, none in Ceph, then nothing.

A parent takes no child from the moment that its release begins; should Ceph
know one that the database does not, it takes children again, and stays.
"""

import dataclasses

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.model import Snapshot
from rbdcloner.states import ParentState
from rbdcloner.states import State

_CHILDREN_NAMED = 5

#: Once made, these go when they are asked to, or with their images.
_STAY = (Purpose.CALLER, Purpose.GLANCE, Purpose.BASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Releaser:
    """Gives back what the service holds on parents; can be repeated."""

    ceph: Driver
    lineage: Lineage

    def release(self, parent: Parent) -> None:
        """Give back what is the service's own on a parent without a child.

        An edge is removed, a protection of ours taken off; what a caller
        named, Glance expects or a base has, too, if its removal has begun or
        it was never made. Nothing of a parent that has children, or that
        goes with its image.
        """
        if not _goes_by_itself(parent):
            return
        stays = parent.purpose in _STAY
        try:
            releasing = self.lineage.releasing(parent, as_left=stays)
            self._give_back(releasing, parent.purpose is not Purpose.ADOPTED)
        except errors.ParentHasChildren:
            return

    def remove(self, parent: Parent) -> None:
        """Destroy the snapshot, whoever made it.

        :raises ParentHasChildren: it has a child, recorded or in Ceph.
        :raises DiskBusy: its image is going back to it.
        """
        self._give_back(self.lineage.releasing(parent), entirely=True)

    def _give_back(self, parent: Parent, entirely: bool) -> None:
        if parent.state is ParentState.RELEASED:
            return
        snapshot = self._find(parent)
        if snapshot is not None:
            self._confirm_unwanted(parent)
            self._confirm_childless(parent, snapshot)
            if entirely or parent.protector is Protector.SERVICE:
                self.ceph.unprotect(snapshot)
            if entirely:
                self.ceph.remove_snapshot(snapshot)
        self.lineage.released(parent)

    def _find(self, parent: Parent) -> Snapshot | None:
        """Return the snapshot with its id, ``None`` if it was never made.

        The name of a planned one is unique, or its image is ours.
        """
        planned = parent.snapshot
        if planned.id is not None:
            return planned
        for facts in self.ceph.snapshots(planned.image):
            if facts.snapshot.name == planned.name and not facts.trashed:
                return facts.snapshot
        return None

    def _confirm_unwanted(self, parent: Parent) -> None:
        """Raise while the image goes back to this snapshot.

        Interrupted, it has some of both data until it does so again.
        """
        image = self.lineage.find_by_image(parent.snapshot.image)
        if (
            image is not None
            and image.state is State.ROLLING_BACK
            and image.rollback_to == parent.id
        ):
            self.lineage.restored(parent)
            raise errors.DiskBusy(
                name=image.image.name,
                pool=image.image.pool,
                state=image.state,
            )

    def _confirm_childless(self, parent: Parent, snapshot: Snapshot) -> None:
        children = self.ceph.children(snapshot)
        if children:
            self.lineage.restored(parent)
            names = [str(each) for each in children[:_CHILDREN_NAMED]]
            raise errors.ParentHasChildren(
                parent=str(snapshot), children=', '.join(names)
            )


def _goes_by_itself(parent: Parent) -> bool:
    """Tell whether what is ours on *parent* goes without being asked for."""
    match parent.purpose:
        case Purpose.EDGE:
            return True
        case Purpose.CALLER | Purpose.GLANCE | Purpose.BASE:
            return parent.state is not ParentState.ACTIVE
        case Purpose.ADOPTED:
            return parent.protector is Protector.SERVICE

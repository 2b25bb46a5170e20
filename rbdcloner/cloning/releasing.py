# SPDX-License-Identifier: Apache-2.0
"""How a parent goes: no child in the database, none in Ceph, then nothing.

A parent takes no child from the moment that its release begins; should Ceph
know one that the database does not, it takes children again, and stays.
"""

import collections
from collections.abc import Sequence
import dataclasses

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning.generation import Generation
from rbdcloner.cloning.warrants import Gate
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Image
from rbdcloner.model import Order
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts
from rbdcloner.model import Warrant
from rbdcloner.states import ParentState
from rbdcloner.states import State

_CHILDREN_NAMED = 5

#: Once made, these go when they are asked to, or with their images.
_STAY = (Purpose.CALLER, Purpose.GLANCE, Purpose.BASE)

_UNNEEDED = Warrant(
    Order.UNNEEDED, 'the service took it; it has no child on record or in Ceph'
)


@dataclasses.dataclass(frozen=True, slots=True)
class Releaser:
    """Gives back what the service holds on parents; can be repeated."""

    ceph: Driver
    lineage: Lineage
    gate: Gate
    generation: Generation

    def release(self, parent: Parent) -> None:
        """Give back what is the service's own on a parent without a child.

        An edge is removed, a protection of ours taken off; what a caller
        named, Glance expects or a base has, too, if its removal has begun or
        it was never made. Nothing of a parent that has children, or that
        goes with its image.

        A snapshot that a caller named, and whose making ended unknown, stays:
        it may have been delivered, or another has taken it.

        :raises DatabaseOutdated: nothing may be destroyed; it takes children.
        """
        if not _goes_by_itself(parent):
            return
        self.generation.check(parent.snapshot.image.pool)
        if self._keep_named(parent):
            return
        stays = parent.purpose in _STAY
        is_others = parent.purpose is Purpose.ADOPTED or _is_planned(parent)
        try:
            releasing = self.lineage.releasing(parent, as_left=stays)
            self._give_back(releasing, None if is_others else _UNNEEDED)
        except errors.ParentHasChildren:
            return

    def remove(self, parent: Parent, warrant: Warrant) -> None:
        """Destroy the snapshot, whoever made it, by *warrant*.

        :raises ParentHasChildren: it has a child, recorded or in Ceph.
        :raises DiskBusy: its image is going back to it.
        :raises DatabaseOutdated: nothing may be destroyed; its removal has
            begun, and waits.
        """
        self._give_back(self.lineage.releasing(parent), warrant)

    def _give_back(self, parent: Parent, warrant: Warrant | None) -> None:
        """Destroy the snapshot by *warrant*; without, unprotect it at most."""
        if parent.state is ParentState.RELEASED:
            return
        self.generation.check(parent.snapshot.image.pool)
        snapshot = self._find(parent)
        if snapshot is not None:
            self._confirm_unwanted(parent)
            self._confirm_childless(parent, snapshot)
            if warrant is not None:
                self.gate.remove_snapshot(snapshot, warrant)
            elif parent.protector is Protector.SERVICE:
                self.ceph.unprotect(snapshot)
        self.lineage.released(parent)

    def _find(self, parent: Parent) -> Snapshot | None:
        """Return the snapshot with its id, ``None`` if it was never made.

        The name of a planned one is unique, or its image is ours, or it is
        a caller's, who asks for its removal by that name.
        """
        if parent.snapshot.id is not None:
            return parent.snapshot
        facts = self._named(parent.snapshot)
        return facts.snapshot if facts else None

    def _named(self, planned: Snapshot) -> SnapshotFacts | None:
        """Return the snapshot that has the name of a planned one."""
        for facts in self.ceph.snapshots(planned.image):
            if facts.snapshot.name == planned.name and not facts.trashed:
                return facts
        return None

    def _keep_named(self, parent: Parent) -> bool:
        """Record a caller's planned snapshot as made, if Ceph has it.

        The making was interrupted, or a backup of that moment was restored:
        who took the snapshot, and whether its caller knows of it, cannot be
        told. It goes when its caller removes it, or with its disk.
        """
        if not _is_planned(parent):
            return False
        facts = self._named(parent.snapshot)
        if facts is None:
            return False
        self.lineage.made_snapshot(parent, facts)
        return True

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
        """Raise if the parent has a child, recorded or in Ceph.

        It was without one when its release began. With several writers of a
        Galera cluster a taker may not have seen that, nor been seen.
        """
        if self.lineage.has_children(parent):
            self.lineage.restored(parent)
            raise errors.ParentHasChildren(
                parent=str(snapshot), children='taken while it was released'
            )
        try:
            children = self.ceph.children(snapshot)
        except errors.ChildrenHidden:
            # Its image can be used meanwhile.
            self.lineage.restored(parent)
            raise
        if children:
            self.lineage.restored(parent)
            raise errors.ParentHasChildren(
                parent=str(snapshot), children=name_children(children)
            )


def name_children(children: Sequence[Image]) -> str:
    """Return the first names of *children*, and how many have none by pool."""
    named = [str(each) for each in children if each.name][:_CHILDREN_NAMED]
    others = collections.Counter(c.pool for c in children if not c.name)
    counted = [f'{others[pool]} in pool {pool}' for pool in sorted(others)]
    return ' and '.join(filter(None, [', '.join(named), *counted]))


def _is_planned(parent: Parent) -> bool:
    """Tell whether *parent* is a caller's snapshot, perhaps never taken."""
    return (
        parent.purpose is Purpose.CALLER
        and parent.state is ParentState.PLANNED
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

# SPDX-License-Identifier: Apache-2.0
"""Images that the service made, recorded again by what Ceph says of them.

The tag of an image is the uuid of its row. Its name tells what it is for, and
its parent whom it descends from.
"""

import dataclasses
import re

from oslo_utils import uuidutils

from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning.findings import Finding
from rbdcloner.cloning.findings import Outcome
from rbdcloner.cloning.findings import unexplained
from rbdcloner.db import reservation
from rbdcloner.db.adoption import FOUND_IN_TRASH
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import GLANCE_NAME
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Filters
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts
from rbdcloner.model import Warrant
from rbdcloner.states import FINAL
from rbdcloner.states import ParentState
from rbdcloner.states import State

#: It may be that the row does not know its image.
_UNIDENTIFIED = (State.RESERVED, State.UNDOING, State.DELETING)

_UUID = r'[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}'
#: ``UUID_disk``, ``UUID_disk.local``: whose disk an image is.
OF_INSTANCE = re.compile(rf'({_UUID})[_.]')
#: ``UUID.1a2b3c4d``: the Glance image that a base was imported from.
_OF_BASE = re.compile(rf'({_UUID})\.[0-9a-f]{{8}}')


@dataclasses.dataclass(frozen=True, slots=True)
class TaggedImages:
    """Records one cluster's tagged images; rehearsed, it only looks."""

    ceph: Driver
    lineage: Lineage
    clone_format: CloneFormat
    undo_delay_s: float
    rehearsed: bool = False

    def adopt(self, facts: ImageFacts, trashed: bool) -> Finding | None:
        """Record an image that no row knows by its id.

        READY, or IMPORTING if its caller has not committed it; DELETING where
        a caller deleted it while the database was older; or, *trashed*,
        RETIRED. That it is to go is inferred then: it stays for
        ``undo_delay_s`` at least, and "image restore" brings it back. ``None``
        where somebody makes it. An image whose making was not finished is
        left alone.
        """
        image = facts.image
        known = self.lineage.page(Filters(uuid=facts.tag))
        if known and trashed:
            return self._retire(known[0], facts)
        if known and known[0].state in FINAL:
            return unexplained(image, f'its row is {known[0].state}')
        if known:
            return None
        kind = _kind(image)
        if kind is None or not uuidutils.is_uuid_like(facts.tag):
            return unexplained(image, 'its name does not tell what it is')
        if not trashed and not self.is_whole(facts):
            return unexplained(image, _unfinished(kind, image))
        if not self.rehearsed:
            self._record_image(facts, kind, trashed)
        why = f'{kind}, tag {facts.tag}'
        if trashed:
            return Finding(image, Outcome.RETIRED, why)
        return self._adopted(facts, why)

    def _adopted(self, facts: ImageFacts, why: str) -> Finding:
        image = facts.image
        order = self.deferred_order(facts)
        if order is not None:
            return Finding(image, Outcome.DELETING, f'{why}, {order.evidence}')
        if facts.writing:
            why = f'{why}, its caller has not committed it'
        return Finding(image, Outcome.ADOPTED, why)

    def is_whole(self, facts: ImageFacts) -> bool:
        """Tell whether the making of a tagged image was finished.

        A base has no mark; its snapshot is taken when it has all its data.
        """
        return facts.delivered or any(
            each.snapshot.name == GLANCE_NAME and not each.trashed
            for each in self.ceph.snapshots(facts.image)
        )

    def _record_image(
        self, facts: ImageFacts, kind: Kind, trashed: bool
    ) -> None:
        parent, clone_format = self.parent_of(facts)
        clone = self.lineage.adopt_tagged(
            facts,
            kind,
            parent,
            clone_format,
            trashed=trashed,
            retry_after_s=self.undo_delay_s,
            glance_image_id=_glance_image_id(kind, facts.image, parent),
            instance_uuid=_instance_of(kind, facts.image),
        )
        self.keep_whole(clone)
        # A deletion that did not see the row is seen now.
        order = None if trashed else self.deferred_order(facts)
        if order is not None and clone.state is not State.DELETING:
            self.lineage.move(clone, State.DELETING, warrant=order)

    def deferred_order(self, facts: ImageFacts) -> Warrant | None:
        """Return by which deferred deletion a disk is to go, if by any."""
        kind = _kind(facts.image)
        if kind is not Kind.DISK:
            return None
        instance_uuid = _instance_of(kind, facts.image)
        return self.lineage.deferred_order(
            facts.image, instance_uuid, facts.created_at
        )

    def _retire(self, clone: Clone, facts: ImageFacts) -> Finding | None:
        """Record that the image of a row in progress lies in the trash.

        The backup was made before its id was recorded. Deleted by a caller's
        order it needs no other.
        """
        image = facts.image
        if clone.state in FINAL:
            return unexplained(
                image,
                f'its row is {clone.state}, and it lies in the trash: "rbd '
                f'trash rm -p {image.pool} {image.id}" removes it',
            )
        if clone.state not in _UNIDENTIFIED or self._is_held(clone):
            return None
        if not self.rehearsed:
            self.parent_of(facts)
            if clone.state is State.RESERVED:
                clone = self.lineage.move(
                    clone,
                    State.DELETING,
                    image_id=image.id,
                    warrant=FOUND_IN_TRASH,
                )
            else:
                clone = self.lineage.note_image_id(clone, image.id)
            clone = self.retire(clone)
        return Finding(
            image,
            Outcome.RETIRED,
            f'it lies in the trash, its row was {clone.state}',
        )

    def _is_held(self, clone: Clone) -> bool:
        """Tell whether a worker is at work on the row."""
        expires_at = clone.lease_expires_at
        return expires_at is not None and expires_at >= self.lineage.now()

    def retire(self, clone: Clone) -> Clone:
        """Make a row RETIRED whose image lies in the trash.

        By a caller's order as soon as it can be, else after a while.
        """
        self.keep_whole(clone)
        warrant = self.lineage.warrant_of(clone)
        inferred = warrant is None or warrant.order is not Order.CALLER
        return self.lineage.move(
            clone,
            State.RETIRED,
            reason=warrant.evidence if warrant and inferred else '',
            retry_after_s=self.undo_delay_s if inferred else None,
        )

    def parent_of(
        self, facts: ImageFacts
    ) -> tuple[Parent | None, CloneFormat]:
        """Return the recorded parent of an image, its ancestors adopted."""
        descent = self.ceph.find_parent(facts.image)
        if descent is None:
            return None, self.clone_format
        image = descent.parent.snapshot.image
        above = self.lineage.find_by_image(image)
        if above is None:
            found = self.ceph.find_image(image)
            if found is not None and found.tag:
                self.adopt(found, self.ceph.is_trashed(image))
                above = self.lineage.find_by_image(image)
        parent = self._record(descent.parent, above)
        return parent, descent.clone_format

    def keep_whole(self, clone: Clone) -> None:
        """Record what belongs to an image: its snapshots, a base's base.

        Of the snapshots those that the service takes of what it makes.
        """
        if clone.kind is Kind.BASE and clone.state is State.READY:
            self.lineage.adopt_base(clone)
        for facts in self.ceph.snapshots(clone.image):
            ours = _purpose(facts.snapshot, clone) is not Purpose.ADOPTED
            if ours and not facts.trashed:
                self._record(facts, clone)

    def _record(self, facts: SnapshotFacts, above: Clone | None) -> Parent:
        """Return the row of a snapshot of the image of *above*."""
        image = facts.snapshot.image
        purpose = _purpose(facts.snapshot, above)
        if above is not None:
            glance_image_id = above.glance_image_id
        else:
            named = uuidutils.is_uuid_like(image.name)
            glance_image_id = image.name if named else ''
        if purpose is Purpose.EDGE:
            glance_image_id = ''
        protector = Protector.NOBODY
        if facts.protected:
            adopted = purpose is Purpose.ADOPTED
            protector = Protector.OTHERS if adopted else Protector.SERVICE
        known = self.lineage.find_parent(facts.snapshot)
        if known is not None and known.state is ParentState.RELEASING:
            # Its release was begun at the backup, and it has children.
            self.lineage.restored(known)
        return self.lineage.adopt(
            facts, glance_image_id, protector, purpose=purpose
        )


def _kind(image: Image) -> Kind | None:
    """Return what an image that the service made is for, by its name."""
    if OF_INSTANCE.match(image.name) and not _OF_BASE.fullmatch(image.name):
        return Kind.DISK
    if _OF_BASE.fullmatch(image.name):
        return Kind.BASE
    if uuidutils.is_uuid_like(image.name):
        return Kind.IMAGE
    return None


def _unfinished(kind: Kind, image: Image) -> str:
    """Return why an image is left alone that was never delivered."""
    return (
        f'the making of this {kind} was not finished, and no caller was told '
        f'of it: if nobody has it open, "rbd rm {image.pool}/{image.name}" '
        'removes it'
    )


def _instance_of(kind: Kind, image: Image) -> str:
    owner = OF_INSTANCE.match(image.name)
    return owner[1] if owner and kind is Kind.DISK else ''


def _glance_image_id(kind: Kind, image: Image, parent: Parent | None) -> str:
    if kind is Kind.IMAGE:
        return image.name
    if kind is Kind.BASE:
        return image.name.partition('.')[0]
    return parent.glance_image_id if parent else ''


def _purpose(snapshot: Snapshot, above: Clone | None) -> Purpose:
    """Return what a snapshot is for: others' are like those of others."""
    if above is None:
        return Purpose.ADOPTED
    if snapshot.name.startswith(reservation.EDGE_PREFIX):
        return Purpose.EDGE
    if snapshot.name == GLANCE_NAME and above.kind is Kind.IMAGE:
        return Purpose.GLANCE
    if snapshot.name == GLANCE_NAME and above.kind is Kind.BASE:
        return Purpose.BASE
    return Purpose.ADOPTED

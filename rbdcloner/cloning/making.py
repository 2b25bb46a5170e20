# SPDX-License-Identifier: Apache-2.0
"""What is done in Ceph for a row that this process holds.

A child is made in four acts: clone, tag with the row's uuid, resize, and the
row's move. Cloning is the one act that a death can leave in part, so a child
that carries the row's tag is whole, and one that does not is made again.

What is found under the name is ours only if it carries the row's tag; or if
an earlier holder of the row may have left it, and it looks as that one's death
leaves it: no tag, no other parent, the parent's size, made
after the row. Nothing else under the name is ever touched.

Rejected: cloning to a name of our own and renaming, which leaves no doubt but
costs a rename on every create.
"""

import dataclasses
import datetime
import logging

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning.holding import Holder
from rbdcloner.cloning.parents import Parents
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import ImageFacts
from rbdcloner.model import Protector
from rbdcloner.states import State

LOG = logging.getLogger(__name__)

#: Between the database's clock and an OSD's.
_CLOCKS_DIFFER_BY = datetime.timedelta(minutes=1)

#: The parent is not, or no longer, what was remembered of it.
_PARENT_GONE = (
    errors.RbdImageNotFound,
    errors.SnapshotNotFound,
    errors.SnapshotTrashed,
    errors.SnapshotUnprotected,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Maker:
    """Makes, resizes and destroys children, each for a held row."""

    ceph: Driver
    lineage: Lineage
    parents: Parents
    holder: Holder

    def make(self, clone: Clone) -> Clone:
        """Make a RESERVED row's child; the row, READY.

        When Ceph says no, what was made is removed and the row FAILED. When
        Ceph does not answer the row stays, for whoever takes it next.

        :raises NameTaken: an image that is not ours has the name.
        :raises ParentGone: the parent is not what was remembered of it.
        """
        with self.holder.working_on(clone):
            try:
                if clone.image.id:
                    clone = self._cleared(clone)
                self._clone(clone)
                image_id = self._shape(clone)
            except errors.CephUnavailable:
                raise
            except errors.NameTaken as exc:
                self.lineage.move(
                    clone, State.FAILED, reason=errors.reason_of(exc)
                )
                raise
            except (errors.CephError, errors.ParentGone) as exc:
                self._give_up(clone, exc)
                raise
            return self.lineage.move(clone, State.READY, image_id=image_id)

    def resize(self, clone: Clone, size_bytes: int) -> Clone:
        """Make a RESIZING row's child *size_bytes* long; the row, READY.

        Pass 0 to keep the size that Ceph has.
        """
        with self.holder.working_on(clone):
            try:
                with self.ceph.open(clone.image) as child:
                    size_bytes = max(size_bytes, child.facts().size_bytes)
                    child.resize(size_bytes)
            except errors.CephUnavailable:
                raise
            except errors.CephError as exc:
                self.lineage.move(
                    clone, State.READY, reason=errors.reason_of(exc)
                )
                raise
            return self.lineage.move(
                clone, State.READY, size_bytes=size_bytes, reason=''
            )

    def destroy(self, clone: Clone) -> Clone:
        """Remove a DELETING row's child; the row, DELETED."""
        return self._remove(clone, State.DELETED)

    def undo(self, clone: Clone) -> Clone:
        """Remove what an UNDOING row's maker left; the row, FAILED."""
        return self._remove(clone, State.FAILED)

    def _clone(self, clone: Clone) -> None:
        """Make the child; nothing if a holder before us made it whole."""
        try:
            self._clone_once(clone)
        except errors.RbdImageExists as exc:
            taken = errors.NameTaken(
                pool=clone.image.pool, name=clone.image.name
            )
            if clone.fence == 1:
                raise taken from exc
            if self._is_whole(clone):
                return
            self._cleared(clone)
            try:
                self._clone_once(clone)
            except errors.RbdImageExists:
                raise taken from exc

    def _clone_once(self, clone: Clone) -> None:
        try:
            self.ceph.clone(
                clone.parent.snapshot,
                clone.image,
                clone.clone_format,
                clone.parent.order,
            )
        except _PARENT_GONE as exc:
            raise errors.ParentGone(
                parent=str(clone.parent.snapshot), reason=exc.name
            ) from exc

    def _shape(self, clone: Clone) -> str:
        """Tag and grow the child; its image id."""
        with self.ceph.open(clone.image) as child:
            child.tag(clone.uuid)
            facts = child.facts()
            if not _descends(facts, clone):
                raise errors.ParentGone(
                    parent=str(clone.parent.snapshot),
                    reason='another image has its name',
                )
            child.resize(clone.size_bytes)
        return facts.image.id

    def _give_up(self, clone: Clone, exc: errors.Error) -> None:
        clone = self.lineage.move(
            clone,
            State.UNDOING,
            owner=self.holder.owner,
            lease_s=self.holder.lease_s,
            reason=errors.reason_of(exc),
        )
        try:
            self.undo(clone)
        except errors.Error:
            LOG.warning(
                'What was made of %s for clone %s could not be removed yet',
                clone.image,
                clone.uuid,
                exc_info=True,
            )

    def _cleared(self, clone: Clone) -> Clone:
        """Remove what a maker left; the row without an image id."""
        return self.lineage.note_image_id(self._remove_remains(clone), '')

    def _remove(self, clone: Clone, final: State) -> Clone:
        with self.holder.working_on(clone):
            clone = self._remove_remains(clone)
            # What kept a removal waiting is of no more interest.
            reason = '' if final is State.DELETED else None
            clone = self.lineage.move(clone, final, reason=reason)
        if clone.parent.protector is Protector.SERVICE:
            self._release_parent(clone)
        return clone

    def _remove_remains(self, clone: Clone) -> Clone:
        """Remove the child, whole or not, by its id; the row, knowing it."""
        if not clone.image.id:
            clone = self._identified(clone)
        if clone.image.id:
            self._remove_by_id(clone)
        return clone

    def _identified(self, clone: Clone) -> Clone:
        """Note the id of what a maker left under the name, if it did."""
        facts = self.ceph.find_image(clone.image)
        if facts is None:
            self.ceph.free_name(clone.image)
        elif _is_ours(facts, clone):
            return self.lineage.note_image_id(clone, facts.image.id)
        return clone

    def _remove_by_id(self, clone: Clone) -> None:
        names = {'name': clone.image.name, 'pool': clone.image.pool}
        try:
            self.ceph.trash(clone.image)
            self.ceph.purge(clone.image)
        except errors.RbdImageNotFound:
            LOG.debug('%s is gone already', clone.image)
        except errors.RbdImageInUse as exc:
            raise errors.DiskInUse(
                watchers=exc.kwargs['watchers'], **names
            ) from exc
        except errors.RbdImageHasSnapshots as exc:
            raise errors.DiskHasSnapshots(**names) from exc

    def _is_whole(self, clone: Clone) -> bool:
        facts = self.ceph.find_image(clone.image)
        return facts is not None and facts.tag == clone.uuid

    def _release_parent(self, clone: Clone) -> None:
        """Give the parent back; a failure is left to the recovery."""
        try:
            self.parents.release(clone.parent)
        except errors.Error:
            LOG.warning(
                'Parent %s is not released yet',
                clone.parent.snapshot,
                exc_info=True,
            )


def _is_ours(facts: ImageFacts, clone: Clone) -> bool:
    """Tell whether a maker of *clone*'s row left the image."""
    looks_half_made = (
        not facts.tag
        and facts.parent_image_id in ('', clone.parent.snapshot.image.id)
        and facts.size_bytes == clone.parent.size_bytes
        and facts.created_at >= clone.created_at - _CLOCKS_DIFFER_BY
    )
    return looks_half_made or facts.tag == clone.uuid


def _descends(facts: ImageFacts, clone: Clone) -> bool:
    return facts.parent_image_id == clone.parent.snapshot.image.id

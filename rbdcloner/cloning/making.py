# SPDX-License-Identifier: Apache-2.0
"""What is done in Ceph for a row that this process holds.

A child is made in four acts: clone, tag with the row's uuid, resize, and the
row's move. The tag comes before the resize, so an image that carries no tag
of its own still has its parent's size. That tells a dead worker's half-made
child from an image that others put under the name: ours carries the row's
tag; or carries none but its parent's, descends from the row's parent and has
the parent's size. Nothing else under the name is ever touched.

Rejected: cloning to a name of our own and renaming, which needs no tag while
the name is ours, but costs a rename on every create.
"""

import dataclasses
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
        """Make the child, or find that a maker before us made it."""
        try:
            self.ceph.clone(
                clone.parent.snapshot,
                clone.image,
                clone.clone_format,
                clone.parent.order,
            )
        except errors.RbdImageExists as exc:
            if clone.fence == 1 or self._find_ours(clone) is None:
                raise errors.NameTaken(
                    pool=clone.image.pool, name=clone.image.name
                ) from exc
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

    def _remove(self, clone: Clone, final: State) -> Clone:
        with self.holder.working_on(clone):
            if not clone.image.id:
                clone = self._identify(clone)
            if clone.image.id:
                self._remove_by_id(clone)
            # What kept a removal waiting is of no more interest.
            reason = '' if final is State.DELETED else None
            clone = self.lineage.move(clone, final, reason=reason)
        if clone.parent.protector is Protector.SERVICE:
            self._release_parent(clone)
        return clone

    def _identify(self, clone: Clone) -> Clone:
        """Return the row with its child's id, if there is a child."""
        facts = self._find_ours(clone)
        if facts is None:
            return clone
        return self.lineage.note_image_id(clone, facts.image.id)

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

    def _find_ours(self, clone: Clone) -> ImageFacts | None:
        """Return the image under the row's name if a maker of ours left it."""
        facts = self.ceph.find_image(clone.image)
        if facts is None or facts.tag == clone.uuid:
            return facts
        if not _descends(facts, clone):
            return None
        parent = self.ceph.find_image(clone.parent.snapshot.image)
        inherited = parent.tag if parent else ''
        untouched = facts.size_bytes == clone.parent.size_bytes
        if facts.tag in ('', inherited) and untouched:
            return facts
        return None

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


def _descends(facts: ImageFacts, clone: Clone) -> bool:
    return facts.parent_image_id == clone.parent.snapshot.image.id

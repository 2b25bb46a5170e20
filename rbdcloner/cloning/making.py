# SPDX-License-Identifier: Apache-2.0
"""What is made in Ceph for a row that this process holds.

A child is made in four acts: clone, resize, mark as delivered with the row's
uuid, and the row's transition. What has no parent is created empty instead.
Clone and create are the acts that a death can leave in part. A Glance image
has a snapshot of the disk before these acts and, after the clone, the row's
tag and a snapshot of its own.

The mark comes before any answer: an image without it is known to no caller
and can be made again; one with it may be in use, whatever the row says. A
database that was restored from a backup has RESERVED rows of such images.

What is found under the name is ours only if it carries the row's tag; or if
an earlier holder of the row may have left it, and it looks as that one's death
leaves it: no tag, no data, no other parent, the parent's size or the row's,
made after the row. Nothing else under the name is ever touched.

Rejected: cloning to a name of our own and renaming, which leaves no doubt but
costs a rename on every create.
"""

import contextlib
import dataclasses
import logging

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.ceph.open_image import OpenImage
from rbdcloner.cloning.holding import Holder
from rbdcloner.cloning.removing import Remover
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import GLANCE_NAME
from rbdcloner.model import Clone
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import Kind
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.states import ParentState
from rbdcloner.states import State

LOG = logging.getLogger(__name__)

#: The parent is not, or no longer, what was remembered of it.
_PARENT_GONE = (
    errors.RbdImageNotFound,
    errors.SnapshotNotFound,
    errors.SnapshotTrashed,
    errors.SnapshotUnprotected,
)

#: What has been made so far is not wanted, or of no use.
_UNDONE = (errors.CephError, errors.CreationOutdated, errors.ParentGone)


@dataclasses.dataclass(frozen=True, slots=True)
class Maker:
    """Makes and resizes images, each for a held row."""

    ceph: Driver
    lineage: Lineage
    remover: Remover
    holder: Holder

    def make(
        self, clone: Clone, after: int | None = None, call: str = ''
    ) -> Clone:
        """Make a RESERVED row's child; the row, READY.

        Without a parent an empty image; the row, IMPORTING, but READY if the
        image is found committed.

        When Ceph says no, what was made is removed and the row FAILED. When
        Ceph does not answer the row stays, for whoever takes it next.

        :raises CreationOutdated: the name was deleted later than *after*, and
            not by *call*; it is seen here where the deletion came with the
            reservation.
        :raises NameTaken: an image that is not ours has the name.
        :raises ParentGone: the parent is not what was remembered of it.
        """
        with self.holder.working_on(clone):
            try:
                # Only an earlier holder of the row can have delivered it.
                if clone.fence > 1:
                    found = self.remover.find_delivered(clone)
                    if found is not None:
                        return self._deliver(clone, found, after, call)
                return self._make(clone, after, call)
            except (errors.CephUnavailable, errors.DatabaseUnavailable):
                raise
            except errors.NameTaken as exc:
                self.lineage.move(
                    clone, State.FAILED, reason=errors.reason_of(exc)
                )
                raise
            except _UNDONE as exc:
                self.give_up(clone, exc)
                raise

    def give_up(self, clone: Clone, exc: errors.Error) -> None:
        """Undo what was made for a RESERVED row; a failure is left for later.

        :raises RowMoved: the row is another's by now.
        """
        clone = self.holder.taken(
            self.lineage.move,
            clone,
            State.UNDOING,
            reason=errors.reason_of(exc),
        )
        try:
            self.remover.undo(clone)
        except errors.Error:
            LOG.warning(
                'What was made of %s for clone %s could not be removed yet',
                clone.image,
                clone.uuid,
                exc_info=True,
            )

    def recover(self, clone: Clone) -> bool:
        """Make the abandoned RESERVED row of a delivered image READY again.

        When a later deletion concerns the name, the row is undone. False
        where no image of the row was delivered.
        """
        with self.holder.working_on(clone):
            found = self.remover.find_delivered(clone)
            if found is None:
                return False
            after = self.lineage.known_deletion(clone)
            try:
                ready = self._deliver(clone, found, after)
            except errors.CreationOutdated as exc:
                self.give_up(clone, exc)
                return True
        LOG.warning(
            'Image %s (%s) had been delivered while its row said reserved; '
            'the row is %s',
            *(ready.image, ready.image.id, ready.state),
        )
        return True

    def resize(self, clone: Clone, size_bytes: int) -> Clone:
        """Make a RESIZING row's child *size_bytes* long; the row, READY.

        Pass 0 to keep the size that Ceph has: whether it is the one that was
        asked for, nobody knows.
        """
        with self.holder.working_on(clone):
            try:
                with self.ceph.open(clone.image) as child:
                    found_bytes = max(size_bytes, child.facts().size_bytes)
                    child.resize(found_bytes)
            except errors.CephUnavailable:
                raise
            except errors.CephError as exc:
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
                size_bytes=found_bytes,
                reason='',
                done=size_bytes > 0,
            )

    def take(self, planned: Parent) -> Parent:
        """Make a PLANNED row's snapshot; the row, ACTIVE.

        Protected where the format, or Glance, wants it so.
        """
        parent = planned
        if parent.state is ParentState.PLANNED:
            facts = self.ceph.take_snapshot(
                parent.snapshot.image, parent.snapshot.name
            )
            parent = self.lineage.made_snapshot(parent, facts)
        if parent.protector is Protector.SERVICE:
            self.ceph.protect(parent.snapshot)
        return parent

    def _make(self, clone: Clone, after: int | None, call: str) -> Clone:
        if clone.image.id:
            clone = self._cleared(clone)
        if clone.kind is Kind.IMAGE:
            edge = self._take_edge(clone)
            clone = dataclasses.replace(
                clone, parent=edge, size_bytes=edge.size_bytes
            )
        self._clone(clone)
        image = self._shape(clone)
        try:
            return self._answer(clone, image.id, clone.size_bytes, after, call)
        except errors.CreationOutdated:
            self._withdraw(clone, image)
            raise

    def _deliver(
        self,
        clone: Clone,
        found: ImageFacts,
        after: int | None,
        call: str = '',
    ) -> Clone:
        """Answer for an image that was delivered before; its row, READY.

        It has what its user wrote since, and perhaps another size.
        """
        if clone.kind is Kind.IMAGE:
            with self.ceph.open(found.image) as opened:
                self.expose(clone, found.image, opened)
        return self._answer(
            clone,
            found.image.id,
            found.size_bytes,
            after,
            call,
            found.committed,
        )

    def _answer(
        self,
        clone: Clone,
        image_id: str,
        size_bytes: int,
        after: int | None,
        call: str,
        committed: bool = False,
    ) -> Clone:
        is_whole = clone.parent is not None or committed
        return self.lineage.move(
            clone,
            State.READY if is_whole else State.IMPORTING,
            image_id=image_id,
            size_bytes=size_bytes,
            reason='',
            after=after,
            call=call,
        )

    def _withdraw(self, clone: Clone, image: Image) -> None:
        """Take the mark away again: nobody was told of the image."""
        with (
            contextlib.suppress(errors.CephError),
            self.ceph.open(image) as opened,
        ):
            opened.tag(clone.uuid)

    def _take_edge(self, clone: Clone) -> Parent:
        try:
            return self.take(_parent(clone))
        except _PARENT_GONE as exc:
            raise _gone(clone, exc.name) from exc

    def expose(self, clone: Clone, image: Image, opened: OpenImage) -> None:
        """Give an image that others clone its protected snapshot.

        Of the name that Glance expects, for a base as well.
        """
        is_base = clone.kind is Kind.BASE
        planned = self.lineage.plan_snapshot(
            image,
            GLANCE_NAME,
            Purpose.BASE if is_base else Purpose.GLANCE,
            Protector.SERVICE,
            clone=clone,
            size_bytes=clone.size_bytes,
            glance_image_id=clone.glance_image_id,
        )
        if planned.state is ParentState.PLANNED:
            self.lineage.made_snapshot(
                planned, opened.take_snapshot(GLANCE_NAME)
            )
        opened.protect(GLANCE_NAME)

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
        parent = clone.parent
        if parent is None:
            self.ceph.create(clone.image, clone.size_bytes)
            return
        try:
            self.ceph.clone(
                parent.snapshot, clone.image, clone.clone_format, parent.order
            )
        except _PARENT_GONE as exc:
            raise _gone(clone, exc.name) from exc

    def _shape(self, clone: Clone) -> Image:
        """Grow or expose the child and mark it delivered; return it.

        In one opening: each one costs as much as a clone's half.
        """
        with self.ceph.open(clone.image) as child:
            facts = child.facts()
            if clone.parent and not _descends(facts, clone.parent):
                # It is ours to undo all the same.
                child.tag(clone.uuid)
                raise _gone(clone, 'another image has its name')
            if clone.kind is Kind.IMAGE:
                child.tag(clone.uuid)
                self.expose(clone, facts.image, child)
            else:
                child.resize(clone.size_bytes)
            child.mark_delivered(clone.uuid, writing=clone.parent is None)
        return facts.image

    def _cleared(self, clone: Clone) -> Clone:
        """Remove what a maker left; the row without an image id."""
        clone = self.remover.remove_remains(clone)
        return self.lineage.note_image_id(clone, '')

    def _is_whole(self, clone: Clone) -> bool:
        facts = self.ceph.find_image(clone.image)
        return facts is not None and facts.tag == clone.uuid


def _parent(clone: Clone) -> Parent:
    """Return the parent of a row that is being made: it has one."""
    if clone.parent is None:
        raise ValueError(f'clone {clone.uuid} was reserved without a parent')
    return clone.parent


def _gone(clone: Clone, reason: str) -> errors.ParentGone:
    return errors.ParentGone(
        parent=str(_parent(clone).snapshot), reason=reason
    )


def _descends(facts: ImageFacts, parent: Parent) -> bool:
    return facts.parent_image_id == parent.snapshot.image.id

# SPDX-License-Identifier: Apache-2.0
"""What is made in Ceph for a row that this process holds.

A child is made in four acts: clone, tag with the row's uuid, resize, and the
row's move. What has no parent is created empty instead. These two are the
acts that a death can leave in part, so an image that carries the row's tag is
whole, and one that does not is made again. A Glance image has a snapshot
before these acts, of the disk, and one after them, of its own.

What is found under the name is ours only if it carries the row's tag; or if
an earlier holder of the row may have left it, and it looks as that one's death
leaves it: no tag, no other parent, the parent's size (without one, the
row's), made after the row. Nothing else under the name is ever touched.

Rejected: cloning to a name of our own and renaming, which leaves no doubt but
costs a rename on every create.
"""

import dataclasses
import logging

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.ceph.open_image import OpenImage
from rbdcloner.cloning.holding import Holder
from rbdcloner.cloning.removing import Remover
from rbdcloner.cloning.removing import when_closed
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

#: Nothing of the image was changed.
_NOT_ROLLED_BACK = (
    errors.ParentReleased,
    errors.RbdImageInUse,
    errors.RbdImageNotFound,
    errors.SnapshotNotFound,
    errors.SnapshotTrashed,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Maker:
    """Makes, resizes and rolls back images, each for a held row."""

    ceph: Driver
    lineage: Lineage
    remover: Remover
    holder: Holder

    def make(
        self, clone: Clone, after: int | None = None, call: str = ''
    ) -> Clone:
        """Make a RESERVED row's child; the row, READY.

        Without a parent an empty image; the row, IMPORTING.

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

    def roll_back(self, clone: Clone, begun: bool) -> Clone:
        """Give a ROLLING_BACK row's image its target's data; the row, READY.

        *begun* is whether somebody may have begun with it before: then the
        image may have some of both, and stays ROLLING_BACK until it is done.

        :raises ParentReleased: the snapshot is being removed.
        """
        with self.holder.working_on(clone, long=True):
            (target,) = self.lineage.parents([clone.rollback_to or 0])
            try:
                _check_stays(target)
                when_closed(
                    lambda: self.ceph.rollback(target.snapshot),
                    self.lineage,
                    clone,
                )
            except _NOT_ROLLED_BACK as exc:
                if not begun:
                    self.lineage.move(
                        clone, State.READY, reason=errors.reason_of(exc)
                    )
                raise
            return self.lineage.move(
                clone, State.READY, size_bytes=target.size_bytes, reason=''
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
        image_id = self._shape(clone)
        return self.lineage.move(
            clone,
            State.READY if clone.parent else State.IMPORTING,
            image_id=image_id,
            size_bytes=clone.size_bytes,
            after=after,
            call=call,
        )

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

    def _shape(self, clone: Clone) -> str:
        """Tag the child and grow or expose it; its image id.

        In one opening: each one costs as much as a clone's half.
        """
        with self.ceph.open(clone.image) as child:
            child.tag(clone.uuid)
            facts = child.facts()
            if clone.parent and not _descends(facts, clone.parent):
                raise _gone(clone, 'another image has its name')
            if clone.kind is Kind.IMAGE:
                self.expose(clone, facts.image, child)
            else:
                child.resize(clone.size_bytes)
        return facts.image.id

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


def _check_stays(target: Parent) -> None:
    """Raise if the snapshot goes; read after the row says ROLLING_BACK.

    Whoever removes it says so first, and then looks at the row.
    """
    if target.state is not ParentState.ACTIVE:
        raise errors.ParentReleased(parent=str(target.snapshot))


def _gone(clone: Clone, reason: str) -> errors.ParentGone:
    return errors.ParentGone(
        parent=str(_parent(clone).snapshot), reason=reason
    )


def _descends(facts: ImageFacts, parent: Parent) -> bool:
    return facts.parent_image_id == parent.snapshot.image.id

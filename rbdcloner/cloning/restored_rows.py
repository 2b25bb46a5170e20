# SPDX-License-Identifier: Apache-2.0
"""The rows of a restored database follow what became of their images."""

from collections.abc import Collection
from collections.abc import Mapping
import dataclasses
import datetime

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning.findings import Finding
from rbdcloner.cloning.findings import Outcome
from rbdcloner.cloning.findings import unexplained
from rbdcloner.cloning.tagged_images import TaggedImages
from rbdcloner.db.adoption import FOUND_IN_TRASH
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import Warrant
from rbdcloner.states import State

#: The backup was made while somebody was at it.
_UNFINISHED = (State.RESERVED, State.UNDOING)
#: It was going on when the backup was made, and is over.
_OVER = (State.IMPORTING, State.ROLLING_BACK)
#: A deletion takes the disk for gone.
_OUT_OF_THE_TRASH = (State.RETIRED, State.RESTORING)
#: The image was there.
_THERE = (State.READY, State.RESIZING, *_OVER)


@dataclasses.dataclass(frozen=True, slots=True)
class RestoredRows:
    """Brings rows up to their images; rehearsed, it only looks.

    ``marked`` and ``backup_at`` are as for the reconciliation.
    """

    ceph: Driver
    lineage: Lineage
    tagged: TaggedImages
    marked: Collection[str]
    backup_at: datetime.datetime
    rehearsed: bool

    def follow(
        self, clone: Clone, present: Mapping[str, str]
    ) -> Finding | None:
        """Bring a row up to its image; what came of it, ``None``: nothing.

        *present* are the images of its pool, id → name.

        :raises RowMoved: somebody works on it.
        """
        is_present = bool(clone.image.id) and clone.image.id in present
        if clone.state in _UNFINISHED:
            return self._finish(clone, present)
        if clone.state is State.DELETING and clone.image.id:
            return None if is_present else self._end_deletion(clone)
        if is_present:
            return self._follow_present(clone)
        if clone.state in _THERE:
            return self._miss(clone, present)
        return None

    def _follow_present(self, clone: Clone) -> Finding | None:
        """Bring a row up to its image, which has its name.

        Costs an opening of each image that can be resized.
        """
        if clone.state is State.READY and clone.kind is not Kind.DISK:
            return None
        facts = self.ceph.find_image(clone.image)
        if facts is None:
            # It was removed since the pool was listed.
            return None
        why = f'it was {clone.state} when the backup was made'
        match clone.state:
            case State.READY if facts.size_bytes != clone.size_bytes:
                return self._resize(clone, facts)
            case State.RETIRED:
                why = 'it was moved out of the trash after the backup'
                return self._ready(clone, facts, why, State.RESTORING)
            case State.RESIZING | State.RESTORING:
                return self._ready(clone, facts, why)
            case State.IMPORTING if self._may_be_whole(clone, facts):
                return self._ready(clone, facts, why)
            case State.ROLLING_BACK if self._is_old(clone):
                return self._ready(clone, facts, why)
        return None

    def _is_old(self, clone: Clone) -> bool:
        """Tell whether nobody has worked on the row since the restore."""
        return clone.updated_at <= self.backup_at

    def _may_be_whole(self, clone: Clone, facts: ImageFacts) -> bool:
        """Tell whether the image of an IMPORTING row may be in use.

        Nothing marks what earlier releases began and finished: it may be, if
        it was begun before the backup, whoever asked for it since.
        """
        if facts.writing:
            return False
        return facts.committed or clone.created_at <= self.backup_at

    def _resize(self, clone: Clone, facts: ImageFacts) -> Finding:
        """Record the size that a READY row's image has."""
        self._ready(clone, facts, '', State.RESIZING)
        return Finding(
            clone.image,
            Outcome.RESIZED,
            f'it has {facts.size_bytes} bytes, the backup says '
            f'{clone.size_bytes}',
        )

    def _finish(
        self, clone: Clone, present: Mapping[str, str]
    ) -> Finding | None:
        """Finish what was being made, if its image is there and whole."""
        facts = self.ceph.find_image(clone.image)
        if facts is None or not facts.tag or facts.image.id not in present:
            # Nothing was delivered: the managers undo what there is of it.
            return None
        if facts.tag != clone.uuid:
            why = 'another image was made under its name'
            return self._move(clone, why, State.FAILED)
        if clone.state is State.UNDOING or not self.tagged.is_whole(facts):
            return None
        if not self.rehearsed:
            # An edge that was planned is one that was made.
            self.tagged.parent_of(facts)
            clone = self.lineage.move(
                clone,
                State.IMPORTING if facts.writing else State.READY,
                image_id=facts.image.id,
                size_bytes=facts.size_bytes,
                reason='',
            )
            self.tagged.keep_whole(clone)
        why = 'it was made after the backup'
        if facts.writing:
            why += ', its caller has not committed it'
        return Finding(clone.image, Outcome.READY, why)

    def _miss(
        self, clone: Clone, present: Mapping[str, str]
    ) -> Finding | None:
        """End a row whose image is not in its pool, or tell of it."""
        image = clone.image
        if image.pool not in self.marked:
            return unexplained(image, 'it is not in its pool')
        if self.ceph.find_image(image) is None:
            return self._end(clone, 'it was deleted after the backup')
        try:
            if not self.ceph.is_trashed(image):
                return None
        except errors.RbdImageMigrating as exc:
            return unexplained(image, str(exc))
        back = f'"rbd trash restore -p {image.pool} {image.id}" brings it back'
        if image.name not in present.values():
            return unexplained(
                image, f'it lies in the trash: {back}, a deletion removes it'
            )
        if not self._is_tagged(image):
            return unexplained(
                image,
                'it lies in the trash, and an image that this service did '
                f'not make has its name: rename that, then {back}, a deletion '
                'removes it',
            )
        return self._retire(clone)

    def _is_tagged(self, image: Image) -> bool:
        """Tell whether the service made what has the name of *image*."""
        facts = self.ceph.find_image(dataclasses.replace(image, id=''))
        return facts is not None and bool(facts.tag)

    def _retire(self, clone: Clone) -> Finding:
        """Record that an image lies in the trash by a caller's deletion.

        There was one: the service has made another image under its name.
        """
        if not self.rehearsed:
            begun = self.lineage.move(
                clone, State.DELETING, warrant=FOUND_IN_TRASH
            )
            self.tagged.retire(begun)
        return Finding(
            clone.image,
            Outcome.RETIRED,
            'it lies in the trash, another image was made under its name',
        )

    def _end_deletion(self, clone: Clone) -> Finding | None:
        """Record that the image of a DELETING row has left its name."""
        why = 'it was deleted'
        if self.ceph.find_image(clone.image) is None:
            return self._end(clone, why)
        try:
            if not self.ceph.is_trashed(clone.image):
                return None
        except errors.RbdImageMigrating as exc:
            return unexplained(clone.image, str(exc))
        if not self.rehearsed:
            self.tagged.retire(clone)
        return Finding(clone.image, Outcome.RETIRED, why)

    def _ready(
        self, clone: Clone, facts: ImageFacts, why: str, *through: State
    ) -> Finding:
        """Make a row READY whose image is there, with the size of *facts*.

        A request that was changing the disk is over: sent again, it is
        answered and has no effect.
        """
        if clone.state in _OUT_OF_THE_TRASH and clone.kind is Kind.DISK:
            order = self.lineage.deferred_order(
                clone.image, clone.instance_uuid, facts.created_at
            )
            if order is not None:
                return self._begin_deletion(clone, order, *through)
        if not self.rehearsed:
            is_over = self._is_old(clone)
            for state in through:
                clone = self.lineage.move(clone, state, reason=why)
            self.lineage.move(
                clone,
                State.READY,
                size_bytes=facts.size_bytes,
                reason='',
                done=is_over,
            )
        return Finding(clone.image, Outcome.READY, why)

    def _begin_deletion(
        self, clone: Clone, order: Warrant, *through: State
    ) -> Finding:
        """Make a row DELETING that a deletion did not find to be there."""
        if not self.rehearsed:
            for state in through:
                clone = self.lineage.move(clone, state, reason='')
            self.lineage.move(clone, State.DELETING, warrant=order)
        return Finding(clone.image, Outcome.DELETING, order.evidence)

    def _end(self, clone: Clone, why: str) -> Finding:
        """Free the row's name; what is left of it the managers find out."""
        begun = () if clone.state is State.DELETING else (State.DELETING,)
        return self._move(clone, why, *begun, State.RETIRED)

    def _move(self, clone: Clone, why: str, *states: State) -> Finding:
        if not self.rehearsed:
            for state in states:
                clone = self.lineage.move(
                    clone, state, reason=why, warrant=_gone(state, why)
                )
        return Finding(clone.image, Outcome.GONE, why)


def _gone(state: State, why: str) -> Warrant | None:
    """Return by whose order a row goes whose image others removed."""
    return Warrant(Order.OTHERS, why) if state is State.DELETING else None

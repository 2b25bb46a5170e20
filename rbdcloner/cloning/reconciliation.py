# SPDX-License-Identifier: Apache-2.0
"""A restored database is brought up to what is in Ceph.

It knows nothing of what was made since its backup, and has in progress what
has long been done. What the service made says so: the image has the tag of its
row, which is the row's uuid, and names the snapshot that it descends from. So

* an image with a tag and without a row is adopted, and its ancestors before
  it, be they in the trash;
* a row in progress whose image is there, whole, is READY: it may have been
  delivered, and is full of data;
* a row whose image is gone from a pool that has this lineage's mark ends, and
  one that was retired and is there under its name is READY again.

In Ceph nothing is made, changed or destroyed. What cannot be explained is
told, and left as it is. Each row is a transaction of its own: interrupted, it
is called again and goes on with what is left.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import datetime
import enum
import re

from oslo_utils import uuidutils

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
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

_ROWS_AT_ONCE = 500

_UUID = r'[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}'
#: ``UUID_disk``, ``UUID_disk.local``: whose disk an image is.
_OF_INSTANCE = re.compile(rf'({_UUID})[_.]')
#: ``UUID.1a2b3c4d``: the Glance image that a base was imported from.
_OF_BASE = re.compile(rf'({_UUID})\.[0-9a-f]{{8}}')

_NOT_GONE = tuple(state for state in State if state not in FINAL)
#: The backup was made while somebody was at it.
_UNFINISHED = (State.RESERVED, State.UNDOING)
#: It was going on when the backup was made, and is over.
_OVER = (State.IMPORTING, State.ROLLING_BACK)
#: The image was there.
_THERE = (State.READY, State.RESIZING, *_OVER)


class Outcome(enum.StrEnum):
    """What comes of an image or of its row."""

    ADOPTED = 'adopted'
    READY = 'ready'
    GONE = 'gone'
    UNEXPLAINED = 'unexplained'
    FAILED = 'failed'


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """An image, what comes of it, and why."""

    image: Image
    outcome: Outcome
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Reconciliation:
    """Brings one cluster's rows up to its images; rehearsed, it only looks.

    ``marked`` are the pools that have the lineage's mark. What was recorded
    after ``backup_at`` was recorded after the restore.
    """

    ceph: Driver
    lineage: Lineage
    clone_format: CloneFormat
    marked: Collection[str]
    backup_at: datetime.datetime
    rehearsed: bool = False

    def look_at(self, pool: str) -> Iterator[Finding]:
        """Yield what comes of each image of *pool* that is not as recorded.

        :raises PoolNotFound: there is no such pool.
        """
        # In this order: what is made meanwhile is not taken for missing.
        known = list(self._rows(pool))
        present = self.ceph.images(pool)
        for clone in known:
            yield from self._try(clone.image, self._follow, clone, present)
        recorded = {clone.image.id for clone in known}
        for image_id, name in sorted(present.items(), key=lambda i: i[1]):
            if image_id not in recorded:
                image = Image(self.ceph.fsid, pool, '', name, image_id)
                yield from self._try(image, self._look_at_image, image)

    def _rows(self, pool: str) -> Iterator[Clone]:
        """Yield the rows that are not final, but for those that are held."""
        filters = Filters(pool=pool, states=_NOT_GONE)
        marker, now = 0, self.lineage.now()
        while page := self.lineage.page(filters, marker, _ROWS_AT_ONCE):
            marker = page[-1].id
            yield from (
                clone
                for clone in page
                if clone.lease_expires_at is None
                or clone.lease_expires_at < now
            )

    def _try(
        self,
        image: Image,
        act: Callable[..., Finding | None],
        *given: object,
    ) -> Iterator[Finding]:
        try:
            finding = act(*given)
        except (errors.CephUnavailable, errors.DatabaseUnavailable):
            raise
        except errors.RowMoved:
            # Somebody works on it, as it is now.
            return
        except errors.Error as exc:
            finding = Finding(image, Outcome.FAILED, str(exc))
        if finding is not None:
            yield finding

    # Rows

    def _follow(
        self, clone: Clone, present: Mapping[str, str]
    ) -> Finding | None:
        is_present = bool(clone.image.id) and clone.image.id in present
        if clone.state in _UNFINISHED:
            return self._finish(clone, present)
        if clone.state is State.RETIRED and is_present:
            return self._ready(
                clone,
                'it was moved out of the trash after the backup',
                State.RESTORING,
            )
        if clone.state is State.DELETING and clone.image.id:
            return None if is_present else self._end(clone, 'it was deleted')
        if clone.state not in _THERE:
            return None
        if not is_present:
            return self._miss(clone, present)
        if clone.state in _OVER and clone.updated_at <= self.backup_at:
            return self._ready(
                clone, f'it was {clone.state} when the backup was made'
            )
        return None

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
        if clone.state is State.UNDOING or not self._is_whole(facts):
            return None
        if not self.rehearsed:
            # An edge that was planned is one that was made.
            self._parent_of(facts)
            clone = self.lineage.move(
                clone,
                State.READY,
                image_id=facts.image.id,
                size_bytes=facts.size_bytes,
                reason='',
            )
            self._keep_whole(clone)
        return Finding(
            clone.image, Outcome.READY, 'it was made after the backup'
        )

    def _is_whole(self, facts: ImageFacts) -> bool:
        """Tell whether the making of a tagged image was finished.

        A base has no mark; its snapshot is taken when it has all its data.
        """
        return facts.delivered or any(
            each.snapshot.name == GLANCE_NAME and not each.trashed
            for each in self.ceph.snapshots(facts.image)
        )

    def _miss(self, clone: Clone, present: Mapping[str, str]) -> Finding:
        """End a row whose image is not in its pool, or tell of it."""
        if clone.image.pool not in self.marked:
            return _unexplained(clone.image, 'it is not in its pool')
        if self.ceph.find_image(clone.image) is None:
            return self._end(clone, 'it was deleted after the backup')
        if clone.image.name in present.values():
            return self._end(clone, 'another image has its name since')
        return _unexplained(
            clone.image,
            f'it lies in the trash: "rbd trash restore -p {clone.image.pool} '
            f'{clone.image.id}" brings it back, a deletion removes it',
        )

    def _ready(self, clone: Clone, why: str, *through: State) -> Finding:
        return self._move(clone, why, *through, State.READY)

    def _end(self, clone: Clone, why: str) -> Finding:
        """Free the row's name; what is left of it the managers find out."""
        begun = () if clone.state is State.DELETING else (State.DELETING,)
        return self._move(clone, why, *begun, State.RETIRED)

    def _move(self, clone: Clone, why: str, *states: State) -> Finding:
        if not self.rehearsed:
            for state in states:
                reason = '' if state is State.READY else why
                clone = self.lineage.move(
                    clone, state, reason=reason, warrant=_gone(state, why)
                )
        ready = states[-1] is State.READY
        outcome = Outcome.READY if ready else Outcome.GONE
        return Finding(clone.image, outcome, why)

    # Images

    def _look_at_image(self, image: Image) -> Finding | None:
        """Adopt an image that has no row, if it is ours."""
        if self.lineage.find_by_image(image) is not None:
            return None
        facts = self.ceph.find_image(image)
        if facts is None:
            return None
        if facts.tag:
            return self._adopt(facts, trashed=False)
        if image.pool in self.marked and _OF_INSTANCE.match(image.name):
            return _unexplained(
                image, 'it has no tag: "disk adopt" records it'
            )
        return None

    def _adopt(self, facts: ImageFacts, trashed: bool) -> Finding | None:
        image = facts.image
        kind = _kind(image)
        known = self.lineage.page(Filters(uuid=facts.tag))
        if known and known[0].state in FINAL:
            return _unexplained(image, f'its row is {known[0].state}')
        if known:
            # Somebody makes it; or it was made, and deleted for its child.
            return self._retire(known[0], facts) if trashed else None
        if kind is None or not uuidutils.is_uuid_like(facts.tag):
            return _unexplained(image, 'its name does not tell what it is')
        if not self.rehearsed:
            parent, clone_format = self._parent_of(facts)
            clone = self.lineage.adopt_tagged(
                facts,
                kind,
                parent,
                clone_format,
                trashed=trashed,
                glance_image_id=_glance_image_id(kind, image, parent),
                instance_uuid=_instance_of(kind, image),
            )
            self._keep_whole(clone)
        return Finding(image, Outcome.ADOPTED, f'{kind}, tag {facts.tag}')

    def _retire(self, clone: Clone, facts: ImageFacts) -> Finding | None:
        """Record that an image, RESERVED at the backup, lies in the trash."""
        if clone.state is not State.RESERVED:
            return None
        if not self.rehearsed:
            self._parent_of(facts)
            clone = self.lineage.move(
                clone,
                State.DELETING,
                image_id=facts.image.id,
                warrant=FOUND_IN_TRASH,
            )
            clone = self.lineage.move(clone, State.RETIRED)
            self._keep_whole(clone)
        return Finding(clone.image, Outcome.GONE, 'it is in the trash')

    def _parent_of(
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
                self._adopt(found, self.ceph.is_trashed(image))
                above = self.lineage.find_by_image(image)
        parent = self._record(descent.parent, above)
        return parent, descent.clone_format

    def _keep_whole(self, clone: Clone) -> None:
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


def _unexplained(image: Image, why: str) -> Finding:
    return Finding(image, Outcome.UNEXPLAINED, why)


def _kind(image: Image) -> Kind | None:
    """Return what an image that the service made is for, by its name."""
    if _OF_INSTANCE.match(image.name) and not _OF_BASE.fullmatch(image.name):
        return Kind.DISK
    if _OF_BASE.fullmatch(image.name):
        return Kind.BASE
    if uuidutils.is_uuid_like(image.name):
        return Kind.IMAGE
    return None


def _instance_of(kind: Kind, image: Image) -> str:
    owner = _OF_INSTANCE.match(image.name)
    return owner[1] if owner and kind is Kind.DISK else ''


def _glance_image_id(kind: Kind, image: Image, parent: Parent | None) -> str:
    if kind is Kind.IMAGE:
        return image.name
    if kind is Kind.BASE:
        return image.name.partition('.')[0]
    return parent.glance_image_id if parent else ''


def _gone(state: State, why: str) -> Warrant | None:
    """Return by whose order a row goes whose image others removed."""
    return Warrant(Order.OTHERS, why) if state is State.DELETING else None


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

# SPDX-License-Identifier: Apache-2.0
"""How an image goes: out of its name, later out of the trash, by its id.

Retiring is what a caller waits for; destroying is left to the reaper, which
comes when no row needs the image any more. What was certainly never delivered
goes in one; what may have been lies in the trash for a while.
"""

from collections.abc import Callable
import dataclasses
import datetime
import logging
import threading

import tenacity

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning import permits
from rbdcloner.cloning.generation import Generation
from rbdcloner.cloning.holding import Holder
from rbdcloner.cloning.releasing import Releaser
from rbdcloner.cloning.releasing import name_children
from rbdcloner.cloning.warrants import Gate
from rbdcloner.db.lineage import Lineage
from rbdcloner.db.reservation import EDGE_PREFIX
from rbdcloner.model import GLANCE_NAME
from rbdcloner.model import Clone
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import SnapshotFacts
from rbdcloner.model import Warrant
from rbdcloner.states import State

LOG = logging.getLogger(__name__)

#: Between the database's clock and an OSD's.
CLOCKS_DIFFER_BY = datetime.timedelta(minutes=1)

#: A guest that is going away closes its disk within that.
_CLOSES_WITHIN_S = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Remover:
    """Retires, restores, destroys and undoes images, each for a held row.

    An image that is undone and may have been delivered lies in the trash for
    *undo_delay_s*. ``begun`` is set whenever this process has begun a deletion
    that nobody waits for, ``retired`` whenever it has retired something.
    """

    ceph: Driver
    lineage: Lineage
    gate: Gate
    releaser: Releaser
    holder: Holder
    generation: Generation
    undo_delay_s: float
    begun: threading.Event = dataclasses.field(default_factory=threading.Event)
    retired: threading.Event = dataclasses.field(
        default_factory=threading.Event
    )

    def retire(self, clone: Clone, replaced: bool = False) -> Clone:
        """Free a DELETING row's name; the row, RETIRED.

        Nothing of the image is lost: whoever descends from it reads on. Where
        another image has the name nothing is done, unless the caller knows
        that it was *replaced*.

        :raises DiskInUse: somebody has it open; nothing was done.
        :raises RbdImageReplaced: another image has the name.
        :raises DatabaseOutdated: nothing may be destroyed; it waits.
        """
        with self.holder.working_on(clone):
            self.generation.check(clone.image.pool)
            warrant = self.gate.warrant_of(clone)
            clone = self._identified(clone, warrant, replaced)
            if clone.image.id:
                self._trash(clone, warrant, replaced)
            clone = self.lineage.move(clone, State.RETIRED, reason='')
        self.retired.set()
        return clone

    def restore(self, clone: Clone) -> Clone:
        """Give a RESTORING row's image its name again; the row, READY.

        If the name was taken meanwhile the row is RETIRED again.
        """
        with self.holder.working_on(clone):
            try:
                self.ceph.restore(clone.image)
            except (errors.RbdImageExists, errors.RbdImageNotFound) as exc:
                # Whether it lay there for a while is not known any more.
                self.lineage.move(
                    clone,
                    State.RETIRED,
                    reason=errors.reason_of(exc),
                    retry_after_s=self.undo_delay_s,
                )
                raise
            return self.lineage.move(clone, State.READY, reason='')

    def destroy(self, clone: Clone) -> Clone:
        """Destroy a RETIRED row's image and snapshots; the row, DELETED.

        :raises ParentHasChildren: a child needs it, recorded or in Ceph.
        :raises RbdImageHasSnapshots: others took snapshots of it.
        """
        with self.holder.working_on(clone, long=True):
            self.generation.check(clone.image.pool)
            self.lineage.cancel_flattens_of(clone, 'nobody needs the image')
            if clone.image.id:
                self._purge(clone, self.gate.warrant_of(clone))
            return self.lineage.move(clone, State.DELETED, reason='')

    def undo(self, clone: Clone) -> Clone:
        """Remove what an UNDOING row's maker left; the row, FAILED.

        An image that is marked as delivered goes to the trash alone; the row,
        RETIRED, says until when.

        :raises DiskInUse: somebody has that image open; nothing was done.
        :raises DatabaseOutdated: nothing may be destroyed.
        """
        with self.holder.working_on(clone):
            self.generation.check(clone.image.pool)
            found = self.find_delivered(clone)
            if found is not None:
                return self._put_away(clone, found)
            clone = self.remove_remains(clone)
            clone = self.lineage.move(clone, State.FAILED)
        self._release_parent(clone)
        return clone

    def find_delivered(self, clone: Clone) -> ImageFacts | None:
        """Return the image of *clone*'s row, if it is marked as delivered.

        A base is delivered to its children alone, for which Ceph is asked.
        """
        if clone.kind is Kind.BASE:
            return None
        facts = self.ceph.find_image(clone.image)
        if facts is None or not facts.delivered or facts.tag != clone.uuid:
            return None
        return facts

    def _put_away(self, clone: Clone, found: ImageFacts) -> Clone:
        """Have a delivered image lie in the trash for a while."""
        clone = self.lineage.note_image_id(clone, found.image.id)
        self._trash(clone, self.gate.warrant_of(clone), replaced=True)
        retired = self.lineage.move(
            clone,
            State.RETIRED,
            reason=f'it may have been delivered ({clone.reason})',
            retry_after_s=self.undo_delay_s,
        )
        LOG.warning(
            'Image %s (%s) was to be undone and may have been delivered; it '
            'is in the trash until %s, "rbdcloner-manage image restore %s" '
            'brings it back',
            *(retired.image, retired.image.id),
            *(retired.retry_at, retired.uuid),
        )
        return retired

    def remove_remains(self, clone: Clone) -> Clone:
        """Remove the child, whole or not, by its id; the row, knowing it.

        :raises DatabaseOutdated: nothing may be destroyed.
        """
        self.generation.check(clone.image.pool)
        warrant = Warrant(
            Order.UNDO, f'never delivered ({clone.reason or "made again"})'
        )
        clone = self._identified(clone, warrant, replaced=True)
        if clone.image.id:
            self._trash(clone, warrant, replaced=True)
            self._purge(clone, warrant)
        return clone

    def _identified(
        self, clone: Clone, warrant: Warrant, replaced: bool
    ) -> Clone:
        """Note the id of what a maker left under the name, if it did.

        :raises DiskBusy: it left no image, and nova-compute is about to make
            one under the name.
        """
        if clone.image.id:
            return clone
        facts = self.ceph.find_image(clone.image)
        if facts is None:
            self._free_name(clone, warrant)
        elif self._is_ours(facts, clone):
            return self.lineage.note_image_id(clone, facts.image.id)
        elif not replaced and (facts.tag or not self._is_noted(facts.image)):
            raise errors.RbdImageReplaced(
                pool=clone.image.pool,
                image=clone.image.name,
                id='(none)',
                found=facts.image.id,
            )
        return clone

    def _free_name(self, clone: Clone, warrant: Warrant) -> None:
        """Free a name that leads to no image, if a maker left it taken.

        What nova-compute makes between the look and the removal would go. Its
        note comes before its image, and is there no more once that is over.
        """
        if self._is_noted(clone.image):
            raise errors.DiskBusy(
                name=clone.image.name, pool=clone.image.pool, state=clone.state
            )
        self.gate.free_name(clone, warrant)

    def _is_ours(self, facts: ImageFacts, clone: Clone) -> bool:
        """Tell whether a maker of *clone*'s row left the image.

        What has no tag must not have data either, since only its looks speak
        for it, nor be nova-compute's own.
        """
        if facts.tag:
            return facts.tag == clone.uuid
        return (
            _looks_left(facts, clone)
            and not self.ceph.used_bytes(facts.image)
            and not self._is_noted(facts.image)
        )

    def _is_noted(self, image: Image) -> bool:
        """Tell whether nova-compute says that it made the image."""
        return image.name in self.ceph.notes(image.pool, image.name, limit=1)

    def _trash(self, clone: Clone, warrant: Warrant, replaced: bool) -> None:
        try:
            when_closed(
                lambda: self.gate.trash(clone, warrant), self.lineage, clone
            )
        except errors.RbdImageNotFound:
            LOG.debug('%s is gone already', clone.image)
        except errors.RbdImageReplaced:
            if not replaced:
                raise
        except errors.RbdImageInUse as exc:
            raise errors.DiskInUse(
                name=clone.image.name,
                pool=clone.image.pool,
                watchers=exc.kwargs['watchers'],
            ) from exc

    def _purge(self, clone: Clone, warrant: Warrant) -> None:
        for parent in self.lineage.snapshots_of(clone.image):
            self.releaser.remove(parent, warrant)
        for facts in self.ceph.snapshots(clone.image):
            self._remove_unrecorded(clone, facts, warrant)
        self.gate.purge(clone, warrant)

    def _remove_unrecorded(
        self, clone: Clone, facts: SnapshotFacts, warrant: Warrant
    ) -> None:
        """Remove a snapshot that has no row, unless others may want it.

        Whoever took a trashed one has removed it already. A bridge snapshot
        is the service's own, on a disk that was adopted after a migration.

        :raises ParentHasChildren: a child in Ceph needs a bridge snapshot.
        :raises RbdImageHasSnapshots: others took it.
        """
        snapshot = facts.snapshot
        glances = clone.kind is Kind.ADOPTED and snapshot.name == GLANCE_NAME
        bridges = snapshot.name.startswith(EDGE_PREFIX)
        if bridges and not facts.trashed:
            children = self.ceph.children(snapshot)
            if children:
                raise errors.ParentHasChildren(
                    parent=str(snapshot), children=name_children(children)
                )
        if not (facts.trashed or glances or bridges):
            raise errors.RbdImageHasSnapshots(
                pool=clone.image.pool,
                image=f'{clone.image.name} ({snapshot.name})',
            )
        self.gate.remove_snapshot(snapshot, warrant)

    def _release_parent(self, clone: Clone) -> None:
        """Give the parent back; a failure is left to the recovery."""
        if clone.parent is None:
            return
        try:
            # The row, which may be held still, is over and done with.
            with permits.acting(None):
                self.releaser.release(clone.parent)
        except errors.Error:
            LOG.warning(
                'Parent %s is not released yet',
                clone.parent.snapshot,
                exc_info=True,
            )


def when_closed(
    act: Callable[[], None], lineage: Lineage, clone: Clone
) -> None:
    """Do what cannot be done under a client that has the image open.

    One that is about to close it is waited for, and our own flatten of it
    told to.

    :raises RbdImageInUse: it stays open.
    """

    def give_way(_: tenacity.RetryCallState) -> None:
        lineage.cancel_flattens_of(clone, 'the image is needed closed')

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(errors.RbdImageInUse),
        wait=tenacity.wait_random_exponential(0.05, 0.5),
        stop=tenacity.stop_after_delay(_CLOSES_WITHIN_S),
        before_sleep=give_way,
        reraise=True,
    )
    retrying(act)


def _looks_left(facts: ImageFacts, clone: Clone) -> bool:
    """Tell whether an untagged image is as the death of a maker leaves it."""
    parents, sizes = [''], [clone.size_bytes]
    if clone.parent is not None:
        parents.append(clone.parent.snapshot.image.id)
        sizes.append(clone.parent.size_bytes)
    return (
        facts.parent_image_id in parents
        and facts.size_bytes in sizes
        and facts.created_at >= clone.created_at - CLOCKS_DIFFER_BY
    )

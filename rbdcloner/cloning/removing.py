# SPDX-License-Identifier: Apache-2.0
"""How an image goes: out of its name, later out of the trash, by its id.

Retiring is what a caller waits for; destroying is left to the reaper, which
comes when no row needs the image any more. What was never delivered goes in
one.
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
from rbdcloner.cloning.holding import Holder
from rbdcloner.cloning.releasing import Releaser
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import GLANCE_NAME
from rbdcloner.model import Clone
from rbdcloner.model import ImageFacts
from rbdcloner.model import Kind
from rbdcloner.model import SnapshotFacts
from rbdcloner.states import State

LOG = logging.getLogger(__name__)

#: Between the database's clock and an OSD's.
_CLOCKS_DIFFER_BY = datetime.timedelta(minutes=1)

#: A guest that is going away closes its disk within that.
_CLOSES_WITHIN_S = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Remover:
    """Retires, restores, destroys and undoes images, each for a held row.

    ``begun`` is set whenever this process has begun a deletion that nobody
    waits for, ``retired`` whenever it has retired something.
    """

    ceph: Driver
    lineage: Lineage
    releaser: Releaser
    holder: Holder
    begun: threading.Event = dataclasses.field(default_factory=threading.Event)
    retired: threading.Event = dataclasses.field(
        default_factory=threading.Event
    )

    def retire(self, clone: Clone) -> Clone:
        """Free a DELETING row's name; the row, RETIRED.

        Nothing of the image is lost: whoever descends from it reads on.

        :raises DiskInUse: somebody has it open; nothing was done.
        """
        with self.holder.working_on(clone):
            clone = self._identified(clone)
            if clone.image.id:
                self._trash(clone)
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
                self.lineage.move(
                    clone, State.RETIRED, reason=errors.reason_of(exc)
                )
                raise
            return self.lineage.move(clone, State.READY, reason='')

    def destroy(self, clone: Clone) -> Clone:
        """Destroy a RETIRED row's image and snapshots; the row, DELETED.

        :raises ParentHasChildren: a child needs it, recorded or in Ceph.
        :raises RbdImageHasSnapshots: others took snapshots of it.
        """
        with self.holder.working_on(clone, long=True):
            self.lineage.cancel_flattens_of(clone, 'nobody needs the image')
            if clone.image.id:
                self._purge(clone)
            return self.lineage.move(clone, State.DELETED, reason='')

    def undo(self, clone: Clone) -> Clone:
        """Remove what an UNDOING row's maker left; the row, FAILED."""
        with self.holder.working_on(clone):
            clone = self.remove_remains(clone)
            clone = self.lineage.move(clone, State.FAILED)
        self._release_parent(clone)
        return clone

    def remove_remains(self, clone: Clone) -> Clone:
        """Remove the child, whole or not, by its id; the row, knowing it."""
        clone = self._identified(clone)
        if clone.image.id:
            self._trash(clone)
            self._purge(clone)
        return clone

    def _identified(self, clone: Clone) -> Clone:
        """Note the id of what a maker left under the name, if it did."""
        if clone.image.id:
            return clone
        facts = self.ceph.find_image(clone.image)
        if facts is None:
            self.ceph.free_name(clone.image)
        elif is_ours(facts, clone) and not self._is_noted(facts):
            return self.lineage.note_image_id(clone, facts.image.id)
        return clone

    def _is_noted(self, facts: ImageFacts) -> bool:
        """Tell whether nova-compute says that it made what has no tag."""
        image = facts.image
        return not facts.tag and image.name in self.ceph.notes(
            image.pool, image.name, limit=1
        )

    def _trash(self, clone: Clone) -> None:
        try:
            when_closed(
                lambda: self.ceph.trash(clone.image), self.lineage, clone
            )
        except errors.RbdImageNotFound:
            LOG.debug('%s is gone already', clone.image)
        except errors.RbdImageInUse as exc:
            raise errors.DiskInUse(
                name=clone.image.name,
                pool=clone.image.pool,
                watchers=exc.kwargs['watchers'],
            ) from exc

    def _purge(self, clone: Clone) -> None:
        for parent in self.lineage.snapshots_of(clone.image):
            self.releaser.remove(parent)
        for facts in self.ceph.snapshots(clone.image):
            self._remove_unrecorded(clone, facts)
        self.ceph.purge(clone.image)

    def _remove_unrecorded(self, clone: Clone, facts: SnapshotFacts) -> None:
        """Remove a snapshot that has no row, unless others may want it.

        Whoever took a trashed one has removed it already.
        """
        snapshot = facts.snapshot
        glances = clone.kind is Kind.ADOPTED and snapshot.name == GLANCE_NAME
        if not facts.trashed and not glances:
            raise errors.RbdImageHasSnapshots(
                pool=clone.image.pool,
                image=f'{clone.image.name} ({snapshot.name})',
            )
        self.ceph.unprotect(snapshot)
        self.ceph.remove_snapshot(snapshot)

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


def is_ours(facts: ImageFacts, clone: Clone) -> bool:
    """Tell whether a maker of *clone*'s row left the image."""
    if facts.tag:
        return facts.tag == clone.uuid
    parents, size_bytes = [''], clone.size_bytes
    if clone.parent is not None:
        parents.append(clone.parent.snapshot.image.id)
        size_bytes = clone.parent.size_bytes
    return (
        facts.parent_image_id in parents
        and facts.size_bytes == size_bytes
        and facts.created_at >= clone.created_at - _CLOCKS_DIFFER_BY
    )

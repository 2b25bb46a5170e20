# SPDX-License-Identifier: Apache-2.0
"""What others did behind our back, found by looking in Ceph and Glance.

Glance deletes images, operators remove and flatten: the rows follow. What is
gone goes on as what is deleted does, through DELETING; so there is one way
down. Nothing is decided where Ceph or Glance did not answer, where too much is
missing (:mod:`.brake`) or where a pool is another (:mod:`.pool_identity`).
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
import datetime
import itertools
import logging
import threading
import time
from typing import TypeVar

from rbdcloner import errors
from rbdcloner.cloning.absent_images import AbsentImages
from rbdcloner.cloning.adopting import names_glance_image
from rbdcloner.cloning.brake import Look
from rbdcloner.cloning.engine import Engine
from rbdcloner.cloning.pool_identity import PoolIdentity
from rbdcloner.cloning.repairing import Repairer
from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.model import FlattenReason
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import Parent
from rbdcloner.model import Purpose
from rbdcloner.model import Warrant
from rbdcloner.states import State

LOG = logging.getLogger(__name__)

Row = TypeVar('Row', Clone, Parent)
Each = TypeVar('Each')

#: Parents that go when Glance deletes their image.
_GLANCES = (Purpose.ADOPTED, Purpose.GLANCE)

#: The image is there, and nobody is at work on it.
_WHOLE = (State.READY, State.IMPORTING)

#: By whose order rows go whose images others removed.
_REMOVED = Warrant(Order.OTHERS, 'its pool has no such image')
_TRASHED = Warrant(Order.ABSENCE, 'others moved it to the trash')

_ROWS_AT_ONCE = 1000
_PARENTS_AT_ONCE = 100
_REST = 100
#: Between a snapshot's removal and its image's.
_GLANCE_DELETES_WITHIN_S = 15.0
#: Whoever has a Glance image made of a disk has created it by then.
_REGISTERED_WITHIN = datetime.timedelta(minutes=10)


class Survey:
    """Compares one cluster's rows with what is there.

    With *retired_after_s*, what has waited for its children for longer gets
    them flattened, so that its space comes back; of parents with more than
    *alert_children* children it warns at each look; 0 is never.
    """

    def __init__(
        self,
        engine: Engine,
        absent_images: AbsentImages,
        repairer: Repairer,
        identity: PoolIdentity,
        pools: Collection[str],
        retired_after_s: float = 0,
        alert_children: int = 0,
    ) -> None:
        self._engine = engine
        self._lineage = engine.lineage
        self._ceph = engine.maker.ceph
        self._absent_images = absent_images
        self._absence = absent_images.absence
        self._adopter = absent_images.adopter
        self._identity = identity
        self._repairer = repairer
        self._pools = sorted(pools)
        self._retired_after = datetime.timedelta(seconds=retired_after_s)
        self._alert_children = alert_children
        self._looked_at_parent: dict[Purpose, int] = {}
        self._looks_below_at: dict[int, float] = {}
        self._damaged_since: dict[int, float] = {}
        self._is_first_look = True
        self._said: set[str] = set()
        self._said_before: set[str] = set()

    def look(self, stopping: threading.Event | None = None) -> None:
        """Let every row follow what became of its image.

        A row that cannot be followed now is followed by a later look. When
        *stopping* is set, no row is begun.
        """
        if not self._engine.remover.generation.is_current():
            return
        stopping = stopping or threading.Event()
        self._said_before, self._said = self._said, set()
        look = self._absence.brake.look('survey')
        if self._is_first_look:
            self._lineage.detach_ended()
            self._is_first_look = False
        self._look_at_pools(look, stopping)
        waiting = self._paged(self._lineage.waiting)
        for clone in _until(stopping, waiting):
            self._try(self._look_below_in_turn, clone)
        for clone in _until(stopping, self._paged(self._lineage.absent)):
            self._try(self._absent_images.follow, clone)
        self._look_at_some(look, stopping)
        if not stopping.is_set():
            look.finish()
        self._warn_of_crowds()

    def _look_at_pools(self, look: Look, stopping: threading.Event) -> None:
        for pool in _until(stopping, self._pools):
            try:
                self._look_at_pool(pool, look, stopping)
            except errors.PoolNotFound as exc:
                # That says nothing of what was in it.
                LOG.error('%s Nothing in it is looked at.', exc)
            except errors.PoolReplaced as exc:
                look.object_to(str(exc).rstrip('.'))

    def _look_at_pool(
        self, pool: str, look: Look, stopping: threading.Event
    ) -> None:
        # In this order: what is made meanwhile is not taken for missing.
        there = list(
            self._paged(self._lineage.page, Filters(pool=pool, states=_WHOLE))
        )
        present = self._ceph.images(pool)
        if look.released:
            self._identity.accept(pool)
        self._identity.check(pool)
        look.saw(f'images of pool {pool}', len(there))
        for clone in _until(stopping, there):
            if clone.image.id not in present:
                self._try(self._follow, clone, look)
        # Of one that was recorded after that look, Ceph is asked again.
        for parent in _until(stopping, self._parents_in(pool)):
            if parent.snapshot.image.id not in present:
                # Two say so, Ceph and Glance: that is counted by no brake.
                self._try(self._adopter.adopt_if_gone, parent)

    def _parents_in(self, pool: str) -> Iterator[Parent]:
        for purpose in _GLANCES:
            yield from self._paged(self._lineage.active_parents, purpose, pool)

    def _follow(self, clone: Clone, look: Look) -> None:
        """Send a row, whose whole image is not in its pool, its way."""
        self._engine.remover.generation.check(clone.image.pool)
        image = clone.image
        facts = self._ceph.find_image(image)
        if facts is not None and not self._ceph.is_trashed(image):
            return
        if facts is not None and clone.kind is Kind.DISK:
            self._say(
                f'{image} was moved to the trash by others; "rbd trash '
                f'restore -p {image.pool} {image.id}" brings it back, a '
                'deletion removes it'
            )
        elif clone.kind is Kind.IMAGE and facts is not None:
            if self._absence.is_deleted(clone.glance_image_id):
                self._absent_images.found(clone, look, witnessed=True)
        elif clone.kind is Kind.IMAGE and self._absence.is_deleted(
            clone.glance_image_id
        ):
            look.will_end(lambda: self._try(self._end, clone))
        else:
            by_others = _REMOVED if facts is None else _TRASHED
            look.would_end(
                f'images of pool {image.pool}',
                lambda: self._try(self._end, clone, by_others),
            )

    def _end(self, clone: Clone, warrant: Warrant = _REMOVED) -> None:
        """End a row whose image others removed, or moved to the trash."""
        LOG.warning('%s was removed by others', clone.image)
        self._engine.remove(clone, warrant, replaced=True)

    def _look_below_in_turn(self, clone: Clone) -> None:
        """Look below, and then not for a hundred times as long as it took.

        Under format v1 Ceph takes 17 ms to list a child.
        """
        begun = time.monotonic()
        if begun < self._looks_below_at.get(clone.id, 0):
            return
        self._look_below(clone)
        took = time.monotonic() - begun
        self._looks_below_at[clone.id] = begun + _REST * took

    def _look_below(self, clone: Clone) -> None:
        """Find out which children a retired image has really."""
        for parent in self._lineage.snapshots_of(clone.image):
            in_ceph = {
                child.id for child in self._ceph.children(parent.snapshot)
            }
            recorded = self._paged(
                self._lineage.page, Filters(parent_id=parent.id, attached=True)
            )
            for child in recorded:
                self._look_at_child(clone, child, in_ceph)
        if clone.held_bytes is None:
            held_bytes = self._ceph.used_bytes(clone.image)
            self._lineage.note_held_bytes(clone, held_bytes)

    def _look_at_child(
        self, above: Clone, child: Clone, in_ceph: Collection[str]
    ) -> None:
        if child.state not in (State.READY, State.RETIRED):
            return
        if child.image.id in in_ceph:
            self._flatten_if_late(above, child)
            return
        self._identity.check(child.image.pool)
        facts = self._ceph.find_image(child.image)
        if facts is not None and facts.parent is None:
            LOG.warning('%s was flattened by others', child.image)
            self._lineage.detach(child)
        elif facts is None and child.state is State.RETIRED:
            self._lineage.detach(child)

    def _flatten_if_late(self, above: Clone, child: Clone) -> None:
        waited = datetime.datetime.now(datetime.UTC) - above.updated_at
        if self._retired_after and waited > self._retired_after:
            self._lineage.want_flatten(child, FlattenReason.WAITED)

    def _look_at_some(self, look: Look, stopping: threading.Event) -> None:
        """Look closely at some of Glance's images of each kind, in turn.

        At all of them while the brake is engaged.
        """
        for purpose in _GLANCES:
            if look.whole:
                chosen = self._paged(self._lineage.active_parents, purpose)
            else:
                chosen = iter(self._next_parents(purpose))
            for parent in _until(stopping, chosen):
                self._try(self._look_closely, parent, look)

    def _next_parents(self, purpose: Purpose) -> list[Parent]:
        """Return those after the last that were looked at, then the first."""
        read = self._lineage.active_parents
        marker = self._looked_at_parent.get(purpose, 0)
        chosen = read(purpose, marker=marker, limit=_PARENTS_AT_ONCE)
        if marker and not chosen:
            chosen = read(purpose, limit=_PARENTS_AT_ONCE)
        self._looked_at_parent[purpose] = chosen[-1].id if chosen else 0
        return chosen

    def _look_closely(self, parent: Parent, look: Look) -> None:
        """Repair what Glance half deleted; remove what it never took over.

        A Glance image that is deleted before it has a location leaves the
        image that was made for it.
        """
        if not names_glance_image(parent):
            return
        look.saw('Glance images')
        image = self._absence.find(parent.glance_image_id)
        if image is not None:
            if self._absence.is_whole(image):
                self._repair_in_time(parent)
            return
        clone = self._lineage.find_by_image(parent.snapshot.image)
        if clone is None or clone.kind is Kind.DISK:
            return
        age = datetime.datetime.now(datetime.UTC) - clone.created_at
        if clone.state is State.READY and age > _REGISTERED_WITHIN:
            self._absent_images.found(clone, look, witnessed=False)

    def _repair_in_time(self, parent: Parent) -> None:
        """Repair what has been damaged for longer than Glance needs.

        Glance removes the snapshot first, and still calls the image active
        when it goes on to remove that; a new snapshot would be in its way.
        """
        if not self._repairer.needs_repair(parent):
            self._damaged_since.pop(parent.id, None)
            return
        now = time.monotonic()
        since = self._damaged_since.setdefault(parent.id, now)
        if now - since >= _GLANCE_DELETES_WITHIN_S:
            del self._damaged_since[parent.id]
            self._repairer.repair_parent(parent)

    def _warn_of_crowds(self) -> None:
        if not self._alert_children:
            return
        for parent, children in self._lineage.crowded(self._alert_children):
            LOG.warning('Parent %s has %d children', parent.snapshot, children)

    def _paged(
        self, read: Callable[..., list[Row]], *wanted: object
    ) -> Iterator[Row]:
        marker = 0
        while page := read(*wanted, marker=marker, limit=_ROWS_AT_ONCE):
            yield from page
            marker = page[-1].id

    def _try(
        self, act: Callable[..., object], row: Row, *more: object
    ) -> None:
        try:
            act(row, *more)
        except (errors.RowMoved, errors.DiskBusy):
            LOG.debug('Somebody is at work on %s', row)
        except errors.GlanceHidesImages as exc:
            # Of no row more than of another.
            self._say(str(exc))
        except errors.DatabaseOutdated as exc:
            LOG.debug('%s stays as it is: %s', row, exc)
        except errors.Error as exc:
            self._say(f'Could not reconcile {_name(row)}, will retry: {exc}')

    def _say(self, text: str) -> None:
        """Warn of something once, as long as each look finds it again."""
        if text not in self._said_before | self._said:
            LOG.warning('%s', text)
        self._said.add(text)


def _until(stopping: threading.Event, each: Iterable[Each]) -> Iterator[Each]:
    """Yield what *each* has until *stopping* is set."""
    return itertools.takewhile(lambda _: not stopping.is_set(), each)


def _name(row: Clone | Parent) -> str:
    return str(row.image if isinstance(row, Clone) else row.snapshot)

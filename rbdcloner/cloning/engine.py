# SPDX-License-Identifier: Apache-2.0
"""The order of work on disks: reserve, act in Ceph, move the row.

Each public method can be called again with the same arguments, by anybody,
after any of its steps was the last one done: it looks at the row, takes over
where the dead left off, and gives the same answer. What a step does is in
:mod:`rbdcloner.cloning.making`; whose work a row is, in
:mod:`rbdcloner.cloning.holding`.
"""

from collections.abc import Collection
from collections.abc import Iterable
import dataclasses
import logging
import uuid

import tenacity

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.cloning import changes
from rbdcloner.cloning import eligibility
from rbdcloner.cloning import matching
from rbdcloner.cloning.bases import Outlook
from rbdcloner.cloning.holding import Holder
from rbdcloner.cloning.making import Maker
from rbdcloner.cloning.parents import Parents
from rbdcloner.cloning.removing import Remover
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import DiskRequest
from rbdcloner.model import Filters
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import Request
from rbdcloner.model import Warrant
from rbdcloner.states import State

LOG = logging.getLogger(__name__)

_PAGE = 500
_PARENT_PATIENCE_S = 10
#: Neither state is entered by it: the row has a warrant.
_GOES_ALREADY = Warrant(Order.UNNEEDED, 'its name is wanted again')
_GOING = frozenset({State.DELETING, State.UNDOING})
#: The disk is there, whatever is being done to it.
MADE = frozenset({State.READY, State.RESIZING, State.ROLLING_BACK})


@dataclasses.dataclass(frozen=True, slots=True)
class Engine:
    """Disks of one cluster, by name and pool."""

    fsid: str
    lineage: Lineage
    parents: Parents
    maker: Maker
    remover: Remover
    holder: Holder
    clone_format: CloneFormat
    disk_pools: Collection[str]

    def is_cloneable(
        self, image_id: str
    ) -> tuple[eligibility.Verdict, Outlook | None]:
        """Tell whether disks can be cloned from the image, or why not.

        And what would come of importing one that cannot.
        """
        return self.parents.judge(image_id)

    def create_disk(self, request: DiskRequest) -> Clone:
        """Make the disk that *request* asks for; the clone that is ready.

        :raises ImageError: the image cannot be used; nothing was made.
        :raises CreationOutdated: the name, or the instance, was deleted later
            than the caller knew.
        :raises DiskDiffers: the name is a disk made for another request.
        :raises NameTaken: the name is an image that nobody asked us for.
        :raises CephError: Ceph would not; what was made is removed, or its
            row says that it is going to be.
        """
        self.check_pool(request.pool)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(errors.ParentGone),
            stop=tenacity.stop_after_attempt(2),
            before_sleep=lambda _: self.parents.forget(request.image_id),
            reraise=True,
        )
        return retrying(self._create_disk, request)

    def get_disk(self, pool: str, name: str) -> Clone:
        """Return the disk's row.

        :raises DiskNotFound: no disk has the name now.
        """
        clone = self._find(pool, name)
        if clone.state not in states.LIVE:
            raise errors.DiskNotFound(name=name, pool=pool)
        return clone

    def look_at_disk(self, pool: str, name: str) -> Clone:
        """Return the disk's row; READY only if its image has the name.

        Costs an operation of Ceph's.

        :raises DiskImageMissing: others removed, trashed or renamed it.
        :raises DiskNotFound: no disk has the name now.
        """
        ceph = self.maker.ceph
        while True:
            clone = self.get_disk(pool, name)
            if clone.state is not State.READY:
                return clone
            found = ceph.name_of(clone.image)
            if found == name:
                return clone
            # It may have been deleted since the row was read.
            if self.get_disk(pool, name) == clone:
                is_trashed = not found and ceph.is_trashed(clone.image)
                raise matching.missing(clone, found, is_trashed)

    def page(self, filters: Filters, marker: int, limit: int) -> list[Clone]:
        """Return rows by id, after the one with id *marker*."""
        return self.lineage.page(filters, marker, limit)

    def resize_disk(
        self,
        pool: str,
        name: str,
        size_bytes: int,
        request: Request = changes.UNNAMED,
    ) -> Clone:
        """Make the disk *size_bytes* long; nothing if it is.

        Nothing if *request* has done so, whatever became of the disk since.

        :raises RequestOutdated: a later request came before it.
        :raises ShrinkRefused: it is longer.
        """
        while True:
            clone = self.get_disk(pool, name)
            if changes.has_done(self.lineage, request, clone):
                return clone
            if size_bytes < clone.size_bytes:
                raise errors.ShrinkRefused(
                    name=name,
                    recorded_bytes=clone.size_bytes,
                    size_bytes=size_bytes,
                )
            if clone.state is State.READY and size_bytes == clone.size_bytes:
                return clone
            if clone.state not in (State.READY, State.RESIZING):
                raise errors.DiskBusy(name=name, pool=pool, state=clone.state)
            try:
                clone = changes.begin(
                    self.holder, clone, State.RESIZING, request
                )
            except errors.RowMoved:
                continue
            return self.maker.resize(clone, size_bytes)

    def delete_disk(self, pool: str, name: str, call: str = '') -> Clone:
        """Free the disk's name; its row, retired or final.

        Nothing if that was done. What is left is destroyed by the reaper,
        when nothing descends from it. With the *call* of an earlier request,
        a disk made since by who knew of that is left alone.

        :raises DiskNotFound: there never was such a disk.
        :raises DiskInUse: somebody has it open; the removal is tried again
            until it succeeds.
        :raises RbdImageRenamed: its image has another name; as above.
        :raises RbdImageReplaced: another image has its name; as above. Also
            where the disk was removed before.
        :raises RbdImageMigrating: it is being migrated; as above.
        :raises DatabaseOutdated: nothing may be destroyed; the removal is
            recorded and waits, also where the disk has no row.
        """
        self.check_pool(pool)
        call = call or uuid.uuid4().hex
        image = Image(self.fsid, pool, '', name)
        try:
            begun = self.holder.taken(
                self.lineage.begin_deletion, call, image, Kind.DISK
            )
            if begun is not None:
                return self.remover.retire(begun)
        except errors.RowMoved:
            LOG.debug('%s moved meanwhile, looking again', image)
        deletion = self.lineage.note_deletion(call, image)
        # Before the look: a disk that is recorded later finds it.
        self._defer(deletion, [pool])
        try:
            found = self.lineage.find_deleted(image, deletion)
        except errors.DiskNotFound:
            # A database that is older than the cluster does not know.
            self.remover.generation.check(pool)
            raise
        warrant = Warrant(Order.CALLER, 'its deletion', call)
        removed = self.remove(_disk(found), warrant)
        self._confirm_free(removed)
        return removed

    def _defer(
        self, deletion: int, pools: Collection[str], suffix: str = ''
    ) -> None:
        """Have a deletion wait for what the database does not know.

        Nothing where it is as new as the cluster.
        """
        try:
            for pool in pools:
                self.remover.generation.check(pool)
        except errors.DatabaseOutdated:
            self.lineage.defer_deletion(deletion, suffix)
        except errors.CephUnavailable:
            # Whether it is, who has a row of the disk need not know.
            LOG.debug('Deletion %d is not known to wait', deletion)

    def _confirm_free(self, removed: Clone) -> None:
        """Return if the name of *removed* is free, or a live row's.

        A row that was final before says nothing of what has its name now.
        Costs an operation of Ceph's where it is free.

        :raises RbdImageReplaced: an image without a live row has the name.
        :raises DatabaseOutdated: so it is, and the database is older than the
            cluster: the image may be one of ours.
        """
        pool, name = removed.image.pool, removed.image.name
        ceph = self.maker.ceph
        found = ceph.find_image(dataclasses.replace(removed.image, id=''))
        if found is None:
            return
        # After the look at Ceph: a row is written before its image is made.
        named = self.lineage.find(self.fsid, pool, '', name)
        if named.state in states.LIVE or ceph.name_of(found.image) != name:
            return
        self.remover.generation.check(pool)
        recorded = removed.image.id
        raise errors.RbdImageReplaced(
            pool=pool,
            image=name,
            id=recorded if recorded not in ('', found.image.id) else '(none)',
            found=found.image.id,
        )

    def remove(
        self,
        clone: Clone,
        warrant: Warrant,
        replaced: bool = False,
        among: Collection[State] = states.LIVE,
    ) -> Clone:
        """Free the name of the row's image by *warrant*.

        As :meth:`delete_disk`. What goes already goes by its own. Where an
        administrator says that another image *replaced* it, that one keeps
        the name. A row that is not *among* these states is left alone.
        """
        while clone.state in among:
            try:
                if clone.state is State.UNDOING:
                    return self.remover.undo(self.holder.take(clone))
                return self.remover.retire(
                    self.holder.held_in(
                        clone, State.DELETING, warrant=warrant
                    ),
                    replaced,
                )
            except errors.RowMoved:
                LOG.debug('%s moved meanwhile, looking again', clone.image)
                (clone,) = self.lineage.page(Filters(uuid=clone.uuid))
        return clone

    def delete_disks(
        self,
        instance_uuid: str,
        suffix: str,
        call: str = '',
        wait: bool = True,
    ) -> list[Clone]:
        """Free the names of the instance's disks that end with *suffix*.

        As :meth:`delete_disk`. Returns their rows, of those too that had been
        removed before. Every disk is tried; the first failure is raised after
        the last. Who does not *wait* gets rows that are DELETING: they go by
        themselves, and whoever wants a name again waits for that.

        :raises DatabaseOutdated: nothing may be destroyed; or no disk was
            found that is there, and the database may not know it. The removal
            is recorded and waits.
        """
        call = call or uuid.uuid4().hex
        begun, others = self._begin_deletions(
            instance_uuid, suffix, call, wait
        )
        warrant = Warrant(Order.CALLER, "its instance's deletion", call)
        known = {clone.id for clone in begun}
        removed = []
        failures: list[errors.Error] = []
        newest = _newest([*begun, *others])
        if not any(clone.state in states.LIVE for clone in newest):
            for pool in self.disk_pools:
                self.remover.generation.check(pool)
        for clone in newest:
            if not wait and clone.state is State.DELETING:
                removed.append(clone)
                continue
            try:
                removed.append(self._remove(clone, clone.id in known, warrant))
            except errors.Error as exc:
                failures.append(exc)
        if failures:
            raise failures[0]
        return removed

    def _begin_deletions(
        self, instance_uuid: str, suffix: str, call: str, wait: bool
    ) -> tuple[list[Clone], list[Clone]]:
        """Return the rows whose deletion this has begun, and others.

        The first are held if somebody waits.
        """
        given = (call, self.fsid, instance_uuid, suffix)
        answer = None
        try:
            if wait:
                answer = self.holder.taken_all(
                    self.lineage.begin_deletions, *given
                )
            else:
                answer = self.lineage.begin_deletions(*given)
                self.remover.begun.set()
        except errors.RowMoved:
            LOG.debug('A disk of %s moved meanwhile', instance_uuid)
        if answer is None:
            deletion = self.lineage.note_deletion(
                call, Image(self.fsid, '', '', ''), instance_uuid
            )
            answer = [], deletion
        begun, deletion = answer
        self._defer(deletion, self.disk_pools, suffix)
        # Now that it is committed: a creation that does not see the deletion
        # is seen here, and each that comes later sees it.
        known = {clone.id for clone in begun}
        known |= self.lineage.made_since(deletion, instance_uuid)
        found = self._disks_of(instance_uuid, suffix)
        return begun, [clone for clone in found if clone.id not in known]

    def _remove(self, clone: Clone, begun: bool, warrant: Warrant) -> Clone:
        if begun:
            try:
                return self.remover.retire(clone)
            except errors.RowMoved:
                (clone,) = self.lineage.page(Filters(uuid=clone.uuid))
        removed = self.remove(clone, warrant)
        self._confirm_free(removed)
        return removed

    def see_out(self, clone: Clone, replaced: bool = False) -> None:
        """Resume the removal of a DELETING or UNDOING row.

        Nothing if it has been restored since it was read.
        """
        self.remove(clone, _GOES_ALREADY, replaced, _GOING)

    def _create_disk(self, request: DiskRequest) -> Clone:
        while True:
            clone = self._reserve(request)
            if clone is None:
                clone = self._resume(request)
            if clone is not None and clone.state in MADE:
                return clone
            if clone is not None:
                return self.maker.make(clone, request.after)

    def check_pool(self, pool: str) -> None:
        """Raise unless disks are made in the pool.

        :raises PoolNotServed: they are not.
        """
        if pool not in self.disk_pools:
            raise errors.PoolNotServed(
                pool=pool, served=', '.join(sorted(self.disk_pools))
            )

    def _find(self, pool: str, name: str) -> Clone:
        self.check_pool(pool)
        return _disk(self.lineage.find(self.fsid, pool, '', name))

    def _disks_of(self, instance_uuid: str, suffix: str) -> list[Clone]:
        found: list[Clone] = []
        filters = Filters(instance_uuid=instance_uuid, kind=Kind.DISK)
        marker = 0
        while rows := self.lineage.page(filters, marker, _PAGE):
            marker = rows[-1].id
            found += [c for c in rows if c.image.name.endswith(suffix)]
        return found

    def _reserve(self, request: DiskRequest) -> Clone | None:
        """Return the new row, held; ``None`` when the name has a live one.

        A disk that exists is answered for even when its image is gone.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(errors.ParentReleased),
            wait=tenacity.wait_random_exponential(0.05, 1),
            stop=tenacity.stop_after_delay(_PARENT_PATIENCE_S),
            before_sleep=lambda _: self.parents.forget(request.image_id),
            reraise=True,
        )
        try:
            return retrying(self._reserve_once, request)
        except errors.DiskExists:
            return None
        except errors.Error:
            if self._exists(request):
                return None
            raise

    def _reserve_once(self, request: DiskRequest) -> Clone:
        parent = self.parents.of(request)
        return self.holder.taken(
            self.lineage.reserve, request, parent, self.clone_format
        )

    def _exists(self, request: DiskRequest) -> bool:
        try:
            clone = self._find(request.pool, request.name)
        except errors.DiskNotFound:
            return False
        return clone.state in states.LIVE

    def _resume(self, request: DiskRequest) -> Clone | None:
        """Return *request*'s own row, made or held; ``None`` to reserve anew.

        A row that is on its way out is waited for, or seen out.
        """
        clone = self.standing(request.pool, request.name)
        if clone is None:
            return None
        matching.check_same(clone, request)
        return clone if clone.state in MADE else self.taken_over(clone)

    def standing(self, pool: str, name: str) -> Clone | None:
        """Return the live disk that has the name; ``None`` to look again.

        One that is on its way out is seen out.

        :raises NameTaken: it is an image of Glance's that we made.
        """
        clone = self.lineage.find(self.fsid, pool, '', name)
        if clone.state not in states.LIVE:
            return None
        if clone.kind is not Kind.DISK:
            raise errors.NameTaken(pool=pool, name=name)
        if clone.state in (State.DELETING, State.UNDOING):
            self.see_out(clone)
            return None
        return clone

    def taken_over(self, clone: Clone) -> Clone | None:
        """Return the row, held, or ready if it only wanted its name back.

        ``None`` if it moved meanwhile.
        """
        try:
            held = self.holder.take(clone)
        except errors.RowMoved:
            return None
        if held.state is State.RESTORING:
            return self.remover.restore(held)
        return held


def _disk(clone: Clone) -> Clone:
    """Return *clone*, which is to be a disk.

    :raises DiskNotFound: it is not.
    """
    if clone.kind is not Kind.DISK:
        raise errors.DiskNotFound(name=clone.image.name, pool=clone.image.pool)
    return clone


def _newest(rows: Iterable[Clone]) -> list[Clone]:
    """Return the live row, else the newest, of each name."""
    newest: dict[tuple[str, str], Clone] = {}
    for clone in sorted(rows, key=lambda row: row.id):
        name = (clone.image.pool, clone.image.name)
        known = newest.get(name)
        if known is None or known.state not in states.LIVE:
            newest[name] = clone
    return list(newest.values())

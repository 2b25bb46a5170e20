# SPDX-License-Identifier: Apache-2.0
"""The order of work on snapshots of disks: plan, take, record.

A snapshot into Glance is an image's row like a disk's: reserved, made,
ready; its parent is a snapshot of the disk that is planned with it. A
snapshot that a caller names is a row of its own, and goes when a caller asks
or with its disk. As for disks, each method can be called again.
"""

from collections.abc import Collection
import dataclasses
from urllib import parse
import uuid

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning import changes
from rbdcloner.cloning import eligibility
from rbdcloner.cloning import matching
from rbdcloner.cloning.engine import Engine
from rbdcloner.cloning.headroom import Headroom
from rbdcloner.cloning.releasing import Releaser
from rbdcloner.cloning.rollbacks import Rollbacks
from rbdcloner.model import GLANCE_NAME
from rbdcloner.model import Clone
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import Parent
from rbdcloner.model import Purpose
from rbdcloner.model import Request
from rbdcloner.model import SnapshotFacts
from rbdcloner.model import Warrant
from rbdcloner.states import ParentState
from rbdcloner.states import State

#: Of the snapshots that a request took: it is there, or is to be.
_STAYING = (ParentState.PLANNED, ParentState.ACTIVE)


#: By whose order a snapshot's row goes that is not in its image any more.
_REMOVED = Warrant(Order.OTHERS, 'its image has no such snapshot')


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshots:
    """Snapshots of the disks of one engine."""

    engine: Engine
    ceph: Driver
    releaser: Releaser
    rollbacks: Rollbacks
    headroom: Headroom
    image_pools: Collection[str]

    def snapshot_disk(
        self,
        pool: str,
        name: str,
        image_id: str,
        dest_pool: str,
        after: int | None = None,
    ) -> str:
        """Make the data of the disk, as it is now, a Glance image.

        Returns the location to register in Glance. Copies nothing, and takes
        as long for a full disk as for an empty one.

        :raises CreationOutdated: it was discarded later than *after*.
        :raises DiskNotFound: there is no such disk.
        :raises DiskDiffers: the image was made of another disk.
        :raises RoomNeeded: its chain, or its snapshots, are too many.
        """
        self._check_pool(dest_pool)
        while True:
            image = self._find(dest_pool, image_id)
            if image is None:
                image = self._reserve(pool, name, image_id, dest_pool, after)
            else:
                image = self._resume(image, pool, name)
            if image is not None and image.state is State.RESERVED:
                image = self.engine.maker.make(image, after)
            if image is not None:
                return _location(image.image)

    def discard_snapshot(self, location: str, call: str = '') -> Clone | None:
        """Undo :meth:`snapshot_disk`; ``None`` if there is nothing of it.

        Disks made of the image go on: they keep its data, not its name.

        :raises InvalidArgument: it is not a location of this cluster.
        :raises NameTaken: this service did not make the image.
        """
        parts = eligibility.parse_location(location)
        if isinstance(parts, eligibility.Refusal):
            raise errors.InvalidArgument(
                argument='location', reason=parts.sentence
            )
        if parts.fsid != self.engine.fsid:
            raise errors.InvalidArgument(
                argument='location',
                reason=eligibility.Refusal.OTHER_CLUSTER.sentence,
            )
        if parts.snapshot != GLANCE_NAME:
            raise errors.InvalidArgument(
                argument='location',
                reason=f'its snapshot must be {GLANCE_NAME}',
            )
        self._check_pool(parts.pool)
        there = Image(parts.fsid, parts.pool, '', parts.image)
        self.engine.lineage.note_deletion(call, there)
        image = self._find(parts.pool, parts.image)
        if image is not None:
            call = call or uuid.uuid4().hex
            warrant = Warrant(Order.CALLER, 'discard_snapshot', call)
            return self.engine.remove(image, warrant)
        if self.ceph.find_image(there) is not None:
            raise errors.NameTaken(pool=parts.pool, name=parts.image)
        return None

    def create_snapshot(
        self,
        pool: str,
        name: str,
        snapshot: str,
        request: Request = changes.UNNAMED,
    ) -> Parent:
        """Take a snapshot of the disk; nothing if *request* has taken it.

        :raises DiskNotFound: there is no such disk.
        :raises DiskSnapshotExists: the disk has another snapshot so named.
        :raises ParentHasChildren: it was being removed, and has children.
        :raises RequestOutdated: a later request came before it, or has
            removed what it took.
        :raises RoomNeeded: the disk has too many.
        """
        disk = self._ready(pool, name)
        taken = self._taken_by(request, disk)
        if taken is None:
            self._check_is_new(disk, snapshot)
            taken = self.engine.lineage.begin_snapshot(disk, snapshot, request)
        return self.engine.maker.take(taken)

    def remove_snapshot(
        self,
        pool: str,
        name: str,
        snapshot: str,
        request: Request = changes.UNNAMED,
    ) -> None:
        """Remove the snapshot of the disk; nothing if it has none so named.

        Nothing if *request* has removed it, whatever has the name since.

        :raises DiskNotFound: there is no such disk.
        :raises DiskSnapshotInUse: images descend from it.
        :raises RequestOutdated: a later request came before it.
        """
        disk = self.engine.get_disk(pool, name)
        found = self._found(disk, snapshot)
        if found is None:
            return
        in_use = errors.DiskSnapshotInUse(
            snapshot=snapshot, name=name, pool=pool
        )
        if isinstance(found, Parent) and found.purpose is not Purpose.CALLER:
            raise in_use
        try:
            begun = self.engine.lineage.begin_removal(disk, found, request)
            if begun is not None:
                warrant = Warrant(
                    Order.CALLER,
                    'remove_snapshot',
                    request.call or f'snapshot {begun.id}',
                )
                self.releaser.remove(begun, warrant)
        except errors.ParentHasChildren as exc:
            raise in_use from exc

    def rollback_disk(
        self,
        pool: str,
        name: str,
        snapshot: str,
        request: Request = changes.UNNAMED,
    ) -> Clone:
        """Give the disk the data and the size that it had then.

        A snapshot that has no row gets one: it was taken after the backup
        that was restored, or by others. Nothing if *request* has done so,
        whatever was written since.

        :raises DiskSnapshotNotFound: the disk has no such snapshot.
        :raises ParentReleased: the snapshot is being removed.
        :raises RequestOutdated: a later request came before it.
        :raises RollbackAbandoned: the request was interrupted, and is not
            done again: somebody has used the disk since.
        :raises DiskInUse: somebody has it open.
        :raises DatabaseOutdated: the disk may be another by now; its row is
            as it was, also one that says that the disk goes back.
        """
        disk = self.engine.get_disk(pool, name)
        changes.refuse_abandoned(self.engine.lineage, request, disk)
        if changes.has_done(self.engine.lineage, request, disk):
            return disk
        if disk.state not in (State.READY, State.ROLLING_BACK):
            raise errors.DiskBusy(name=name, pool=pool, state=disk.state)
        target = self._target(disk, snapshot)
        self.engine.remover.generation.check(pool)
        begun = disk.state is State.ROLLING_BACK
        disk = changes.begin(
            self.engine.holder,
            disk,
            State.ROLLING_BACK,
            request,
            target.id if isinstance(target, Parent) else target,
        )
        try:
            return self.rollbacks.roll_back(disk, begun)
        except errors.RbdImageInUse as exc:
            raise errors.DiskInUse(
                name=name, pool=pool, watchers=exc.kwargs['watchers']
            ) from exc

    def _target(self, disk: Clone, snapshot: str) -> Parent | SnapshotFacts:
        """Return the snapshot to go back to: its row, else what Ceph has.

        :raises DiskSnapshotNotFound: the disk has no such snapshot.
        """
        found: Parent | SnapshotFacts | None = self._named(disk, snapshot)
        if disk.state is State.READY and self._in_ceph(disk, snapshot):
            # Of a name that was used again since the backup: the new one.
            found = self._found(disk, snapshot)
        if found is None or found.snapshot.id is None:
            raise errors.DiskSnapshotNotFound(
                snapshot=snapshot, name=disk.image.name, pool=disk.image.pool
            )
        return found

    def _check_pool(self, pool: str) -> None:
        if pool not in self.image_pools:
            raise errors.PoolNotServed(
                pool=pool, served=', '.join(sorted(self.image_pools))
            )

    def _find(self, pool: str, name: str) -> Clone | None:
        """Return the live row of a Glance image that we made."""
        try:
            clone = self.engine.lineage.find(self.engine.fsid, pool, '', name)
        except errors.DiskNotFound:
            return None
        if clone.state not in states.LIVE:
            return None
        if clone.kind is not Kind.IMAGE:
            raise errors.NameTaken(pool=pool, name=name)
        return clone

    def _ready(self, pool: str, name: str) -> Clone:
        disk = self.engine.get_disk(pool, name)
        if disk.state is not State.READY:
            raise errors.DiskBusy(name=name, pool=pool, state=disk.state)
        return disk

    def _reserve(
        self,
        pool: str,
        name: str,
        image_id: str,
        dest_pool: str,
        after: int | None,
    ) -> Clone | None:
        """Return the new row, held; ``None`` to look again."""
        disk = self._ready(pool, name)
        self.headroom.for_snapshots(disk)
        self.headroom.for_image(disk)
        try:
            return self.engine.holder.taken(
                self.engine.lineage.reserve_image,
                disk,
                image_id,
                dest_pool,
                self.engine.clone_format,
                after=after,
            )
        except (errors.DiskExists, errors.RowMoved):
            return None

    def _resume(self, image: Clone, pool: str, name: str) -> Clone | None:
        """Return the image's row, made or held; ``None`` to look again."""
        if image.state in (State.DELETING, State.UNDOING):
            self.engine.see_out(image)
            return None
        disk = image.parent.snapshot.image if image.parent else None
        if disk is None or (disk.pool, disk.name) != (pool, name):
            raise matching.differs(
                image.image, 'disk', str(disk), f'{pool}/{name}'
            )
        if image.state is State.READY:
            return image
        return self.engine.taken_over(image)

    def _named(self, disk: Clone, snapshot: str) -> Parent | None:
        # The newest: an older one may have lost its name.
        for parent in reversed(self.engine.lineage.snapshots_of(disk.image)):
            if parent.snapshot.name == snapshot:
                return parent
        return None

    def _taken_by(self, request: Request, disk: Clone) -> Parent | None:
        """Return the snapshot that *request* has taken, or began to take."""
        noted = self.engine.lineage.find_change(request)
        if noted is None or noted.clone_id != disk.id:
            return None
        (taken,) = self.engine.lineage.parents([noted.parent_id or 0])
        return taken if taken.state in _STAYING else None

    def _found(
        self, disk: Clone, snapshot: str
    ) -> Parent | SnapshotFacts | None:
        """Return what has the name: a row, or what others took.

        The row of a snapshot that others removed is seen out.
        """
        known = self._named(disk, snapshot)
        there = self._in_ceph(disk, snapshot)
        if known is not None and _is_lost(known, there):
            try:
                self.releaser.remove(known, _REMOVED)
            except errors.ParentHasChildren:
                # It lies in the trash of snapshots, and they keep it.
                self.engine.lineage.lost_name(known)
            known = None
        return known or there

    def _in_ceph(self, disk: Clone, snapshot: str) -> SnapshotFacts | None:
        for facts in self.ceph.snapshots(disk.image):
            if facts.snapshot.name == snapshot and not facts.trashed:
                return facts
        return None

    def _check_is_new(self, disk: Clone, snapshot: str) -> None:
        """Raise if a snapshot has the name; see out what is gone or going.

        What is in Ceph without a row, others took: it is never ours.
        """
        known = self._named(disk, snapshot)
        if known is not None and known.state is ParentState.RELEASING:
            self.releaser.remove(known, _earlier(known))
        if isinstance(self._found(disk, snapshot), SnapshotFacts):
            raise errors.DiskSnapshotExists(
                snapshot=snapshot, name=disk.image.name, pool=disk.image.pool
            )
        self.headroom.for_snapshots(disk)


def _is_lost(known: Parent, there: SnapshotFacts | None) -> bool:
    """Tell whether others removed a snapshot; *there* has its name now."""
    return (
        known.purpose is Purpose.CALLER
        and known.state is ParentState.ACTIVE
        and (there is None or there.snapshot.id != known.snapshot.id)
    )


def _earlier(snapshot: Parent) -> Warrant:
    """Return the warrant for a removal that an earlier request began."""
    return Warrant(
        Order.CALLER, 'an earlier remove_snapshot', f'snapshot {snapshot.id}'
    )


def _location(image: Image) -> str:
    """Return the image's url as glance_store writes it."""
    parts = (image.fsid, image.pool, image.name, GLANCE_NAME)
    return 'rbd://' + '/'.join(parse.quote(part, safe='') for part in parts)

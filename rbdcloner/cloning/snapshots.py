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

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning import eligibility
from rbdcloner.cloning import matching
from rbdcloner.cloning.engine import Engine
from rbdcloner.cloning.headroom import Headroom
from rbdcloner.cloning.releasing import Releaser
from rbdcloner.model import GLANCE_NAME
from rbdcloner.model import Clone
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.states import ParentState
from rbdcloner.states import State


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshots:
    """Snapshots of the disks of one engine."""

    engine: Engine
    ceph: Driver
    releaser: Releaser
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
            return self.engine.remove(image)
        if self.ceph.find_image(there) is not None:
            raise errors.NameTaken(pool=parts.pool, name=parts.image)
        return None

    def create_snapshot(self, pool: str, name: str, snapshot: str) -> Parent:
        """Take a snapshot of the disk; nothing if it has that one.

        :raises DiskNotFound: there is no such disk.
        :raises ParentHasChildren: it was being removed, and has children.
        :raises RoomNeeded: the disk has too many.
        """
        disk = self._ready(pool, name)
        known = self._named(disk, snapshot)
        if known is not None and known.state is ParentState.RELEASING:
            self.releaser.remove(known)
            known = None
        if known is None:
            self.headroom.for_snapshots(disk)
            known = self._plan(disk, snapshot)
        return self.engine.maker.take(known)

    def remove_snapshot(self, pool: str, name: str, snapshot: str) -> None:
        """Remove the snapshot of the disk; nothing if it has none so named.

        :raises DiskNotFound: there is no such disk.
        :raises DiskSnapshotInUse: images descend from it.
        """
        disk = self.engine.get_disk(pool, name)
        known = self._named(disk, snapshot)
        if known is None and not self._is_in_ceph(disk, snapshot):
            return
        known = known or self._plan(disk, snapshot)
        in_use = errors.DiskSnapshotInUse(
            snapshot=snapshot, name=name, pool=pool
        )
        if known.purpose is not Purpose.CALLER:
            raise in_use
        try:
            self.releaser.remove(known)
        except errors.ParentHasChildren as exc:
            raise in_use from exc

    def rollback_disk(self, pool: str, name: str, snapshot: str) -> Clone:
        """Give the disk the data and the size that it had then.

        :raises DiskSnapshotNotFound: the disk has no such snapshot.
        :raises ParentReleased: the snapshot is being removed.
        :raises DiskInUse: somebody has it open.
        """
        disk = self.engine.get_disk(pool, name)
        if disk.state not in (State.READY, State.ROLLING_BACK):
            raise errors.DiskBusy(name=name, pool=pool, state=disk.state)
        target = self._named(disk, snapshot)
        if target is None or target.snapshot.id is None:
            raise errors.DiskSnapshotNotFound(
                snapshot=snapshot, name=name, pool=pool
            )
        begun = disk.state is State.ROLLING_BACK
        disk = self.engine.holder.held_in(
            disk, State.ROLLING_BACK, rollback_to=target.id
        )
        if disk.rollback_to != target.id:
            with self.engine.holder.working_on(disk):
                raise errors.DiskBusy(name=name, pool=pool, state=disk.state)
        try:
            return self.engine.maker.roll_back(disk, begun)
        except errors.RbdImageInUse as exc:
            raise errors.DiskInUse(
                name=name, pool=pool, watchers=exc.kwargs['watchers']
            ) from exc

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
            self.engine.remove(image)
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
        for parent in self.engine.lineage.snapshots_of(disk.image):
            if parent.snapshot.name == snapshot:
                return parent
        return None

    def _is_in_ceph(self, disk: Clone, snapshot: str) -> bool:
        return any(
            facts.snapshot.name == snapshot and not facts.trashed
            for facts in self.ceph.snapshots(disk.image)
        )

    def _plan(self, disk: Clone, snapshot: str) -> Parent:
        return self.engine.lineage.plan_snapshot(
            disk.image,
            snapshot,
            Purpose.CALLER,
            Protector.NOBODY,
            clone=disk,
            size_bytes=disk.size_bytes,
        )


def _location(image: Image) -> str:
    """Return the image's url as glance_store writes it."""
    parts = (image.fsid, image.pool, image.name, GLANCE_NAME)
    return 'rbd://' + '/'.join(parse.quote(part, safe='') for part in parts)

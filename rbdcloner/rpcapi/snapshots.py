# SPDX-License-Identifier: Apache-2.0
"""Snapshots of disks, and the Glance images that are made of them."""

from typing import Any

from oslo_context import context

from rbdcloner.rpcapi.client import Client
from rbdcloner.rpcapi.client import Disk


class Snapshots(Client):
    """Calls about snapshots."""

    def snapshot_disk(
        self,
        ctxt: context.RequestContext,
        name: str,
        pool: str,
        image_id: str,
        dest_pool: str,
    ) -> str:
        """Make the disk's data, as it is now, a Glance image in *dest_pool*.

        Returns the location to register with the image: nothing is copied,
        and the disk may be deleted at any time. A running guest goes on.

        :raises DiskNotFound: there is no such disk.
        :raises DiskDiffers: the image was made of another disk.
        :raises RoomNeeded: images would descend from each other too deeply,
            or the disk has too many snapshots; it says what it waits for.
        """
        return self._call(
            ctxt,
            'snapshot_disk',
            '1.1',
            name=name,
            pool=pool,
            image_id=image_id,
            dest_pool=dest_pool,
        )

    def discard_snapshot(
        self, ctxt: context.RequestContext, location: str
    ) -> None:
        """Undo ``snapshot_disk``; nothing if it is undone.

        :raises InvalidArgument: *location* is not in this cluster.
        :raises NameTaken: the image there is not this service's.
        """
        self._call(ctxt, 'discard_snapshot', '1.1', location=location)

    def create_snapshot(
        self,
        ctxt: context.RequestContext,
        name: str,
        pool: str,
        snapshot: str,
    ) -> dict[str, Any]:
        """Take a snapshot of the disk.

        Returns ``name``, ``id`` (RBD's) and ``size_bytes``. It goes with the
        disk, if it is not removed before.

        :raises DiskNotFound: there is no such disk.
        :raises DiskSnapshotExists: another call, or others, took one so named.
        :raises RoomNeeded: the disk has too many.
        """
        return self._call(
            ctxt,
            'create_snapshot',
            '1.1',
            name=name,
            pool=pool,
            snapshot=snapshot,
        )

    def remove_snapshot(
        self,
        ctxt: context.RequestContext,
        name: str,
        pool: str,
        snapshot: str,
    ) -> None:
        """Remove the snapshot of the disk; nothing if it has none so named.

        :raises DiskNotFound: there is no such disk.
        :raises DiskSnapshotInUse: images descend from it.
        """
        self._call(
            ctxt,
            'remove_snapshot',
            '1.1',
            name=name,
            pool=pool,
            snapshot=snapshot,
        )

    def rollback_disk(
        self,
        ctxt: context.RequestContext,
        name: str,
        pool: str,
        snapshot: str,
    ) -> Disk:
        """Give the disk the data and the size that it had then.

        :raises DiskSnapshotNotFound: the disk has no such snapshot.
        :raises DiskInUse: it is open somewhere; nothing was done.
        """
        return self._call(
            ctxt,
            'rollback_disk',
            '1.1',
            name=name,
            pool=pool,
            snapshot=snapshot,
        )

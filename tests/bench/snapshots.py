# SPDX-License-Identifier: Apache-2.0
"""A disk becomes a Glance image: by this service, and by a copy, as in Nova.

All of them take the snapshot of one disk, which nobody has open, and the
image is gone before the next. Glance itself is not told: that costs the same.
"""

from __future__ import annotations

from collections.abc import Sequence
import uuid

from tests.bench import measuring
from tests.bench.librbd import Librbd
from tests.bench.nova import Nova
from tests.bench.service import Service
from tests.bench.testbed import Testbed


class Disk:
    """A disk that this service made, with so many bytes written to it."""

    def __init__(
        self, bed: Testbed, service: Service, admin: Librbd, written_bytes: int
    ) -> None:
        self.name = f'{uuid.uuid4()}_disk'
        self._service = service
        service.create([self.name], 1)
        admin.write(bed.POOL, self.name, written_bytes)

    def remove(self) -> None:
        """Delete the disk."""
        self._service.remove([self.name], 1)


class ServiceSnapshots:
    """``snapshot_disk``."""

    def __init__(
        self, bed: Testbed, service: Service, admin: Librbd, disk: Disk
    ) -> None:
        self._bed = bed
        self._service = service
        self._admin = admin
        self._disk = disk

    def create(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Make an image for each of these names."""
        calls = [
            {
                'name': self._disk.name,
                'pool': self._bed.POOL,
                'image_id': _image_id(name),
                'dest_pool': self._bed.IMAGE_POOL,
            }
            for name in names
        ]
        return self._service.call('snapshot_disk', calls, threads)

    def remove(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Undo that, and wait until nothing of it is left."""
        bed = self._bed
        where = f'rbd://{bed.servers.ceph.fsid}/{bed.IMAGE_POOL}'
        calls = [
            {'location': f'{where}/{_image_id(name)}/{bed.SNAPSHOT}'}
            for name in names
        ]
        block = self._service.call('discard_snapshot', calls, threads)
        self._admin.wait_reaped(bed.IMAGE_POOL)
        self._admin.wait_no_snapshots(bed.POOL, self._disk.name)
        return block


class LibrbdSnapshots:
    """The calls that Nova makes, on a warm connection."""

    def __init__(self, librbd: Librbd, disk: Disk) -> None:
        self._librbd = librbd
        self._disk = disk

    def create(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Make an image for each of these names."""
        return measuring.measure(
            lambda name: self._librbd.copy(self._disk.name, _image_id(name)),
            names,
            threads,
        )

    def remove(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Remove the images."""
        return measuring.measure(
            lambda name: self._librbd.remove_copy(_image_id(name)),
            names,
            threads,
        )


class NovaSnapshots(LibrbdSnapshots):
    """Nova's own ``direct_snapshot``."""

    def __init__(self, nova: Nova, librbd: Librbd, disk: Disk) -> None:
        super().__init__(librbd, disk)
        self._nova = nova

    def create(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Make an image for each of these names."""
        images = [_image_id(name) for name in names]
        return self._nova.snapshot(self._disk.name, images, threads)


def _image_id(name: str) -> str:
    return name.partition('_')[0]

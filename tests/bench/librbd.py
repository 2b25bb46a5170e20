# SPDX-License-Identifier: Apache-2.0
"""librbd on a warm connection: what a disk costs at the least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rados
import rbd

from tests.bench import measuring
from tests.bench.testbed import Testbed

TIMEOUT_S = 60


class Librbd:
    """Clones, opens, grows and closes, with Debian's rbd module.

    Its connection has the settings that the service's has: they make it a
    little faster.
    """

    def __init__(self, bed: Testbed, client: str = 'client.rbdcloner') -> None:
        self._bed = bed
        self._cluster = rados.Rados(
            name=client,
            conffile=str(bed.servers.ceph.conf),
            conf={
                'rbd_cache': 'false',
                'rbd_default_clone_format': str(bed.wishes.clone_format),
                'rbd_validate_pool': 'false',
                'rados_osd_op_timeout': str(TIMEOUT_S),
                'rados_mon_op_timeout': str(TIMEOUT_S),
                'client_mount_timeout': str(TIMEOUT_S),
            },
        )
        self._cluster.connect()
        self._images = self._cluster.open_ioctx(bed.IMAGE_POOL)
        self._disks = self._cluster.open_ioctx(bed.POOL)

    def create(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Make disks of these names."""
        return measuring.measure(self._create, names, threads)

    def remove(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Remove them, whoever made them."""
        return measuring.measure(self._remove, names, threads)

    def left(self) -> list[str]:
        """Return the names of the disks that are there."""
        return list(rbd.RBD().list(self._disks))

    def close(self) -> None:
        """Disconnect."""
        self._images.close()
        self._disks.close()
        self._cluster.shutdown()

    def _create(self, name: str) -> None:
        rbd.RBD().clone(
            self._images,
            self._bed.image_id,
            self._bed.SNAPSHOT,
            self._disks,
            name,
        )
        disk: Any = rbd.Image(self._disks, name)
        try:
            disk.resize(self._bed.DISK_BYTES)
        finally:
            disk.close()

    def _remove(self, name: str) -> None:
        rbd.RBD().remove(self._disks, name)

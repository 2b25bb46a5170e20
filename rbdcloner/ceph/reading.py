# SPDX-License-Identifier: Apache-2.0
"""The driver's verbs that look, done by librbd.

They open read-only, since an open to write is a watch.
"""

import rbd

from rbdcloner import errors
from rbdcloner.ceph import descent
from rbdcloner.ceph import looking
from rbdcloner.ceph import notes
from rbdcloner.ceph import probing
from rbdcloner.ceph import qemu
from rbdcloner.ceph.reaching import Reaching
from rbdcloner.model import Descent
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import PoolFacts
from rbdcloner.model import QemuTarget
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts


class Reading(Reaching):
    """What leaves everything as it was."""

    def probe(self, pool: str) -> PoolFacts:
        with self._handle(f'probe {pool}', pool) as handle:
            return probing.probe(pool, handle)

    def find_snapshot(
        self, pool: str, namespace: str, image: str, snapshot: str
    ) -> SnapshotFacts:
        parent = Image(self.fsid, pool, namespace, image)
        with self._opened(parent, 'look at') as opened:
            return looking.snapshot_facts(parent, opened, snapshot)

    def find_image(self, image: Image) -> ImageFacts | None:
        try:
            with (
                self._ioctx('look at', image) as ioctx,
                looking.opened(ioctx, image) as opened,
            ):
                row = looking.tag(ioctx, opened.id())
                return looking.image_facts(image, opened, row)
        except errors.RbdImageNotFound:
            return None

    def find_parent(self, image: Image) -> Descent | None:
        with self._handle(f'look above {image}', image.pool) as handle:
            return descent.find(handle, image)

    def is_trashed(self, image: Image) -> bool:
        with self._ioctx('look for', image) as ioctx:
            return looking.trash_entry(ioctx, image.id) is not None

    def watchers(self, image: Image) -> list[str]:
        try:
            with self._opened(image, 'look at') as opened:
                return looking.watchers(opened)
        except errors.RbdImageNotFound:
            return []

    def used_bytes(self, image: Image) -> int:
        with self._opened(image, 'measure') as opened:
            return looking.used_bytes(opened)

    def qemu_target(self, image: Image) -> QemuTarget:
        ours = self._connections
        return qemu.target(image, ours.conffile, ours.client, ours.settings)

    def images(self, pool: str) -> dict[str, str]:
        with self._handle('list the images', pool) as handle:
            found = rbd.RBD().list2(handle.ioctx(pool))
            return {one['id']: one['name'] for one in found}

    def snapshots(self, image: Image) -> list[SnapshotFacts]:
        try:
            with self._opened(image, 'list the snapshots of') as opened:
                return looking.snapshots(image, opened)
        except errors.RbdImageNotFound:
            return []

    def notes(
        self,
        pool: str,
        prefix: str = '',
        after: str = '',
        limit: int = 100,
    ) -> dict[str, str]:
        with self._handle('read the notes', pool) as handle:
            return notes.read(handle.ioctx(pool), prefix, after, limit)

    def children(self, snapshot: Snapshot) -> list[Image]:
        try:
            with self._opened(
                snapshot.image, 'list the children of'
            ) as opened:
                return looking.children(self.fsid, opened, snapshot)
        except errors.RbdImageNotFound:
            return []

# SPDX-License-Identifier: Apache-2.0
"""The driver's verbs that look, done by librbd.

They open read-only, since an open to write is a watch.
"""

import rbd

from rbdcloner import errors
from rbdcloner.ceph import child_index
from rbdcloner.ceph import descent
from rbdcloner.ceph import identity
from rbdcloner.ceph import lineage_mark
from rbdcloner.ceph import looking
from rbdcloner.ceph import notes
from rbdcloner.ceph import probing
from rbdcloner.ceph import qemu
from rbdcloner.ceph import trash_index
from rbdcloner.ceph import unopened
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

    def pool_id(self, pool: str) -> int:
        with self._handle(f'look up pool {pool}', pool) as handle:
            return int(handle.ioctx(pool).get_pool_id())

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

    def name_of(self, image: Image) -> str:
        with self._ioctx('look for', image) as ioctx:
            return unopened.name(ioctx, image.id)

    def is_trashed(self, image: Image) -> bool:
        with self._ioctx('look for', image) as ioctx:
            entry = looking.trash_entry(ioctx, image.id)
            if entry is not None:
                identity.refuse_migrating(image, entry)
            return entry is not None

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

    def trashed_images(self, pool: str) -> dict[str, str]:
        with self._handle('list the trash', pool) as handle:
            return trash_index.images(handle.ioctx(pool))

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

    def lineage_mark(self, pool: str) -> str:
        with self._handle('read the lineage mark', pool) as handle:
            return lineage_mark.read(handle.ioctx(pool))

    def children(self, snapshot: Snapshot) -> list[Image]:
        try:
            with self._opened(
                snapshot.image, 'list the children of'
            ) as opened:
                return looking.children(self.fsid, opened, snapshot)
        except errors.RbdImageNotFound:
            return []
        except errors.CephForbidden as exc:
            if found := self._indexed_children(snapshot):
                return found
            raise errors.ChildrenHidden(
                snapshot=str(snapshot), user=self._connections.client
            ) from exc

    def _indexed_children(self, snapshot: Snapshot) -> list[Image]:
        image = snapshot.image
        with self._handle(f'list the children of {image}', image.pool) as one:
            ioctx = one.ioctx(image.pool, image.namespace)
            return child_index.children(one, ioctx, snapshot)

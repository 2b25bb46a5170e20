# SPDX-License-Identifier: Apache-2.0
"""The interface's verbs that look, and leave everything as it was.

The driver (:mod:`.driver`) has them, and says what every verb may raise.
"""

from typing import Protocol

from rbdcloner.model import Descent
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import PoolFacts
from rbdcloner.model import QemuTarget
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts


class Reader(Protocol):
    """One cluster, to look at."""

    def probe(self, pool: str) -> PoolFacts:
        """Find out what this key can do with *pool*, by acting.

        Writes a small object beside the images and removes it.
        """

    def pool_id(self, pool: str) -> int:
        """Return the id of the pool that has the name now.

        :raises PoolNotFound: there is no such pool.
        """

    def find_snapshot(
        self, pool: str, namespace: str, image: str, snapshot: str
    ) -> SnapshotFacts:
        """Look at a snapshot by names, read-only.

        :raises PoolNotFound: there is no such pool.
        :raises RbdImageNotFound: there is no such image, or it is trashed.
        :raises SnapshotNotFound: the image has no such snapshot.
        :raises SnapshotTrashed: it lies in the trash namespace.
        """

    def find_image(self, image: Image) -> ImageFacts | None:
        """Look at an image, read-only; ``None`` where there is none.

        By id when *image* has one (in the pool or in its trash), else by
        name (never in the trash).
        """

    def find_parent(self, image: Image) -> Descent | None:
        """Look at the snapshot that *image*, by its id, descends from.

        It may lie in the trash, as may its image. ``None`` without one.

        :raises RbdImageNotFound: there is no such image.
        """

    def name_of(self, image: Image) -> str:
        """Return the name that *image*, by its id, has in its pool now.

        Empty if it lies in the trash or is gone. One operation: the image is
        not opened.
        """

    def is_trashed(self, image: Image) -> bool:
        """Tell whether *image* lies in its pool's trash, by its id.

        An interrupted move counts: its name may still be taken.

        :raises RbdImageMigrating: it lies there as a migration's source.
        """

    def watchers(self, image: Image) -> list[str]:
        """Return the addresses of those who have *image* open to write.

        By its id, in the pool or in its trash; none where there is no image.
        """

    def used_bytes(self, image: Image) -> int:
        """Return what *image* itself occupies, in whole objects, by its id.

        As ``rbd du`` counts: the objects of its first snapshot, those that
        changed from each to the next and to its head; its parents' not. What
        only trashed snapshots hold is not counted. As slow as the image has
        objects, unless it has a fast diff.

        :raises RbdImageNotFound: there is no such image.
        """

    def qemu_target(self, image: Image) -> QemuTarget:
        """Return how qemu-img is to write into *image*, which exists.

        By its name, as qemu knows no ids. Asks nothing of Ceph. The program
        is a client of its own: no permit stops it, and its address is found
        among the :meth:`watchers`. It fails when Ceph does not answer in a few
        of our timeouts; so it does on a full pool, where it waits for space.
        """

    def images(self, pool: str) -> dict[str, str]:
        """Return every image of *pool*, id → name, without its trash.

        As slow as the pool has images: never in a request's path.
        """

    def trashed_images(self, pool: str) -> dict[str, str]:
        """Return every image in the trash of *pool*, id → name that it had.

        Whoever moved it there: also Ceph's own, such as the source of a
        migration. A look-up for each 500.
        """

    def snapshots(self, image: Image) -> list[SnapshotFacts]:
        """Return the snapshots of *image*, by its id, the trashed ones too.

        In the order of their ids; none where there is no image.
        """

    def notes(
        self,
        pool: str,
        prefix: str = '',
        after: str = '',
        limit: int = 100,
    ) -> dict[str, str]:
        """Return what others noted of disks in *pool*, name → text.

        In the omap of the object ``rbdcloner.unadopted``: of the first
        *limit*, by name, that begin with *prefix* and come after *after*.
        What is no UTF-8 is escaped.
        """

    def lineage_mark(self, pool: str) -> str:
        """Return the mark of the lineage that *pool* belongs to.

        Empty without one. One RADOS operation.

        :raises PoolNotFound: there is no such pool.
        """

    def children(self, snapshot: Snapshot) -> list[Image]:
        """List the children of *snapshot*, by its ids, in both formats.

        Slow: about 17 ms a child under v1. Never in a request's path.
        Trashed children are included; without one, or without the snapshot,
        the list is empty. Where the key may not read a pool with children,
        those of format 2 are listed, without their names.

        :raises ChildrenHidden: it may not, and there is none of format 2.
        """

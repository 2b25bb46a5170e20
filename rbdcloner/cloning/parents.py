# SPDX-License-Identifier: Apache-2.0
"""From a Glance image to the parent snapshot that its disks are cloned from.

Looking in Glance and in Ceph costs more than a clone's share, so an answer is
remembered for a minute; Ceph refuses a clone of a parent that has gone, and
the engine then asks again after :meth:`Parents.forget`.
"""

from collections.abc import MutableMapping
import threading
from typing import Protocol

import cachetools

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning.bases import Bases
from rbdcloner.cloning.bases import Outlook
from rbdcloner.cloning.eligibility import Location
from rbdcloner.cloning.eligibility import Refusal
from rbdcloner.cloning.eligibility import Verdict
from rbdcloner.cloning.eligibility import check_usable
from rbdcloner.cloning.eligibility import judge
from rbdcloner.cloning.eligibility import parse_location
from rbdcloner.cloning.headroom import Headroom
from rbdcloner.cloning.releasing import Releaser
from rbdcloner.cloning.repairing import Repairer
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import CloneFormat
from rbdcloner.model import DiskRequest
from rbdcloner.model import GlanceImage
from rbdcloner.model import Image
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts

_REMEMBERED_S = 60
_REMEMBERED_IMAGES = 4096


class Images(Protocol):
    """What this room needs of Glance."""

    def get(self, image_id: str, project_id: str = '') -> GlanceImage:
        """Return the image, with its members if *project_id* may need them."""

    def look(self, image_id: str) -> GlanceImage:
        """Return the image as it is now, without members."""

    def forget(self, image_id: str) -> None:
        """Ask Glance again next time."""

    def confirm_sight(self) -> None:
        """Return if Glance shows every project's images: a 404 counts."""


class Parents:
    """The parents of one cluster, adopted as images are asked for."""

    def __init__(
        self,
        ceph: Driver,
        lineage: Lineage,
        images: Images,
        releaser: Releaser,
        repairer: Repairer,
        headroom: Headroom,
        bases: Bases,
        clone_format: CloneFormat,
    ) -> None:
        self._ceph = ceph
        self._lineage = lineage
        self._images = images
        self._releaser = releaser
        self._repairer = repairer
        self._headroom = headroom
        self._bases = bases
        self._clone_format = clone_format
        self._known: MutableMapping[str, Parent] = cachetools.TTLCache(
            _REMEMBERED_IMAGES, _REMEMBERED_S
        )
        self._lock = threading.Lock()

    def judge(self, image_id: str) -> tuple[Verdict, Outlook | None]:
        """Tell whether the image can be cloned, and from where or why not.

        If not, what would come of importing it.

        :raises ImageError: the image is not one that anybody may use.
        """
        image = self._images.get(image_id)
        check_usable(image)
        verdict = judge(image, self._ceph)
        if verdict.cloneable:
            return verdict, None
        return verdict, self._bases.outlook(image)

    def of(self, request: DiskRequest) -> Parent:
        """Return the active, protected parent for *request*'s disk.

        :raises ImageError: the project may not use the image, it cannot be
            cloned, or is being imported, or it is larger than the disk.
        :raises ParentReleased: the snapshot is being released now.
        :raises RoomNeeded: the chain above it is too deep.
        """
        image = self._images.get(request.image_id, request.project_id)
        check_usable(image, request.project_id)
        with self._lock:
            parent = self._known.get(image.id)
        if parent is None:
            parent = self._adopt(image, request.imports)
            with self._lock:
                self._known[image.id] = parent
        if parent.size_bytes > request.size_bytes:
            raise errors.ImageTooBig(
                image_id=image.id,
                image_bytes=parent.size_bytes,
                size_bytes=request.size_bytes,
            )
        return parent

    def forget(self, image_id: str) -> None:
        """Look again in Glance and in Ceph next time."""
        with self._lock:
            self._known.pop(image_id, None)
        self._images.forget(image_id)

    def record(self, facts: SnapshotFacts, image_id: str) -> Parent:
        """Return the row of a snapshot, as others made it, of an image.

        :raises ParentReleased: it is being released now.
        """
        try:
            return self._lineage.adopt(
                facts,
                image_id,
                Protector.OTHERS if facts.protected else Protector.NOBODY,
                self._depth(facts.snapshot.image),
            )
        except errors.ParentReleased:
            self._help_release(facts.snapshot)
            raise

    def _adopt(self, image: GlanceImage, imports: bool) -> Parent:
        verdict = judge(image, self._ceph)
        if not verdict.cloneable and imports and self._bases.has_ended(image):
            # What is remembered of it may be from before that.
            self._images.forget(image.id)
            image = self._images.get(image.id)
            check_usable(image)
            verdict = judge(image, self._ceph)
        facts = verdict.facts or self._repaired(image, verdict)
        if facts is None and imports:
            parent = self._bases.parent_of(image)
            self._headroom.for_child(parent)
            return parent
        if facts is None:
            raise errors.ImageNotCloneable(
                image_id=image.id, summary=verdict.summary
            )
        parent = self.record(facts, image.id)
        self._headroom.for_child(parent)
        if self._clone_format is CloneFormat.V1 and not facts.protected:
            parent = self._lineage.protected_by(parent, Protector.SERVICE)
            self._ceph.protect(parent.snapshot)
        return parent

    def _repaired(
        self, image: GlanceImage, verdict: Verdict
    ) -> SnapshotFacts | None:
        """Repair an image that Glance failed to delete."""
        for url, refusal in verdict.refusals:
            if refusal is not Refusal.SNAPSHOT_TRASHED:
                continue
            location = parse_location(url)
            if isinstance(location, Location):
                rbd_image = Image(
                    self._ceph.fsid, location.pool, '', location.image
                )
                return self._repairer.repair(
                    rbd_image, location.snapshot, image.id
                )
        return None

    def _depth(self, image: Image) -> int:
        """Return how many ancestors *image* has, if it is nobody's row.

        By ids, so that those in the trash count.
        """
        if self._lineage.find_by_image(image) is not None:
            return 0
        depth = 0
        facts = self._ceph.find_image(image)
        while facts is not None and facts.parent is not None:
            depth += 1
            facts = self._ceph.find_image(facts.parent)
        return depth

    def _help_release(self, snapshot: Snapshot) -> None:
        """Do what whoever is releasing the parent does, or died doing.

        Both may do it: the slower one finds it done. Should its unprotect
        come after the parent was taken again, Ceph refuses it when there is
        a child, and else refuses the clone, whose maker protects anew.
        """
        parent = self._lineage.find_parent(snapshot)
        if parent is not None:
            self.forget(parent.glance_image_id)
            self._releaser.release(parent)

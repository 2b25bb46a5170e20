# SPDX-License-Identifier: Apache-2.0
"""Making a Glance image whole whose deletion failed half-way.

Glance removes the snapshot first, which under format v2 succeeds whoever
descends from it, and then fails to remove the image, since somebody has it
open: the image stays active, without the snapshot that disks are cloned
from. Its data is what the removed snapshot has: the snapshot is taken again.
"""

from collections.abc import Iterable
import dataclasses
import logging

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning.making import Maker
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Repairer:
    """Takes the snapshots of active Glance images anew."""

    ceph: Driver
    lineage: Lineage
    maker: Maker

    def needs_repair(self, parent: Parent) -> bool:
        """Tell whether only the trash has the snapshot of *parent*."""
        return (
            self._lost(parent.snapshot.image, parent.snapshot.name) is not None
        )

    def repair_parent(self, parent: Parent) -> SnapshotFacts | None:
        """Repair the image of *parent*, if that is what it needs."""
        return self.repair(
            parent.snapshot.image,
            parent.snapshot.name,
            parent.glance_image_id,
            parent.depth,
        )

    def repair(
        self, image: Image, name: str, glance_image_id: str, depth: int = 0
    ) -> SnapshotFacts | None:
        """Take *image*'s snapshot *name* again, if only the trash has it.

        Returns the new one; ``None`` where nothing is to be repaired. The
        data is the same if the size is, nobody has the image open but who
        repairs it too, and it was not modified after the trashed one was
        taken.

        :raises ImageDamaged: the data may have changed since.
        """
        lost_of = self._lost(image, name)
        if lost_of is None:
            return None
        found, trashed = lost_of
        changed = (
            found.size_bytes != trashed.size_bytes
            or found.modified_at > trashed.created_at
            or (
                self.ceph.watchers(found.image)
                and not self._is_begun(trashed.snapshot)
            )
        )
        if changed:
            raise errors.ImageDamaged(
                image_id=glance_image_id, snapshot=str(trashed.snapshot)
            )
        lost = self.lineage.find_parent(trashed.snapshot)
        if lost is not None:
            self.lineage.lost_name(lost)
        planned = self.lineage.plan_snapshot(
            found.image,
            name,
            Purpose.GLANCE,
            Protector.SERVICE,
            size_bytes=trashed.size_bytes,
            order=trashed.order,
            glance_image_id=glance_image_id,
            depth=depth,
        )
        taken = self.maker.take(planned)
        LOG.warning(
            'Image %s had lost %s to a deletion that failed; it was taken '
            'again', glance_image_id, taken.snapshot,
        )  # fmt: skip
        return dataclasses.replace(
            trashed, snapshot=taken.snapshot, trashed=False, protected=True
        )

    def _lost(
        self, image: Image, name: str
    ) -> tuple[ImageFacts, SnapshotFacts] | None:
        """Return the image and its snapshot, if only the trash has that."""
        found = self.ceph.find_image(image)
        if found is None or self.ceph.is_trashed(found.image):
            return None
        trashed = _last_trashed(self.ceph.snapshots(found.image), name)
        return None if trashed is None else (found, trashed)

    def _is_begun(self, lost: Snapshot) -> bool:
        """Tell whether another repairs this; asked after its watch is seen."""
        return any(
            each.snapshot.name == lost.name
            and (each.snapshot.id is None or each.snapshot.id > (lost.id or 0))
            for each in self.lineage.snapshots_of(lost.image)
        )


def _last_trashed(
    snapshots: Iterable[SnapshotFacts], name: str
) -> SnapshotFacts | None:
    """Return the trashed one called *name*, unless a living one is."""
    named = [each for each in snapshots if each.snapshot.name == name]
    if not named or not all(each.trashed for each in named):
        return None
    return named[-1]

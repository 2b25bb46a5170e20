# SPDX-License-Identifier: Apache-2.0
"""A restored database is brought up to what is in Ceph.

It knows nothing of what was made since its backup, and has in progress what
has long been done. What the service made says so: the image has the tag of its
row, which is the row's uuid, and names the snapshot that it descends from. So

* an image with a tag and without a row is adopted, and its ancestors before
  it, be they in the trash;
* a row in progress whose image is there, whole, is READY: it may have been
  delivered, and is full of data;
* a row whose image is gone from a pool that has this lineage's mark ends, and
  one that was retired and is there under its name is READY again;
* a READY disk has the size that Ceph has;
* an image with a tag in the trash of a pool that has the mark is retired, and
  so is one whose name the service gave to another: it was deleted.

In Ceph nothing is made, changed or destroyed. What cannot be explained is
told, and left as it is. Each row is a transaction of its own: interrupted, it
is called again and goes on with what is left.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
import dataclasses
import datetime

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning.findings import Finding
from rbdcloner.cloning.findings import Outcome
from rbdcloner.cloning.findings import unexplained
from rbdcloner.cloning.restored_rows import RestoredRows
from rbdcloner.cloning.tagged_images import OF_INSTANCE
from rbdcloner.cloning.tagged_images import TaggedImages
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Filters
from rbdcloner.model import Image
from rbdcloner.states import FINAL
from rbdcloner.states import State

_ROWS_AT_ONCE = 500

_NOT_GONE = tuple(state for state in State if state not in FINAL)


@dataclasses.dataclass(frozen=True, slots=True)
class Reconciliation:
    """Brings one cluster's rows up to its images; rehearsed, it only looks.

    ``marked`` are the pools that have the lineage's mark. What was recorded
    after ``backup_at`` was recorded after the restore.
    """

    ceph: Driver
    lineage: Lineage
    clone_format: CloneFormat
    marked: Collection[str]
    backup_at: datetime.datetime
    undo_delay_s: float
    rehearsed: bool = False

    @property
    def _tagged(self) -> TaggedImages:
        return TaggedImages(
            self.ceph,
            self.lineage,
            self.clone_format,
            self.undo_delay_s,
            self.rehearsed,
        )

    @property
    def _restored(self) -> RestoredRows:
        return RestoredRows(
            self.ceph,
            self.lineage,
            self._tagged,
            self.marked,
            self.backup_at,
            self.rehearsed,
        )

    def look_at(self, pool: str) -> Iterator[Finding]:
        """Yield what comes of each image of *pool* that is not as recorded.

        :raises PoolNotFound: there is no such pool.
        """
        # In this order: what is made meanwhile is not taken for missing.
        known = list(self._rows(pool))
        present = self.ceph.images(pool)
        trashed = self.ceph.trashed_images(pool)
        # Before the rows: a name of what was deleted may be another's.
        for image_id, name in sorted(trashed.items(), key=lambda i: i[1]):
            image = Image(self.ceph.fsid, pool, '', name, image_id)
            yield from self._try(image, self._look_at_trashed, image)
        for clone in known:
            yield from self._try(
                clone.image, self._restored.follow, clone, present
            )
        recorded = {clone.image.id for clone in known}
        for image_id, name in sorted(present.items(), key=lambda i: i[1]):
            if image_id not in recorded:
                image = Image(self.ceph.fsid, pool, '', name, image_id)
                yield from self._try(image, self._look_at_image, image)

    def _rows(self, pool: str) -> Iterator[Clone]:
        """Yield the rows that are not final, but for those that are held."""
        filters = Filters(pool=pool, states=_NOT_GONE)
        marker, now = 0, self.lineage.now()
        while page := self.lineage.page(filters, marker, _ROWS_AT_ONCE):
            marker = page[-1].id
            yield from (
                clone
                for clone in page
                if clone.lease_expires_at is None
                or clone.lease_expires_at < now
            )

    def _try(
        self,
        image: Image,
        act: Callable[..., Finding | None],
        *given: object,
    ) -> Iterator[Finding]:
        try:
            finding = act(*given)
        except (errors.CephUnavailable, errors.DatabaseUnavailable):
            raise
        except errors.RowMoved:
            # Somebody works on it, as it is now.
            return
        except errors.Error as exc:
            finding = Finding(image, Outcome.FAILED, str(exc))
        if finding is not None:
            yield finding

    def _look_at_trashed(self, image: Image) -> Finding | None:
        """Record an image in the trash that has no row, if it is ours."""
        if self.lineage.find_by_image(image) is not None:
            return None
        try:
            facts = self.ceph.find_image(image)
            if facts is None or not facts.tag:
                return None
            if not self.ceph.is_trashed(image):
                return None
        except errors.CephUnavailable:
            raise
        except errors.CephError as exc:
            # It stays where it is, and need not keep the rest waiting.
            return unexplained(image, f'it lies in the trash: {exc}')
        if image.pool not in self.marked:
            return unexplained(
                image,
                'it lies in the trash, and its row is not known: if it is '
                'not of another database, "rbd trash rm -p '
                f'{image.pool} {image.id}" removes it',
            )
        return self._tagged.adopt(facts, trashed=True)

    def _look_at_image(self, image: Image) -> Finding | None:
        """Adopt an image that has no row, if it is ours."""
        if self.lineage.find_by_image(image) is not None:
            return None
        facts = self.ceph.find_image(image)
        if facts is None:
            return None
        if facts.tag:
            return self._tagged.adopt(facts, trashed=False)
        if image.pool in self.marked and OF_INSTANCE.match(image.name):
            return unexplained(image, 'it has no tag: "disk adopt" records it')
        return None

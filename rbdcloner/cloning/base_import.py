# SPDX-License-Identifier: Apache-2.0
"""Importing images into bases: few at once in the whole cluster.

A base is a row with a slot and a lease, like a flatten. Its RBD image is a
clone's row of its own, RESERVED until all of it is written, verified and has
its snapshot; whoever takes the base from a dead worker begins with another
image, and recovery undoes the first. So nothing half-written is ever a parent.

======================================================= =====================
step                                                    if the worker dies
======================================================= =====================
the base is RUNNING, in a slot                          another takes it over
a clone's row is RESERVED, and named in the base's row  recovery: FAILED
``create``, ``tag``; then the data is written           an image to remove
a parent's row is PLANNED, then snapshot and protection they go with the image
clone and base are READY, in one transaction            nothing is lost
======================================================= =====================
"""

from collections.abc import Callable
import contextlib
import dataclasses
import logging
import threading

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning import bases
from rbdcloner.cloning import eligibility
from rbdcloner.cloning.base_data import Data
from rbdcloner.cloning.base_progress import BaseProgress
from rbdcloner.cloning.base_progress import Notify
from rbdcloner.cloning.holding import Holder
from rbdcloner.cloning.making import Maker
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Base
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import GlanceImage
from rbdcloner.model import Way

LOG = logging.getLogger(__name__)

#: What may be the network's or another program's fault is tried so often in a
#: row, at least, and until it fails as it did before.
_ATTEMPTS = 3
#: It is tried no more often than that, which is a quarter of an hour.
_MOST_ATTEMPTS = 10

#: Nobody can ask for the image any more, or not now.
_NOT_WANTED = (
    errors.ImageNotFound,
    errors.ImageNotActive,
    errors.ImageReplaced,
)
#: Perhaps it is not the image's fault.
_MAYBE_LATER = (
    errors.DataTruncated,
    errors.ImageDataMissing,
    errors.ConversionFailed,
)
#: Whether the image is there is not known, and is asked again when it is made.
_NOT_TOLD = (errors.GlanceUnavailable, errors.GlanceForbidden)


@dataclasses.dataclass(frozen=True, slots=True)
class BaseImporter:
    """Imports into *pool*, at most *limit* images at once in the cluster."""

    ceph: Driver
    lineage: Lineage
    maker: Maker
    holder: Holder
    data: Data
    pool: str
    clone_format: CloneFormat
    limit: int
    glance_store: str
    notify: Notify

    def run_next(self, stopping: threading.Event | None = None) -> bool:
        """Import the image that is next; False if there is none, or no slot.

        When *stopping* is set it is put back, for another process.
        """
        base = self.holder.next_base(self.limit)
        if base is None:
            return False
        LOG.info('Importing image %s', base.glance_image_id)
        self.notify('start', base)
        try:
            with BaseProgress(
                base,
                self.lineage,
                self.holder,
                self.notify,
                stopping or threading.Event(),
            ) as beat:
                self._import(base, beat)
        except errors.RowMoved as exc:
            LOG.info('The import of %s ends here: %s', base, exc)
        except errors.Error as exc:
            self._failed(base, exc)
        return True

    def _import(self, base: Base, beat: BaseProgress) -> None:
        image = self._look(base)
        if eligibility.judge(image, self.ceph).cloneable:
            self._end('end', self.lineage.copied_base(base))
            return
        self.data.check_size(image)
        beat.way = bases.way(image, self.glance_store)
        if beat.way is Way.COPY:
            if self._copied(base, image, beat):
                return
            beat.way = Way.STREAM
        if beat.way is Way.STREAM:
            self._stream(base, image, beat)
        else:
            self._convert(base, image, beat)

    def _look(self, base: Base) -> GlanceImage:
        """Return what Glance says of the image now.

        :raises ImageNotFound: Glance has it no more.
        :raises ImageNotActive: its data is not for anybody.
        :raises ImageReplaced: it has other data.
        """
        image = self.data.images.look(base.glance_image_id)
        if image.status != 'active':
            raise errors.ImageNotActive(image_id=image.id, status=image.status)
        if image.checksum != base.checksum:
            raise errors.ImageReplaced(image_id=image.id)
        return image

    def _copied(
        self, base: Base, image: GlanceImage, beat: BaseProgress
    ) -> bool:
        """Have Glance copy the image; False if it does not."""
        for _ in range(_ATTEMPTS):
            self.data.images.copy_to(image.id, self.glance_store)
            now = self.data.images.look(image.id)
            while self.glance_store in now.copying_to:
                beat.wait()
                now = self.data.images.look(image.id)
            if self.glance_store in now.not_copied_to:
                break
            if self.glance_store in now.stores:
                self._end('end', self.lineage.copied_base(base))
                return True
            beat.wait()
        LOG.warning(
            'Glance does not copy image %s to its store %s; it is streamed',
            image.id, self.glance_store,
        )  # fmt: skip
        return False

    def _stream(
        self, base: Base, image: GlanceImage, beat: BaseProgress
    ) -> None:
        def write(clone: Clone) -> None:
            with self.ceph.open(clone.image) as opened:
                opened.tag(clone.uuid)
                fill(opened)

        with self.data.streamed(image, beat.progress) as fill:
            self._make(base, image.size_bytes, write, beat)

    def _convert(
        self, base: Base, image: GlanceImage, beat: BaseProgress
    ) -> None:
        def write(clone: Clone) -> None:
            with self.ceph.open(clone.image) as opened:
                opened.tag(clone.uuid)
            try:
                self.data.convert(image, fetched, clone.image, beat.progress)
            except errors.ConversionFailed:
                # qemu-img waits for space, and then says nothing of it.
                if self.ceph.probe(self.pool).full:
                    raise errors.OutOfSpace(pool=self.pool) from None
                raise

        with self.data.fetched(image, beat.progress) as fetched:
            self._make(base, fetched.size_bytes, write, beat)

    def _make(
        self,
        base: Base,
        size_bytes: int,
        write: Callable[[Clone], None],
        beat: BaseProgress,
    ) -> None:
        """Make a new image, have its data written, and the base READY."""
        clone = self.holder.taken(
            self.lineage.reserve_base_image,
            base,
            size_bytes,
            self.pool,
            self.clone_format,
        )
        with self.holder.working_on(clone, long=True):
            try:
                self.ceph.create(clone.image, size_bytes)
                write(clone)
                beat.tell()
                with contextlib.suppress(*_NOT_TOLD):
                    self._look(base)
                image_id = self._expose(clone, size_bytes)
                made = self.lineage.base_made(
                    base, clone, image_id, size_bytes
                )
            except (errors.CephUnavailable, errors.DatabaseUnavailable):
                raise
            except errors.Error as exc:
                self.maker.give_up(clone, exc)
                raise
        self._end('end', made)

    def _expose(self, clone: Clone, size_bytes: int) -> str:
        with self.ceph.open(clone.image) as opened:
            facts = opened.facts()
            if facts.size_bytes != size_bytes:
                raise errors.SizeDiffers(
                    image_id=clone.glance_image_id,
                    expected_bytes=size_bytes,
                    found_bytes=facts.size_bytes,
                    source='Ceph',
                )
            self.maker.expose(clone, facts.image, opened)
        return facts.image.id

    def _failed(self, base: Base, exc: errors.Error) -> None:
        """Have the import tried again later, or never.

        Failures of one kind are counted: what went before, such as Glance's
        being down, says nothing of the image.
        """
        reason = errors.reason_of(exc)
        if not base.reason.startswith(f'{exc.name}:'):
            base = dataclasses.replace(base, attempts=0)
        attempts = base.attempts + 1
        alike = attempts >= _ATTEMPTS and reason == base.reason
        tried = alike or attempts >= _MOST_ATTEMPTS
        if isinstance(exc, _NOT_WANTED):
            ended = self.lineage.drop_base(base, reason)
        elif isinstance(exc, _MAYBE_LATER) and not tried:
            ended = self.lineage.put_back_base(base, reason)
        elif isinstance(exc, (errors.ImageUnfit, *_MAYBE_LATER)):
            ended = self.lineage.refuse_base(base, reason)
        else:
            ended = self.lineage.put_back_base(base, reason)
        LOG.warning('Image %s: %s', base.glance_image_id, exc)
        self.notify('error', ended)

    def _end(self, event: str, base: Base) -> None:
        LOG.info('Image %s is %s', base.glance_image_id, base.state)
        self.notify(event, base)

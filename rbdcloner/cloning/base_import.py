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
import dataclasses
import logging
import threading
import time

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning import bases
from rbdcloner.cloning import eligibility
from rbdcloner.cloning.base_data import Data
from rbdcloner.cloning.holding import Holder
from rbdcloner.cloning.making import Maker
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Base
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import GlanceImage
from rbdcloner.model import Way

LOG = logging.getLogger(__name__)

_TELL_EVERY_S = 1.0
#: How often those who only listen are told.
_NOTIFY_EVERY_S = 10.0
#: What may be the network's or another program's fault is tried so often in a
#: row, at least, and until it fails as it did before.
_ATTEMPTS = 3
#: It is tried no more often than that, which is a quarter of an hour.
_MOST_ATTEMPTS = 10

#: Nobody can ask for the image any more, or not now.
_NOT_WANTED = (errors.ImageNotFound, errors.ImageNotActive)
#: Perhaps it is not the image's fault.
_MAYBE_LATER = (errors.DataTruncated, errors.ConversionFailed)

#: Hears of each step of an import: an event's name, and the base.
Notify = Callable[[str, Base], None]


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
            with _Beat(self, base, stopping or threading.Event()) as beat:
                self._import(base, beat)
        except errors.RowMoved as exc:
            LOG.info('The import of %s ends here: %s', base, exc)
        except errors.Error as exc:
            self._failed(base, exc)
        return True

    def _import(self, base: Base, beat: '_Beat') -> None:
        image = self.data.images.look(base.glance_image_id)
        if image.status != 'active':
            raise errors.ImageNotActive(image_id=image.id, status=image.status)
        if image.checksum != base.checksum:
            reason = 'the image is another by now'
            self._end('error', self.lineage.drop_base(base, reason))
            return
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

    def _copied(self, base: Base, image: GlanceImage, beat: '_Beat') -> bool:
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

    def _stream(self, base: Base, image: GlanceImage, beat: '_Beat') -> None:
        def write(clone: Clone) -> None:
            with self.ceph.open(clone.image) as opened:
                opened.tag(clone.uuid)
                self.data.stream(image, opened, beat.progress)

        self._make(base, image.size_bytes, write, beat)

    def _convert(self, base: Base, image: GlanceImage, beat: '_Beat') -> None:
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
        beat: '_Beat',
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
                image_id = self._expose(clone)
                made = self.lineage.base_made(
                    base, clone, image_id, size_bytes
                )
            except (errors.CephUnavailable, errors.DatabaseUnavailable):
                raise
            except errors.Error as exc:
                self.maker.give_up(clone, exc)
                raise
        self._end('end', made)

    def _expose(self, clone: Clone) -> str:
        with self.ceph.open(clone.image) as opened:
            image = opened.facts().image
            self.maker.expose(clone, image, opened)
        return image.id

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


class _Beat:
    """One import's progress: told to the database, which may end it.

    A thread of ours tells, also while nothing comes; who is at work finds out
    at its next step.
    """

    def __init__(
        self, importer: BaseImporter, base: Base, stopping: threading.Event
    ) -> None:
        self.way = Way.UNDECIDED
        self._importer = importer
        self._base = base
        self._stopping = stopping
        self._counts = (0, base.total_bytes)
        self._notified = time.monotonic()
        self._hold = importer.holder.hold_on(base, self._record)
        self._every_s = min(_TELL_EVERY_S, importer.holder.lease_s / 4)
        self._over = threading.Event()
        self._teller = threading.Thread(
            target=self._tell, name='import', daemon=True
        )

    def __enter__(self) -> '_Beat':
        self._teller.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._teller.join()

    def progress(self, done_bytes: int, total_bytes: int) -> None:
        """Note how far it is.

        :raises LeaseLost: the base was dropped, or is another's.
        :raises ImportStopped: this process is to end.
        """
        self._counts = (done_bytes, total_bytes)
        if self._stopping.is_set():
            raise errors.ImportStopped(image_id=self._base.glance_image_id)
        self._hold.confirm()

    def tell(self) -> None:
        """Write down now how far it is; as :meth:`progress`."""
        self._hold.renew()

    def wait(self) -> None:
        """Wait a little; as :meth:`progress`."""
        self._stopping.wait(self._every_s)
        self.progress(*self._counts)

    def _record(self) -> None:
        base = self._importer.lineage.base_progress(
            self._base,
            *self._counts,
            self._importer.holder.lease_s,
            way=self.way,
        )
        if time.monotonic() - self._notified > _NOTIFY_EVERY_S:
            self._notified = time.monotonic()
            self._importer.notify('progress', base)

    def _tell(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                self._hold.renew()
            except errors.LeaseLost:
                return
            except errors.DatabaseUnavailable:
                continue

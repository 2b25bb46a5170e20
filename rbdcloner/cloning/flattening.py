# SPDX-License-Identifier: Apache-2.0
"""Flattening children in the background: few at once in the whole cluster.

A flatten is a row; whoever runs it keeps its lease, writes down how far it
came and sees there whether it is still wanted. Killed or stopped, what was
copied stays copied, and whoever takes it next goes on. The child is not
attached any more when Ceph says that it has no parent.
"""

import dataclasses
import logging
import threading
import time

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning import permits
from rbdcloner.cloning.holding import Holder
from rbdcloner.cloning.reaper import Reaper
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Flatten
from rbdcloner.states import FINAL

LOG = logging.getLogger(__name__)

_TELL_EVERY_S = 2.0
_MIB = 2**20


@dataclasses.dataclass(frozen=True, slots=True)
class Flattener:
    """Runs flattens, at most *limit* at once in the cluster.

    With *mib_per_s*, each goes through no more of its image in a second.
    """

    ceph: Driver
    lineage: Lineage
    reaper: Reaper
    holder: Holder
    limit: int
    mib_per_s: float = 0

    def run_next(self, stopping: threading.Event | None = None) -> bool:
        """Run the flatten that is next; False if there is none, or no slot.

        When *stopping* is set it is put back, for another process.
        """
        flatten = self.holder.next_flatten(self.limit)
        if flatten is None:
            return False
        try:
            self._run(flatten, stopping or threading.Event())
        except errors.RowMoved:
            LOG.info('Flattening %s was cancelled', flatten.clone.image)
        return True

    def _run(self, flatten: Flatten, stopping: threading.Event) -> None:
        image = flatten.clone.image
        if flatten.clone.state in FINAL or not flatten.clone.attached:
            self.lineage.cancel_flatten(flatten, 'it has no parent any more')
            return
        if not image.id:
            self.lineage.put_back_flatten(flatten, 'it is not made yet')
            return
        LOG.info('Flattening %s (%s)', image, flatten.why)
        try:
            with (
                _Pace(self, flatten, stopping) as pace,
                permits.acting(pace.hold),
            ):
                self.ceph.flatten(image, pace.progress, flatten.forced)
        except errors.RbdImageNotFound:
            self.lineage.cancel_flatten(flatten, 'the image is gone')
            return
        except errors.Error as exc:
            self.lineage.put_back_flatten(flatten, errors.reason_of(exc))
            LOG.warning('Flattening %s waits: %s', image, exc)
            return
        self._finish(flatten)

    def _finish(self, flatten: Flatten) -> None:
        """Detach the child, if Ceph agrees, and let go what is above it."""
        clone = flatten.clone
        found = self.ceph.find_image(clone.image)
        if found is not None and found.parent is not None:
            self.lineage.put_back_flatten(flatten, 'it still has a parent')
            return
        try:
            self.lineage.flattened(flatten)
        except errors.RowMoved:
            # Cancelled too late: Ceph is right about what exists.
            self.lineage.detach(clone)
        LOG.info('%s is flattened', clone.image)
        upper = self.reaper.above(clone)
        if upper is not None:
            self.reaper.reap(upper)


class _Pace:
    """One flatten's progress: told to the database, slowed down, stopped.

    librbd calls :meth:`progress` in a thread of its own and in between the
    objects; a thread of ours tells and looks, also when librbd is silent.
    """

    def __init__(
        self, flattener: Flattener, flatten: Flatten, stopping: threading.Event
    ) -> None:
        self._flattener = flattener
        self._flatten = flatten
        self._stopping = stopping
        self.hold = flattener.holder.hold_on(flatten, self._record)
        self._tell_every_s = min(_TELL_EVERY_S, flattener.holder.lease_s / 4)
        self._over = threading.Event()
        self._counts = (0, 0)
        self._begun = time.monotonic()
        # Its objects may be larger than the parent's.
        whole = flatten.clone.parent or flatten.clone
        self._size_mib = whole.size_bytes / _MIB
        self._teller = threading.Thread(
            target=self._tell, name='flatten', daemon=True
        )

    def __enter__(self) -> '_Pace':
        self._teller.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._teller.join()

    def progress(self, done: int, total: int) -> bool:
        """Note the counts; sleep if this is too fast; False to stop.

        :raises LeaseLost: another has taken the flatten.
        """
        self._counts = (done, total)
        if rate := self._flattener.mib_per_s:
            due = self._begun + done / total * self._size_mib / rate
            while self._goes_on() and (left := due - time.monotonic()) > 0:
                self._stopping.wait(min(left, self._tell_every_s))
        return self._goes_on()

    def _goes_on(self) -> bool:
        if self._stopping.is_set():
            return False
        self.hold.confirm()
        return True

    def _record(self) -> None:
        self._flattener.lineage.flatten_progress(
            self._flatten, *self._counts, self._flattener.holder.lease_s
        )

    def _tell(self) -> None:
        while not self._over.wait(self._tell_every_s):
            try:
                self.hold.renew()
            except errors.LeaseLost:
                return
            except errors.DatabaseUnavailable:
                continue

# SPDX-License-Identifier: Apache-2.0
"""A worker in the eyes of the others: its record, kept while it lives.

The record is beaten until the last call is answered, so that a worker that
ends is not taken for a dead one. More often, that the database answers is
recorded, which says whether leases can be relied upon. Its times are the
database's; what this host's clock says is compared with them, and said when it
is far off, since logs and Ceph's keys go by it.
"""

from collections.abc import Callable
from collections.abc import Iterable
import logging
import os
import threading
import time

import rbdcloner
from rbdcloner import errors
from rbdcloner import rpc
from rbdcloner.cmd import chores
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Worker

LOG = logging.getLogger(__name__)

#: Seconds between two beats, and without one until a worker counts as dead.
EVERY_S = 5.0
DEAD_AFTER_S = 20.0
#: Hosts' clocks that NTP keeps differ by milliseconds.
OFFSET_S = 2.0

_LOOK_EVERY_S = 60.0
_FORGET_AFTER_S = 7 * 24 * 3600.0

_OURS = (rbdcloner.__version__, rpc.VERSION)


def is_alive(worker: Worker) -> bool:
    """Tell whether *worker* was seen lately and has not ended by itself."""
    unseen_s = (worker.looked_at - worker.seen_at).total_seconds()
    return unseen_s < DEAD_AFTER_S and not has_ended(worker)


def has_ended(worker: Worker) -> bool:
    """Tell whether *worker* ended by itself: it did not beat after that."""
    ended_at = worker.stopped_at
    return ended_at is not None and ended_at >= worker.seen_at


class Presence:
    """The record of one worker process, under the name it holds rows by."""

    def __init__(
        self, lineage: Lineage, owner: str, host: str, lease_s: float
    ) -> None:
        self._lineage = lineage
        self._owner = owner
        self._host = host
        self._lease_s = lease_s
        self._over = threading.Event()
        self._look_at = 0.0
        self._clock_is_off = False
        self._strangers: frozenset[tuple[str, str, str]] = frozenset()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Register, and beat from now on.

        :raises DatabaseUnavailable: it cannot be reached.
        """
        self._register()
        self._thread = threading.Thread(target=self._repeat, name='heartbeat')
        self._thread.start()

    def stopping(self) -> None:
        """Say that this worker takes no more calls; it still beats."""
        self._try(self._lineage.worker_stopped)

    def end(self) -> None:
        """Beat no more, and say that this worker ended by itself."""
        self._silence()
        self._try(self._lineage.worker_stopped)

    def give_up(self) -> None:
        """Beat no more; leave no record of who never began to work."""
        self._silence()
        self._try(self._lineage.forget_worker)

    def beat(self) -> None:
        """Say that this worker is alive; now and then look at the others."""
        offset_s = self._clock_offset_s()
        self._tell_offset(offset_s)
        if not self._lineage.beat(self._owner, round(offset_s * 1000)):
            # The table is newer than this process, or we were forgotten.
            self._register()
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_EVERY_S
            self.look()

    def look(self) -> None:
        """Tell of managers of other versions; forget who is long gone."""
        self._tell_strangers(self._lineage.workers())
        self._lineage.forget_workers(_FORGET_AFTER_S)

    def _repeat(self) -> None:
        often_s = min(EVERY_S, self._lease_s / 4)
        answer = chores.Chore('database look', self._ask, often_s, self._over)
        beat = chores.Chore('heartbeat', self.beat, EVERY_S, self._over)
        beat_at = 0.0
        while not self._over.is_set():
            answer.do()
            if time.monotonic() >= beat_at:
                beat_at = time.monotonic() + beat.every_s
                beat.do()
            self._over.wait(answer.every_s)

    def _ask(self) -> None:
        self._lineage.may_take_over(self._owner, self._lease_s)

    def _register(self) -> None:
        self._lineage.register_worker(
            self._owner, self._host, os.getpid(), *_OURS
        )

    def _silence(self) -> None:
        self._over.set()
        if self._thread:
            self._thread.join()

    def _try(self, record: Callable[[str], None]) -> None:
        try:
            record(self._owner)
        except errors.Error as exc:
            LOG.warning('It is not recorded that this worker ends: %s', exc)

    def _clock_offset_s(self) -> float:
        """Return how far this host's clock is ahead of the database's."""
        before = time.time()
        theirs = self._lineage.now().timestamp()
        return (before + time.time()) / 2 - theirs

    def _tell_offset(self, offset_s: float) -> None:
        is_off = abs(offset_s) > OFFSET_S
        if is_off and not self._clock_is_off:
            LOG.warning(
                "The clock of this host is %.1f s %s the database's: see that "
                'NTP keeps both',
                abs(offset_s), 'ahead of' if offset_s > 0 else 'behind',
            )  # fmt: skip
        self._clock_is_off = is_off

    def _tell_strangers(self, workers: Iterable[Worker]) -> None:
        """Say once which managers are not of this one's version."""
        living = [each for each in workers if is_alive(each)]
        found = frozenset(
            (each.host, each.version, each.rpc_version)
            for each in living
            if each.version and (each.version, each.rpc_version) != _OURS
        )
        # One worker of a host speaks for all.
        if self._owner == min(
            (each.owner for each in living if each.host == self._host),
            default='',
        ):
            for stranger in sorted(found - self._strangers):
                LOG.warning(
                    'The manager on %s has version %s (RPC %s), this one has '
                    '%s (RPC %s)', *stranger, *_OURS,
                )  # fmt: skip
        self._strangers = found

# SPDX-License-Identifier: Apache-2.0
"""What a worker does when nobody asks: recover, reap, survey, flatten.

Each chore has a thread. What every manager may do at once is divided row by
row, by leases; what one is enough for, by a duty that the database gives to
one of them at a time.
"""

from collections.abc import Callable
import logging
import threading

from oslo_config import cfg

from rbdcloner import errors
from rbdcloner.cmd.compose import Service

LOG = logging.getLogger(__name__)

#: How soon a flatten begins that was asked for elsewhere.
_FLATTENS_EVERY_S = 2


class Chores:
    """The threads of one worker."""

    def __init__(self, conf: cfg.ConfigOpts, rooms: Service) -> None:
        self._conf = conf
        self._rooms = rooms
        self._stopping = threading.Event()
        self._retired = rooms.reaper.remover.retired
        interval = conf.recovery_interval
        self._threads = [
            self._thread('recovery', rooms.recovery.sweep, interval),
            self._thread('survey', self._survey, conf.survey_interval),
            self._thread('flattens', self._flatten, _FLATTENS_EVERY_S),
            self._thread('reaper', self._reap, interval, self._retired),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each chore end what it is at, and return then."""
        self._stopping.set()
        self._retired.set()
        for thread in self._threads:
            thread.join()

    def _thread(
        self,
        name: str,
        chore: Callable[[], object],
        every_s: float,
        wake: threading.Event | None = None,
    ) -> threading.Thread:
        return threading.Thread(
            target=self._repeat,
            name=name,
            args=(name, chore, every_s, wake or self._stopping),
        )

    def _repeat(
        self,
        name: str,
        chore: Callable[[], object],
        every_s: float,
        wake: threading.Event,
    ) -> None:
        while not self._stopping.is_set():
            wake.wait(every_s)
            if self._stopping.is_set():
                return
            try:
                chore()
            except errors.Error as exc:
                LOG.warning('The %s is tried again: %s', name, exc)
            except Exception:
                LOG.exception('The %s failed and is tried again', name)

    def _reap(self) -> None:
        # What is retired from now on wakes us once more.
        self._retired.clear()
        self._rooms.reaper.sweep()

    def _flatten(self) -> None:
        while not self._stopping.is_set():
            if not self._rooms.flattener.run_next(self._stopping):
                return

    def _survey(self) -> None:
        holder = self._rooms.recovery.holder
        every_s = self._conf.survey_interval
        if holder.lineage.take_duty('survey', holder.owner, every_s):
            self._rooms.survey.look()

# SPDX-License-Identifier: Apache-2.0
"""Periodic tasks of a worker: recover, collect, reconcile, adopt, flatten.

Each task has a thread. What every manager may do at once is divided row by
row, by leases; what one is enough for, by a duty that the database gives to
one of them at a time.
"""

from collections.abc import Callable
import dataclasses
import logging
import threading
import time

from oslo_config import cfg

from rbdcloner import errors
from rbdcloner.worker.wiring import Service

LOG = logging.getLogger(__name__)

#: How soon a flatten begins that was asked for elsewhere.
_FLATTENS_EVERY_S = 2
#: How soon an import begins that was asked for.
_IMPORTS_EVERY_S = 1
#: How soon after its lease somebody's work is taken over.
_TAKES_OVER_EVERY_S = 5.0
#: How soon what nova-compute noted is adopted.
_ADOPTS_EVERY_S = 60.0
#: How soon a database is found to be older than its pools.
_LOOKS_EVERY_S = 5.0
#: How old a backup must be to be told from the present.
_ADVANCES_EVERY_S = 60.0
#: How soon a new key is used that was put into the keyring.
_FOLLOWS_KEY_EVERY_S = 5.0
#: No message of a caller's is executed later than that.
_REMEMBERED_S = 7 * 24 * 3600.0
#: A task ends within that, or is cut off and done again.
_PATIENCE_S = 10.0


@dataclasses.dataclass(slots=True)
class PeriodicTask:
    """What is done again and again; ``failed`` is how it did last."""

    name: str
    act: Callable[[], object]
    every_s: float
    wake: threading.Event
    failed: str = ''

    def do(self) -> None:
        """Do it; the same failure is told once, until it is over."""
        try:
            self.act()
        except errors.Error as exc:
            if str(exc) != self.failed:
                LOG.warning(
                    'The task %s failed and will be retried: %s',
                    *(self.name, exc),
                )
            self.failed = str(exc)
        except Exception:
            LOG.exception(
                'The task %s failed unexpectedly and will be retried; please '
                'report this as a bug',
                self.name,
            )
            self.failed = 'unexpectedly'
        else:
            if self.failed:
                LOG.info('The task %s works again', self.name)
            self.failed = ''


class PeriodicTasks:
    """The threads of one worker.

    *follow_key* connects to Ceph anew where the service's key was replaced,
    and tells whether it was.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        rooms: Service,
        follow_key: Callable[[], bool],
    ) -> None:
        self._rooms = rooms
        self._follow_key = follow_key
        self._stopping = threading.Event()
        self._begun = rooms.garbage_collector.remover.begun
        self._retired = rooms.garbage_collector.remover.retired
        self._survey_every_s = conf.survey_interval
        every_s = conf.recovery_interval
        self._threads = [
            self._thread('recovery', self._recover, every_s),
            self._thread('takeover', self._take_over, _TAKES_OVER_EVERY_S),
            self._thread('reconciler', self._survey, self._survey_every_s),
            self._thread('adoption', self._adopt, _ADOPTS_EVERY_S),
            self._thread('flattening', self._flatten, _FLATTENS_EVERY_S),
            self._thread('import', self._import, _IMPORTS_EVERY_S),
            self._thread('expiry', self._keep_up, self._survey_every_s),
            self._thread('retirement', self._retire, every_s, self._begun),
            self._thread('key rotation', self._rotate, _FOLLOWS_KEY_EVERY_S),
            self._thread('look at the pools', self._look, _LOOKS_EVERY_S),
            self._thread('generation', self._advance, _ADVANCES_EVERY_S),
            self._thread(
                'garbage collector', self._reap, every_s, self._retired
            ),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each periodic task end after what it is at."""
        self._stopping.set()
        self._begun.set()
        self._retired.set()

    def wait(self) -> bool:
        """Wait until all have ended, for seconds; tell whether they have.

        What takes longer is a removal in Ceph, which can be cut off.
        """
        deadline = time.monotonic() + _PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        late = [each.name for each in self._threads if each.is_alive()]
        if late:
            LOG.warning(
                'Periodic tasks did not stop in time, and another worker '
                'resumes them: %s',
                ', '.join(late),
            )
        return not late

    def _thread(
        self,
        name: str,
        act: Callable[[], object],
        every_s: float,
        wake: threading.Event | None = None,
    ) -> threading.Thread:
        task = PeriodicTask(name, act, every_s, wake or self._stopping)
        return threading.Thread(target=self._repeat, name=name, args=(task,))

    def _repeat(self, task: PeriodicTask) -> None:
        while not self._stopping.is_set():
            task.wake.wait(task.every_s)
            if not self._stopping.is_set():
                task.do()

    def _recover(self) -> None:
        self._rooms.recovery.sweep(self._stopping)

    def _take_over(self) -> None:
        self._rooms.recovery.take_over(self._stopping)

    def _rotate(self) -> None:
        if self._follow_key():
            LOG.info('Reconnected to Ceph with the new key')

    def _retire(self) -> None:
        # As below.
        self._begun.clear()
        self._rooms.recovery.retire_begun(self._stopping)

    def _reap(self) -> None:
        # What is retired from now on wakes us once more.
        self._retired.clear()
        self._rooms.garbage_collector.sweep(self._stopping)

    def _flatten(self) -> None:
        while not self._stopping.is_set():
            if not self._rooms.flattener.run_next(self._stopping):
                return

    def _import(self) -> None:
        while not self._stopping.is_set():
            if not self._rooms.importer.run_next(self._stopping):
                return

    def _keep_up(self) -> None:
        holder = self._rooms.recovery.holder
        every_s = self._survey_every_s
        if holder.lineage.duties.take_duty('bases', holder.owner, every_s):
            self._rooms.expiry.look(self._stopping)

    def _look(self) -> None:
        self._rooms.generation.look()

    def _advance(self) -> None:
        holder = self._rooms.recovery.holder
        name, every_s = 'generation', _ADVANCES_EVERY_S
        if holder.lineage.duties.take_duty(name, holder.owner, every_s):
            self._rooms.generation.advance()

    def _adopt(self) -> None:
        holder = self._rooms.recovery.holder
        if holder.lineage.duties.take_duty(
            'adoption', holder.owner, _ADOPTS_EVERY_S
        ):
            self._rooms.noted.look(self._stopping)

    def _survey(self) -> None:
        holder = self._rooms.recovery.holder
        every_s = self._survey_every_s
        if holder.lineage.duties.take_duty(
            'reconciler', holder.owner, every_s
        ):
            self._rooms.reconciler.look(self._stopping)
            holder.lineage.deletions.forget_deletions(_REMEMBERED_S)

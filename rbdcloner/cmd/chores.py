# SPDX-License-Identifier: Apache-2.0
"""What a worker does when nobody asks: recover, reap, survey, adopt, flatten.

Each chore has a thread. What every manager may do at once is divided row by
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
from rbdcloner.cmd.compose import Service

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
#: A chore ends what it is at within that, or is cut off and done again.
_PATIENCE_S = 10.0


@dataclasses.dataclass(slots=True)
class Chore:
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
                LOG.warning('The %s is tried again: %s', self.name, exc)
            self.failed = str(exc)
        except Exception:
            LOG.exception('The %s failed and is tried again', self.name)
            self.failed = 'unexpectedly'
        else:
            if self.failed:
                LOG.info('The %s works again', self.name)
            self.failed = ''


class Chores:
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
        self._begun = rooms.reaper.remover.begun
        self._retired = rooms.reaper.remover.retired
        self._survey_every_s = conf.survey_interval
        every_s = conf.recovery_interval
        self._threads = [
            self._thread('recovery', self._recover, every_s),
            self._thread('takeover', self._take_over, _TAKES_OVER_EVERY_S),
            self._thread('survey', self._survey, self._survey_every_s),
            self._thread('adoption', self._adopt, _ADOPTS_EVERY_S),
            self._thread('flattening', self._flatten, _FLATTENS_EVERY_S),
            self._thread('import', self._import, _IMPORTS_EVERY_S),
            self._thread('upkeep', self._keep_up, self._survey_every_s),
            self._thread('retirement', self._retire, every_s, self._begun),
            self._thread('key rotation', self._rotate, _FOLLOWS_KEY_EVERY_S),
            self._thread('look at the pools', self._look, _LOOKS_EVERY_S),
            self._thread('generation', self._advance, _ADVANCES_EVERY_S),
            self._thread('reaper', self._reap, every_s, self._retired),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each chore end after what it is at."""
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
            LOG.warning('Cut off, to be done again: %s', ', '.join(late))
        return not late

    def _thread(
        self,
        name: str,
        act: Callable[[], object],
        every_s: float,
        wake: threading.Event | None = None,
    ) -> threading.Thread:
        chore = Chore(name, act, every_s, wake or self._stopping)
        return threading.Thread(target=self._repeat, name=name, args=(chore,))

    def _repeat(self, chore: Chore) -> None:
        while not self._stopping.is_set():
            chore.wake.wait(chore.every_s)
            if not self._stopping.is_set():
                chore.do()

    def _recover(self) -> None:
        self._rooms.recovery.sweep(self._stopping)

    def _take_over(self) -> None:
        self._rooms.recovery.take_over(self._stopping)

    def _rotate(self) -> None:
        if self._follow_key():
            LOG.info('Connected to Ceph anew, with the new key')

    def _retire(self) -> None:
        # As below.
        self._begun.clear()
        self._rooms.recovery.retire_begun(self._stopping)

    def _reap(self) -> None:
        # What is retired from now on wakes us once more.
        self._retired.clear()
        self._rooms.reaper.sweep(self._stopping)

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
        if holder.lineage.take_duty('bases', holder.owner, every_s):
            self._rooms.upkeep.look(self._stopping)

    def _look(self) -> None:
        self._rooms.generation.look()

    def _advance(self) -> None:
        holder = self._rooms.recovery.holder
        name, every_s = 'generation', _ADVANCES_EVERY_S
        if holder.lineage.take_duty(name, holder.owner, every_s):
            self._rooms.generation.advance()

    def _adopt(self) -> None:
        holder = self._rooms.recovery.holder
        if holder.lineage.take_duty('adoption', holder.owner, _ADOPTS_EVERY_S):
            self._rooms.noted.look(self._stopping)

    def _survey(self) -> None:
        holder = self._rooms.recovery.holder
        every_s = self._survey_every_s
        if holder.lineage.take_duty('survey', holder.owner, every_s):
            self._rooms.survey.look(self._stopping)
            holder.lineage.forget_deletions(_REMEMBERED_S)

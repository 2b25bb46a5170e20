# SPDX-License-Identifier: Apache-2.0
"""Whose work a row is: taking it, keeping it, letting it go.

A worker that is at work keeps its lease from running out; one that was
stopped finds that out before its next act in Ceph, in
:func:`rbdcloner.cloning.permits.permit`. What it had begun by then is ended
by whoever takes its row: that one shuts it out of Ceph first
(:mod:`rbdcloner.cloning.fencing`).
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import logging
import math
import threading
import time
from typing import Any
from typing import TypeVar

import tenacity

from rbdcloner import errors
from rbdcloner.cloning import permits
from rbdcloner.cloning.fencing import Fence
from rbdcloner.cloning.permits import Hold
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Base
from rbdcloner.model import Clone
from rbdcloner.model import Flatten
from rbdcloner.model import Warrant
from rbdcloner.states import State

LOG = logging.getLogger(__name__)

#: A row's holder is believed to be alive this long.
LEASE_S = 7.0

#: What hangs for longer than that is not at work any more.
_HANGS_S = 600.0

_LOOK_AGAIN_S = 0.5

_Rest = TypeVar('_Rest')
#: What can be held.
Held = Base | Clone | Flatten

_Row = TypeVar('_Row', bound=Held | None)


class Holder:
    """One process that holds rows: its name, and for how long at once.

    Made after a fork. One thread of it renews the leases of all its rows.
    """

    def __init__(
        self,
        lineage: Lineage,
        owner: str,
        lease_s: float = LEASE_S,
        fence: Fence | None = None,
    ) -> None:
        self.lineage = lineage
        self.owner = owner
        self.lease_s = lease_s
        self._fence = fence or Fence(lineage, owner, lease_s)
        self._until: dict[tuple[type, int, int], float] = {}
        self._holds: dict[int, Hold] = {}
        self._lock = threading.Lock()
        self._renewer: threading.Thread | None = None

    def taken(
        self, take: Callable[..., _Row], *given: Any, **named: Any
    ) -> _Row:
        """Return the row that *take* makes this process's own.

        *take* is a method of the lineage with ``owner`` and ``lease_s``. Who
        takes a row in another way has its first act ask the database.
        """
        asked_at = time.monotonic()
        row = take(*given, owner=self.owner, lease_s=self.lease_s, **named)
        if row is not None:
            self._note(row, asked_at)
        return row

    def taken_all(
        self,
        take: Callable[..., tuple[list[Clone], _Rest] | None],
        *given: Any,
    ) -> tuple[list[Clone], _Rest] | None:
        """Return the rows that *take* makes this process's own, and the rest.

        As :meth:`taken`.
        """
        asked_at = time.monotonic()
        answer = take(*given, owner=self.owner, lease_s=self.lease_s)
        if answer is not None:
            for row in answer[0]:
                self._note(row, asked_at)
        return answer

    def hold(self, clone: Clone) -> Clone:
        """Return *clone*'s row held by this process, at once.

        Who held it past its lease is shut out of Ceph first.

        :raises DiskBusy: another holds it.
        :raises RowMoved: the row got another state in the meantime.
        """
        self._end_hanging(clone)
        try:
            return self._fence.taking(self.taken, self.lineage.hold, clone)
        except errors.HolderLate as exc:
            raise errors.DiskBusy(
                name=clone.image.name, pool=clone.image.pool, state=clone.state
            ) from exc

    def take(self, clone: Clone) -> Clone:
        """Return *clone*'s row held by this process.

        Waits for another holder until that one is done or its lease has run
        out, for little more than a lease.

        :raises DiskBusy: yet another holder took it meanwhile.
        :raises RowMoved: the row got another state in the meantime.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(errors.DiskBusy),
            wait=tenacity.wait_random_exponential(0.02, _LOOK_AGAIN_S),
            stop=tenacity.stop_after_delay(self.lease_s + 2 * _LOOK_AGAIN_S),
            reraise=True,
        )
        return retrying(self.hold, clone)

    def held_in(
        self, clone: Clone, state: State, warrant: Warrant | None = None
    ) -> Clone:
        """Return the row in *state*, held, whatever it did before.

        A *warrant* is recorded with the transition.
        """
        if clone.state is not State.READY:
            clone = self.take(clone)
        if clone.state is state:
            return clone
        return self.taken(self.lineage.move, clone, state, warrant=warrant)

    def next_flatten(self, limit: int) -> Flatten | None:
        """Take the flatten to run; as :meth:`hold`, None without one."""
        try:
            return self._fence.taking(
                self.taken, self.lineage.next_flatten, limit=limit
            )
        except errors.HolderLate:
            return None

    def next_base(self, limit: int) -> Base | None:
        """Take the image to import; as :meth:`next_flatten`."""
        try:
            return self._fence.taking(
                self.taken, self.lineage.next_base, limit=limit
            )
        except errors.HolderLate:
            return None

    @contextlib.contextmanager
    def working_on(self, clone: Clone, long: bool = False) -> Iterator[None]:
        """Keep the row; let it go, with the reason, when the work fails.

        The lease is renewed, for ten minutes at the most unless the work is
        *long*. A killed process lets nothing go: its lease runs out.
        """
        try:
            with self._kept(clone, long):
                yield
        except Exception as exc:
            self.lineage.let_go(clone, errors.reason_of(exc))
            raise

    def hold_on(self, row: Held, ask: Callable[[], object]) -> Hold:
        """Return the hold on a row that was taken; *ask* renews it.

        It is for long work: that waits for the database.
        """
        with self._lock:
            until = self._until.pop(_key(row), 0.0)
        return Hold(
            _name(row),
            row.fence,
            self.lease_s,
            until,
            math.inf,
            ask,
            patience_s=permits.PATIENCE_S,
        )

    @contextlib.contextmanager
    def _kept(self, clone: Clone, long: bool) -> Iterator[None]:
        known = self._holds.get(clone.id)
        if known and known is permits.current() and known.fence == clone.fence:
            # It is a part of what is at work on the row already.
            yield
            return
        hold = self.hold_on(clone, lambda: self._ask(clone))
        if not long:
            hold.ends = time.monotonic() + _HANGS_S
            hold.patience_s = 0.0
        with self._lock:
            self._holds[clone.id] = hold
            self._start_renewing()
        try:
            with permits.acting(hold):
                yield
        finally:
            with self._lock:
                if self._holds.get(clone.id) is hold:
                    del self._holds[clone.id]
                if not hold.lost:
                    # There may be more to do for the row.
                    self._until[_key(clone)] = hold.until

    def _ask(self, clone: Clone) -> None:
        rows = {clone.id: clone.fence}
        if not self.lineage.renew_all(rows, self.owner, self.lease_s):
            raise errors.RowMoved(
                name=str(clone.image), expected=f'fence {clone.fence}'
            )

    def _note(self, row: Held, asked_at: float) -> None:
        with self._lock:
            # Of what is taken and then not worked on, nothing else is told.
            for key, until in list(self._until.items()):
                if until < asked_at:
                    del self._until[key]
            self._until[_key(row)] = asked_at + self.lease_s

    def _end_hanging(self, clone: Clone) -> None:
        """Shut ourselves out if a thread of ours hangs in *clone*'s work.

        :raises DiskBusy: it does not hang, though its lease may be late.
        """
        hold = self._holds.get(clone.id)
        if hold is None or hold.lost:
            return
        if time.monotonic() < hold.ends:
            raise errors.DiskBusy(
                name=clone.image.name, pool=clone.image.pool, state=clone.state
            )
        self._fence.shut_ourselves_out()
        hold.lost = True

    def _start_renewing(self) -> None:
        if self._renewer is None:
            self._renewer = threading.Thread(
                target=self._renew, name='lease', daemon=True
            )
            self._renewer.start()

    def _renew(self) -> None:
        pause = threading.Event()
        while not pause.wait(self.lease_s / 4):
            with self._lock:
                if not self._holds:
                    self._renewer = None
                    return
                holds = dict(self._holds)
            try:
                self._renew_once(holds)
            except errors.Error as exc:
                LOG.warning('The leases are not renewed: %s', exc)
            except Exception:
                LOG.exception('The leases are not renewed')

    def _renew_once(self, holds: dict[int, Hold]) -> None:
        """Renew what is older than an instant, in one statement."""
        asked_at = time.monotonic()
        old = {
            row_id: hold
            for row_id, hold in holds.items()
            if hold.until - asked_at < 0.9 * self.lease_s
            and asked_at < hold.ends
            and not hold.lost
        }
        if not old:
            return
        ours = self.lineage.renew_all(
            {row_id: hold.fence for row_id, hold in old.items()},
            self.owner,
            self.lease_s,
        )
        for row_id, hold in old.items():
            if row_id in ours:
                hold.until = asked_at + self.lease_s
            else:
                hold.lost = True


def _key(row: Held) -> tuple[type, int, int]:
    return (type(row), row.id, row.fence)


def _name(row: Held) -> str:
    match row:
        case Flatten():
            return str(row.clone.image)
        case Clone():
            return str(row.image)
    return str(row)

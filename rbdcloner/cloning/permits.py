# SPDX-License-Identifier: Apache-2.0
"""May this thread act: asked before each act in Ceph.

How long a lease certainly lasts is counted from before it was asked for, by
the clock of this host that nobody sets: asking the database before each act
would cost more than the act. That clock stands still in a virtual machine
that is paused. Meanwhile another worker may have taken the row and
blocklisted the connections of this one; so what was confirmed before a
connection was made does not count for an act that goes through it.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import contextvars
import dataclasses
import time

import tenacity

from rbdcloner import errors

#: Longer than the failover of a database.
PATIENCE_S = 120.0
_ASK_AGAIN_S = 0.5


@dataclasses.dataclass(eq=False, slots=True)
class Hold:
    """The right of a thread to act for a row.

    It is certain ``until`` then, by the monotonic clock, and not renewed
    after it ``ends``. ``ask`` renews it in the database; where that does not
    answer, long work waits for it for ``patience_s`` rather than begin again.
    """

    name: str
    fence: int
    lease_s: float
    until: float
    ends: float
    ask: Callable[[], object]
    lost: bool = False
    patience_s: float = 0.0

    @property
    def confirmed_at(self) -> float:
        """When the database was asked last, by the monotonic clock."""
        return self.until - self.lease_s

    def confirm(self, connected_at: float = 0.0) -> None:
        """Return if it lasts; at the price of nothing while that is certain.

        For an act through a connection that was made at *connected_at*.

        :raises LeaseLost: another has taken the row, or may.
        :raises DatabaseUnavailable: that is not known.
        """
        if (
            self.lost
            or time.monotonic() >= self.until
            or connected_at > self.confirmed_at
        ):
            self.renew_patiently()

    def renew_patiently(self) -> None:
        """Ask for another lease, more than once; as :meth:`confirm`."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(errors.DatabaseUnavailable),
            wait=tenacity.wait_fixed(_ASK_AGAIN_S),
            stop=tenacity.stop_after_delay(self.patience_s),
            reraise=True,
        )
        retrying(self.renew)

    def renew(self) -> None:
        """Ask for another lease; as :meth:`confirm`."""
        asked_at = time.monotonic()
        if self.lost or asked_at >= self.ends:
            raise self._lost()
        try:
            self.ask()
        except errors.RowMoved as exc:
            self.lost = True
            raise self._lost() from exc
        self.until = asked_at + self.lease_s

    def _lost(self) -> errors.LeaseLost:
        return errors.LeaseLost(name=self.name, expected=f'fence {self.fence}')


_current: contextvars.ContextVar[Hold | None] = contextvars.ContextVar(
    'hold', default=None
)


def permit(connected_at: float = 0.0) -> None:
    """Return if what this thread works on is still its own.

    The one place that decides it: the driver asks before each act that
    changes Ceph, once it is connected, and tells since when it is. What works
    on no row is permitted.

    :raises LeaseLost: another has taken the row, or may.
    :raises DatabaseUnavailable: the lease is over, and so is the database.
    """
    hold = current()
    if hold is not None:
        hold.confirm(connected_at)


def current() -> Hold | None:
    """Return what decides for this thread."""
    return _current.get()


@contextlib.contextmanager
def acting(hold: Hold | None) -> Iterator[None]:
    """Have *hold* decide for this thread what is permitted; None: all is."""
    before = _current.set(hold)
    try:
        yield
    finally:
        _current.reset(before)

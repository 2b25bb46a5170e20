# SPDX-License-Identifier: Apache-2.0
"""May this thread act: asked before each act in Ceph.

How long a lease certainly lasts is counted from before it was asked for, by
the clock of this host that nobody sets: asking the database before each act
would cost more than the act.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import contextvars
import dataclasses
import time

from rbdcloner import errors


@dataclasses.dataclass(eq=False, slots=True)
class Hold:
    """The right of a thread to act for a row.

    It is certain ``until`` then, by the monotonic clock, and not renewed
    after it ``ends``. ``ask`` renews it in the database.
    """

    name: str
    fence: int
    lease_s: float
    until: float
    ends: float
    ask: Callable[[], object]
    lost: bool = False

    def confirm(self) -> None:
        """Return if it lasts; at the price of nothing while that is certain.

        :raises LeaseLost: another has taken the row, or may.
        :raises DatabaseUnavailable: that is not known.
        """
        if self.lost or time.monotonic() >= self.until:
            self.renew()

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


def permit() -> None:
    """Return if what this thread works on is still its own.

    The one place that decides it: the driver asks before each act that
    changes Ceph, once it is connected. What works on no row is permitted.

    :raises LeaseLost: another has taken the row, or may.
    :raises DatabaseUnavailable: the lease is over, and so is the database.
    """
    hold = current()
    if hold is not None:
        hold.confirm()


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

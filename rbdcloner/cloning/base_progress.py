# SPDX-License-Identifier: Apache-2.0
"""An import's progress: written down, and ended when nobody waits for it.

Callers that wait for a base ask for it every few seconds. One that nobody has
asked for in five minutes, longer than a client waits without an answer, would
take a slot from those that somebody waits for: it is dropped, and begins anew
when it is asked for again.
"""

from collections.abc import Callable
import datetime
import logging
import threading
import time
from typing import Self

from rbdcloner import errors
from rbdcloner.cloning.holding import Holder
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Base
from rbdcloner.model import Way

LOG = logging.getLogger(__name__)

_TELL_EVERY_S = 1.0
#: How often those who only listen are told.
_NOTIFY_EVERY_S = 10.0

_ABANDONED_S = 300
_ABANDONED = f'no caller has asked for it in {_ABANDONED_S} s'

#: Hears of each step of an import: an event's name, and the base.
Notify = Callable[[str, Base], None]


class BaseProgress:
    """One import's progress: told to the database, which may end it.

    A thread of ours tells, also while nothing comes; who is at work finds out
    at its next step.
    """

    def __init__(
        self,
        base: Base,
        lineage: Lineage,
        holder: Holder,
        notify: Notify,
        stopping: threading.Event,
    ) -> None:
        self.way = Way.UNDECIDED
        self._base = base
        self._lineage = lineage
        self._lease_s = holder.lease_s
        self._notify = notify
        self._stopping = stopping
        self._counts = (0, base.total_bytes)
        self._notified = time.monotonic()
        self._hold = holder.hold_on(base, self._record)
        self._every_s = min(_TELL_EVERY_S, holder.lease_s / 4)
        self._over = threading.Event()
        self._teller = threading.Thread(
            target=self._tell, name='import', daemon=True
        )

    def __enter__(self) -> Self:
        # What fails at once, again and again, is given up as well.
        if _is_abandoned(self._base, self._lease_s):
            raise self._abandon()
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
        self._hold.renew_patiently()

    def wait(self) -> None:
        """Wait a little; as :meth:`progress`."""
        self._stopping.wait(self._every_s)
        self.progress(*self._counts)

    def _record(self) -> None:
        base = self._lineage.base_progress(
            self._base, *self._counts, self._lease_s, way=self.way
        )
        if _is_abandoned(base, self._lease_s):
            raise self._abandon()
        if time.monotonic() - self._notified > _NOTIFY_EVERY_S:
            self._notified = time.monotonic()
            self._notify('progress', base)

    def _abandon(self) -> errors.RowMoved:
        """Give the base up, with its slot; return that it is no more ours."""
        ended = self._lineage.abandon_base(self._base, _ABANDONED)
        LOG.warning('%s is given up: %s', self._base, _ABANDONED)
        self._notify('error', ended)
        return errors.RowMoved(name=str(self._base), expected='asked for')

    def _tell(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                self._hold.renew()
            except errors.LeaseLost:
                return
            except errors.DatabaseUnavailable:
                continue


def _is_abandoned(base: Base, lease_s: float) -> bool:
    """Tell whether no caller waits for *base*, whose lease was just renewed.

    That tells the database's time, which is the one that callers' questions
    are recorded by.
    """
    if base.asked_at is None or base.lease_expires_at is None:
        return False
    lasts = datetime.timedelta(seconds=lease_s + _ABANDONED_S)
    return base.lease_expires_at - base.asked_at > lasts

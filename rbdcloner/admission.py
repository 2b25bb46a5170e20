# SPDX-License-Identifier: Apache-2.0
"""Which request is begun, which waits for a thread, which is refused.

What is taken off the broker's queue can only be executed or lost, so a worker
takes no more than it soon gets to; who is refused asks another one. What
destroys or may take long gives way: it gets a share of the threads and of the
places to wait, so that there is always room for who waits for a disk.
"""

import dataclasses
import threading
import time
from typing import Any
import uuid

from rbdcloner import errors

#: What gives way has three of four threads, and of four places.
_SHARE = (3, 4)


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A request, as far as it matters here."""

    call_id: str
    """The same each time that a call is sent; empty: it is sent once."""
    patience_s: float
    """How long after it was received its caller waits for its beginning."""
    gives_way: bool
    message: Any
    received: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def waited_s(self) -> float:
        """How long it has been here."""
        return time.monotonic() - self.received

    @property
    def is_late(self) -> bool:
        """Whether its caller has given it up, and asked again."""
        return self.waited_s > self.patience_s


class Admission:
    """The threads of a worker, and the places of those that wait for one."""

    def __init__(self, threads: int, places: int) -> None:
        self._threads = threads
        self._places = places
        self._busy = 0
        self._giving_way = 0
        self._waiting: dict[str, Request] = {}
        self._lock = threading.Lock()

    def enter(self, request: Request) -> bool:
        """Tell whether to begin *request* now, in a thread; else it waits.

        One that waits takes the place of what the same call sent before. When
        there is no place, those are forgotten whose callers have given up.

        :raises ServiceBusy: there is no place to wait in.
        """
        with self._lock:
            if self._may_begin(request):
                self._begin(request)
                return True
            key = request.call_id or uuid.uuid4().hex
            if key not in self._waiting:
                self._find_place(request)
            self._waiting[key] = request
            return False

    def leave(self, request: Request) -> Request | None:
        """Return which one to begin in the thread that did *request*."""
        with self._lock:
            self._busy -= 1
            self._giving_way -= request.gives_way
            for key, waiting in self._waiting.items():
                if self._may_begin(waiting):
                    del self._waiting[key]
                    self._begin(waiting)
                    return waiting
        return None

    def _may_begin(self, request: Request) -> bool:
        share = _share(self._threads) if request.gives_way else self._threads
        busy = self._giving_way if request.gives_way else self._busy
        return busy < share and self._busy < self._threads

    def _begin(self, request: Request) -> None:
        self._busy += 1
        self._giving_way += request.gives_way

    def _find_place(self, request: Request) -> None:
        if self._has_place(request):
            return
        self._waiting = {
            key: waiting
            for key, waiting in self._waiting.items()
            if not waiting.is_late
        }
        if not self._has_place(request):
            raise errors.ServiceBusy(waiting=len(self._waiting))

    def _has_place(self, request: Request) -> bool:
        waiting = len(self._waiting)
        if not request.gives_way:
            return waiting < self._places
        like_it = sum(each.gives_way for each in self._waiting.values())
        return like_it < _share(self._places) and waiting < self._places


def _share(whole: int) -> int:
    """Return how much of it is for what gives way; some, if there is any."""
    part, of = _SHARE
    return max(min(whole, 1), whole * part // of)

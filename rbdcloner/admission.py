# SPDX-License-Identifier: Apache-2.0
"""Which request is begun, which waits for a thread, which is refused.

What is taken off the broker's queue can only be executed or lost, so a worker
takes no more than it soon gets to; who is refused asks another one. What
waits for another service, Glance or Ceph, may do so for long. Each kind of
that gets a share of the threads and of the places to wait, and all together
leave some: a slow Glance, which creations wait for, keeps no deletion from
its thread, deletions keep no creation, and reads always find one.
"""

import collections
import dataclasses
import threading
import time
from typing import Any
import uuid

from rbdcloner import errors

#: A kind has three of four of what all kinds together have.
_SHARE = (3, 4)


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A request, as far as it matters here."""

    call_id: str
    """The same each time that a call is sent; empty: it is sent once."""
    patience_s: float
    """How long after it was received its caller waits for its beginning."""
    kind: str
    """What it is limited together with; empty: by nothing."""
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


class _Room:
    """Threads or places: all kinds together leave one, each has a share."""

    def __init__(self, whole: int) -> None:
        part, of = _SHARE
        some = min(whole, 1)
        self._whole = whole
        self._share_of_all = max(some, whole - 1)
        self._share = max(some, self._share_of_all * part // of)
        self._taken: collections.Counter[str] = collections.Counter()

    def has(self, kind: str) -> bool:
        """Tell whether there is any of it for the *kind*."""
        everything = self._taken.total()
        if not kind:
            return everything < self._whole
        limited = everything - self._taken['']
        return (
            self._taken[kind] < self._share
            and limited < self._share_of_all
            and everything < self._whole
        )

    def take(self, kind: str) -> None:
        """Let the *kind* have one more."""
        self._taken[kind] += 1

    def give_back(self, kind: str) -> None:
        """Take back what the *kind* had."""
        self._taken[kind] -= 1


class Admission:
    """The threads of a worker, and the places of those that wait for one."""

    def __init__(self, threads: int, places: int) -> None:
        self._threads = _Room(threads)
        self._places = _Room(places)
        self._waiting: dict[str, Request] = {}
        self._lock = threading.Lock()

    def enter(self, request: Request) -> bool:
        """Tell whether to begin *request* now, in a thread; else it waits.

        One that waits takes the place of what the same call sent before. When
        there is no place, those are forgotten whose callers have given up.

        :raises ServiceBusy: there is no place to wait in.
        """
        with self._lock:
            if self._threads.has(request.kind):
                self._threads.take(request.kind)
                return True
            key = request.call_id or uuid.uuid4().hex
            if key not in self._waiting:
                self._find_place(request)
            self._waiting[key] = request
            return False

    def leave(self, request: Request) -> Request | None:
        """Return which one to begin in the thread that did *request*."""
        with self._lock:
            self._threads.give_back(request.kind)
            for key, waiting in self._waiting.items():
                if self._threads.has(waiting.kind):
                    self._forget(key)
                    self._threads.take(waiting.kind)
                    return waiting
        return None

    def _find_place(self, request: Request) -> None:
        if not self._places.has(request.kind):
            late = [k for k, each in self._waiting.items() if each.is_late]
            for key in late:
                self._forget(key)
        if not self._places.has(request.kind):
            raise errors.ServiceBusy(waiting=len(self._waiting))
        self._places.take(request.kind)

    def _forget(self, key: str) -> None:
        self._places.give_back(self._waiting.pop(key).kind)

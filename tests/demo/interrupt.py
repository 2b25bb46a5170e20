# SPDX-License-Identifier: Apache-2.0
"""Signals that ask the demonstration to end, until its end has begun."""

from __future__ import annotations

import signal
import types


class Interrupted(BaseException):
    """Somebody asked for the end; the argument is the signal."""


class Interrupts:
    """Raises Interrupted in the main thread, at the first signal only.

    An impatient second one would break off the tidying up. Where the
    exception is lost (in a destructor, in a library's callback), the next
    ``check`` raises it again.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._is_ending = False
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, self._receive)

    def _receive(self, number: int, frame: types.FrameType | None) -> None:
        is_first = self._received is None and not self._is_ending
        self._received = self._received or number
        if is_first:
            raise Interrupted(number)

    def check(self) -> None:
        """Raise Interrupted if a signal came and the end has not begun."""
        if self._received is not None and not self._is_ending:
            raise Interrupted(self._received)

    def end(self) -> None:
        """From now on signals are received and change nothing."""
        self._is_ending = True

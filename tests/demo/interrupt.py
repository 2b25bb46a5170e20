# SPDX-License-Identifier: Apache-2.0
"""What ends the demonstration from outside: signals, and silence."""

from __future__ import annotations

import signal
import types

from tests import stack

# Longer than the longest request to the service.
SILENCE_S = 150


class Interrupted(BaseException):
    """Somebody asked for the end; the argument is the signal."""


class Interrupts:
    """Raises Interrupted in the main thread, at the first signal only.

    An impatient second one would break off the tidying up. Where the
    exception is lost (in a destructor, in a library's callback), the next
    ``check`` raises it again. When there was no ``check`` for SILENCE_S, a
    server that should answer is taken for dead and StackError is raised:
    Glance for one waits for a lost OSD for ever.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._is_ending = False
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, self._receive)
        signal.signal(signal.SIGALRM, self._lose_patience)

    def _receive(self, number: int, frame: types.FrameType | None) -> None:
        is_first = self._received is None and not self._is_ending
        self._received = self._received or number
        if is_first:
            raise Interrupted(number)

    def _lose_patience(self, number: int, frame: object) -> None:
        if not self._is_ending:
            raise stack.StackError(f'nothing happened for {SILENCE_S} s')

    def check(self) -> None:
        """Raise Interrupted if a signal came; else be patient once more."""
        if self._is_ending:
            return
        signal.alarm(SILENCE_S)
        if self._received is not None:
            raise Interrupted(self._received)

    def end(self) -> None:
        """From now on signals are received and change nothing."""
        self._is_ending = True
        signal.alarm(0)

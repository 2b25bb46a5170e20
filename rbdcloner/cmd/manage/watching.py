# SPDX-License-Identifier: Apache-2.0
"""Waiting for what the managers do, with a line that says how far it is."""

from collections.abc import Callable
import dataclasses
import shutil
import time
from typing import TextIO

from rbdcloner import errors

_LOOK_EVERY_S = 1.0
#: Where lines cannot be overwritten: pauses after a change, and without one.
_CHANGED_AFTER_S = 10.0
_UNCHANGED_AFTER_S = 300.0

_ERASE_LINE = '\r\x1b[K'


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """How far it is, for a person; ``over`` when there is no more to come.

    ``done`` tells whether it came to what was asked for.
    """

    text: str
    over: bool = False
    done: bool = False


def watch(look: Callable[[], Status], out: TextIO, timeout_s: float) -> bool:
    """Say on *out* what *look* sees until that is over; whether it is done.

    Interrupted, or after *timeout_s* unless that is 0, it says that the
    managers go on: nothing but the waiting ends. A database that does not
    answer is waited for, too.
    """
    begun = _now()
    line = _Line(out)
    try:
        while True:
            status = _seen(look)
            if status.over:
                line.end(status.text)
                return status.done
            line.show(status.text)
            if timeout_s and _now() - begun >= timeout_s:
                line.end(
                    f'Not done within {timeout_s} s ({status.text}). The '
                    'managers go on with it.'
                )
                return False
            _pause()
    except KeyboardInterrupt:
        line.end('Stopped waiting, nothing else: the managers go on with it.')
        return False


def _seen(look: Callable[[], Status]) -> Status:
    try:
        return look()
    except errors.DatabaseUnavailable as exc:
        return Status(str(exc))


def _now() -> float:
    return time.monotonic()


def _pause() -> None:
    time.sleep(_LOOK_EVERY_S)


class _Line:
    """One line of a terminal, written anew; elsewhere a line now and then."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._rewrites = out.isatty()
        self._text = ''
        self._written = 0.0

    def show(self, text: str) -> None:
        """Let it say *text*."""
        if self._rewrites:
            fitting = text[: shutil.get_terminal_size().columns - 1]
            self._write(f'{_ERASE_LINE}{fitting}', text)
            return
        pause = _UNCHANGED_AFTER_S if text == self._text else _CHANGED_AFTER_S
        if not self._text or _now() - self._written >= pause:
            self._write(f'{text}\n', text)

    def end(self, text: str) -> None:
        """Let *text* take its place, and stay."""
        erase = _ERASE_LINE if self._rewrites else ''
        self._write(f'{erase}{text}\n', text)

    def _write(self, shown: str, text: str) -> None:
        self._out.write(shown)
        self._out.flush()
        self._text = text
        self._written = _now()

# SPDX-License-Identifier: Apache-2.0
"""Processes that are ended together, each with all that it started."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import os
import pathlib
import signal
import subprocess
import threading
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
_GRACE_S = 60


class Ended(Exception):
    """Nothing is to be started any more."""


class Family:
    """Processes of several threads; once it has ended it has no new ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members: list[subprocess.Popen[bytes]] = []
        self._has_ended = False

    def spawn(
        self, command: Sequence[str], **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own.

        Else Ctrl-C reaches it twice, from the terminal and from us, and the
        second one breaks off its tidying up.

        :raises Ended: nothing is to be started any more
        """
        with self._lock:
            self.require_life()
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                **options,
            )
            self._members.append(process)
        return process

    def require_life(self) -> None:
        """Do nothing, unless it has ended.

        :raises Ended: it has
        """
        if self._has_ended:
            raise Ended

    def end(self) -> None:
        """End all that run, with time to tidy up, and start no more."""
        with self._lock:
            self._has_ended = True
        running = [one for one in self._members if one.poll() is None]
        for one in running:
            one.send_signal(signal.SIGINT)
        for one in running:
            _see_off(one)


def end(process: subprocess.Popen[bytes]) -> None:
    """End one process, if it runs, and all that it left in its session."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    _see_off(process)


def _see_off(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

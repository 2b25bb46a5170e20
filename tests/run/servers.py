# SPDX-License-Identifier: Apache-2.0
"""Processes that are ended with all that they started, servers among them."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import os
import pathlib
import secrets
import signal
import subprocess
import sys
from typing import Any

from tests.stack import StackError
from tests.stack import down

ROOT = pathlib.Path(__file__).parents[2]
_GRACE_S = 60


class BackgroundServers:
    """Servers, started by another process so that work goes on here.

    ``package`` is what starts them; ``variable`` tells a suite where.
    """

    def __init__(self, package: str, variable: str) -> None:
        name = f'rbdcloner-{secrets.token_hex(4)}'
        self.folder = pathlib.Path('/tmp', name)  # short: it holds sockets
        self.variable = variable
        self._package = package
        self._starter: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._starter = spawn(
            [sys.executable, '-m', self._package, 'up', str(self.folder)]
        )

    def wait(self) -> None:
        """Return once every server is ready, started now or before.

        :raises StackError: when they did not start; they have said why
        """
        if self._starter is None:
            self.start()
        if self._starter is None or self._starter.wait():
            raise StackError('the servers did not start')

    def end(self) -> None:
        """End every server, also while they start or if none was started."""
        if self._starter is not None and self._starter.poll() is None:
            interrupt(self._starter)
        down(self.folder)


def spawn(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own.

    Else Ctrl-C reaches it twice, from the terminal and from us, and the
    second one breaks off its tidying up.
    """
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        **options,
    )


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started, with time to tidy up."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

# SPDX-License-Identifier: Apache-2.0
"""A demonstration's own folder, and the certainty that nothing outlives it.

What a demonstration starts finds the folder's path in its environment, as
does what that starts in turn: so it is found and ended whatever happened
between its start and the writing of a pid file. A lock, which the kernel lets
go with the process, tells a folder in use from one that was left running.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import fcntl
import os
import pathlib
import secrets
import shutil
from typing import IO

import psutil

from tests import stack
from tests.stack import process

VARIABLE = 'RBDCLONER_DEMO'
_PREFIX = 'rbdcloner-demo-'
# Not TMPDIR: unix sockets have short paths.
_PARENT = pathlib.Path('/tmp')
_ATTEMPTS = 5


class Scratch:
    """One demonstration's folder."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.stack = path / 'stack'
        self._lock: IO[str] | None = None

    @classmethod
    def choose(cls) -> Scratch:
        """Return one that is not there yet."""
        return cls(_PARENT / f'{_PREFIX}{secrets.token_hex(4)}')

    def make(self) -> None:
        """Make the folder; what is started from now on is known as its."""
        self.path.mkdir(mode=0o700)
        self.take()
        temporary = self.path / 'tmp'
        temporary.mkdir()
        os.environ[VARIABLE] = str(self.path)
        os.environ['TMPDIR'] = str(temporary)

    def take(self) -> bool:
        """Whether no other process has the folder in use; now we have."""
        opened = (self.path / 'lock').open('w')
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            opened.close()
            return False
        self._lock = opened
        return True

    def end(self) -> None:
        """End all that was started and remove the folder; repeatable."""
        if not self.path.exists():
            return
        for _ in range(_ATTEMPTS):
            if not (found := self.processes()):
                break
            process.kill_all(found)
        with contextlib.suppress(stack.StackError):
            stack.down(self.stack)  # not every folder has got one
        shutil.rmtree(self.path)

    def processes(self) -> list[psutil.Process]:
        """Return what runs and was started here, without this process."""
        found = []
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                started_here = one.environ().get(VARIABLE) == str(self.path)
                if started_here and one.pid != os.getpid():
                    found.append(one)
        return found


def present() -> Iterator[Scratch]:
    """Yield the folders of this user's demonstrations, in use or left."""
    for path in sorted(_PARENT.glob(f'{_PREFIX}*')):
        with contextlib.suppress(FileNotFoundError):
            is_ours = path.lstat().st_uid == os.geteuid()
            if is_ours and (path / 'lock').exists():
                yield Scratch(path)

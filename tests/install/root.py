# SPDX-License-Identifier: Apache-2.0
"""A bare Debian that commands run in, removed afterwards."""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import os
import pathlib
import platform
import subprocess
from typing import Self

import psutil

from tests.install import document
from tests.install import shell
from tests.stack import process

_WITHIN_S = 900  # one that must be made first, on a machine at work


def own_release() -> str:
    """Return the name of the machine's own release of Debian."""
    return platform.freedesktop_os_release()['VERSION_CODENAME']


def _is_in_a_root(one: psutil.Process) -> bool:
    return os.readlink(f'/proc/{one.pid}/root') != '/'


class Root:
    """A root of a release; its network is the machine's."""

    def __init__(self, suite: str) -> None:
        # What stays in the root until it is to go: everything else in there
        # ends with it.
        self._holder = subprocess.Popen(
            [document.ROOT / 'tools/release', '--fresh', suite, 'cat'],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._inner: psutil.Process | None = None

    def __enter__(self) -> Self:
        try:
            process.wait_until(self._find, 'a root', _WITHIN_S)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _find(self) -> bool:
        if self._holder.poll() is not None:
            raise process.StackError('tools/release failed')
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            for one in psutil.Process(self._holder.pid).children(True):
                if one.name() == 'cat' and _is_in_a_root(one):
                    self._inner = one
        return self._inner is not None

    def path(self, name: str) -> pathlib.Path:
        """Return where this process finds an absolute path of the root."""
        assert self._inner is not None
        return pathlib.Path(f'/proc/{self._inner.pid}/root{name}')

    @property
    def entry(self) -> list[str]:
        """The command that runs another one in the root."""
        assert self._inner is not None
        target = f'--target={self._inner.pid}'
        enter = ['nsenter', target, '--mount', '--pid', '--root']
        return [*enter, 'env', '--chdir=/root']

    def shell(self, env: Mapping[str, str] | None = None) -> shell.Shell:
        """Return a shell of root's."""
        settings = shell.environment(
            # As in any terminal of an administrator; debconf would ask.
            DEBIAN_FRONTEND='noninteractive',
            **(env or {}),
        )
        return shell.Shell(self.entry, settings)

    def close(self) -> None:
        """End what runs in the root, and remove it."""
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        self._holder.wait()

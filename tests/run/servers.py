# SPDX-License-Identifier: Apache-2.0
"""Servers that another process starts, and that outlive it."""

from __future__ import annotations

import pathlib
import secrets
import shutil
import subprocess
import sys

from tests.run import family
from tests.stack import StackError
from tests.stack import down


class Servers:
    """Servers of one folder, when they are asked for.

    ``package`` is what starts them; ``variable`` tells a suite where.
    """

    def __init__(
        self, members: family.Family, package: str, variable: str
    ) -> None:
        name = f'rbdcloner-{secrets.token_hex(4)}'
        self.folder = pathlib.Path('/tmp', name)  # short: it holds sockets
        self.variable = variable
        self._members = members
        self._package = package
        self._starter: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return once every server is ready, started now or before.

        :raises StackError: when they did not start; they have said why
        :raises Ended: nothing is to be started any more
        """
        if self._starter is None:
            self._starter = self._members.spawn(
                [sys.executable, '-m', self._package, 'up', str(self.folder)]
            )
        if self._starter.wait():
            self._members.require_life()
            raise StackError('the servers did not start')

    def copy_logs(self, destination: pathlib.Path) -> bool:
        """Copy what the servers have logged so far; tell whether any did."""
        logs = self.folder / 'log'
        if not logs.is_dir():
            return False
        shutil.copytree(logs, destination, dirs_exist_ok=True)
        return True

    def end(self) -> None:
        """End every server, also while they start or if none was started."""
        if self._starter is not None:
            family.end(self._starter)
        down(self.folder)

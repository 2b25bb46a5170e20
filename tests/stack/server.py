# SPDX-License-Identifier: Apache-2.0
"""What every server of a stack has in common: settings, daemons, an end."""

from __future__ import annotations

from collections.abc import Mapping
import pathlib
import threading
from typing import Any

import fixtures

from tests.stack import process


def prepare(folder: pathlib.Path) -> None:
    """Make the folder one that daemons can be started in."""
    # Servers that refuse to run as root must be able to pass through.
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    folder.chmod(0o711)
    for name in ('log', 'pids'):
        (folder / name).mkdir(exist_ok=True)


class PlainFixture(fixtures.Fixture):
    """A fixture whose failed ``setUp`` raises what went wrong, unwrapped."""

    def setUp(self) -> None:
        """Set up; end what was started when that fails."""
        try:
            super().setUp()
        except fixtures.MultipleExceptions as exc:
            raise exc.args[0][1] from None


class Server(PlainFixture):
    """One server in its own folder below a stack's folder.

    ``settings`` is all that another process needs to use the server as well:
    pass those of a running server to attach to it; then ``setUp`` starts
    nothing and ``cleanUp`` ends nothing.
    """

    name: str

    def __init__(
        self,
        stack_folder: pathlib.Path | str,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.stack_folder = pathlib.Path(stack_folder)
        self.folder = self.stack_folder / self.name
        self.log = self.stack_folder / 'log' / f'{self.name}-setup.out'
        self.attached = settings is not None
        self.abandoned = threading.Event()
        self.settings: dict[str, Any] = dict(settings or self._choose())
        self.daemons: dict[str, process.Daemon] = {}
        for daemon in self._make_daemons():
            daemon.abandoned = self.abandoned
            self.daemons[daemon.name] = daemon

    def _choose(self) -> dict[str, Any]:
        """Settings for a new server: ports, passwords; must fit JSON."""
        return {}

    def _make_daemons(self) -> list[process.Daemon]:
        """The server's daemons, in the order they start."""
        return []

    def _prepare(self) -> None:
        """Do what needs no running daemon, and may take long."""

    def _bring_up(self) -> None:
        """Start the daemons and leave the server ready to use."""
        self.start()

    def prepare(self) -> None:
        """Make the folder and what the first start needs; once."""
        if not self.attached and not self.folder.exists():
            prepare(self.stack_folder)
            self.folder.mkdir(mode=0o711)
            self._prepare()

    def _setUp(self) -> None:
        if self.attached:
            return
        self.addCleanup(self.end)
        self.prepare()
        self._bring_up()

    def _run(self, *command: object, **options: Any) -> None:
        process.run(command, self.log, abandoned=self.abandoned, **options)

    def _wait(self, done: Any, what: str, timeout_s: float = 60) -> None:
        process.wait_until(done, what, timeout_s, self.abandoned)

    def abandon(self) -> None:
        """Make a set-up that runs in another thread fail soon."""
        self.abandoned.set()

    def end(self) -> None:
        """End every daemon at once; nothing is kept for a restart."""
        running = [daemon.process for daemon in self.daemons.values()]
        process.kill_all([one for one in running if one is not None])

    def start(self, name: str | None = None) -> None:
        """Start one daemon, or all; return when ready."""
        for daemon in self._chosen(name):
            daemon.start()

    def stop(self, name: str | None = None) -> None:
        """End one daemon, or all, in an orderly way."""
        for daemon in reversed(self._chosen(name)):
            daemon.stop()

    def kill(self, name: str | None = None) -> None:
        """End one daemon, or all, by SIGKILL."""
        for daemon in reversed(self._chosen(name)):
            daemon.kill()

    def restart(self, name: str | None = None) -> None:
        """Stop and start one daemon, or all."""
        self.stop(name)
        self.start(name)

    def pause(self, name: str | None = None) -> None:
        """Freeze one daemon, or all (SIGSTOP)."""
        for daemon in self._chosen(name):
            daemon.pause()

    def resume(self, name: str | None = None) -> None:
        """Let one paused daemon, or all, go on."""
        for daemon in self._chosen(name):
            daemon.resume()

    def _chosen(self, name: str | None) -> list[process.Daemon]:
        return (
            list(self.daemons.values())
            if name is None
            else [self.daemons[name]]
        )

# SPDX-License-Identifier: Apache-2.0
"""Programs of Nova's virtual environment, and APIs that gunicorn serves."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from keystoneauth1 import exceptions
from keystoneauth1 import session

from tests.stack import ports
from tests.stack import process
from tests.stack import server

VENV_VARIABLE = 'RBDCLONER_NOVA_VENV'
# The checkout on the path would hide the wheel, which is what is tested.
ENVIRONMENT = {'PYTHONPATH': ''}


def venv() -> str:
    """Return the folder of the environment that holds Nova.

    :raises StackError: when nothing names it
    """
    try:
        return os.environ[VENV_VARIABLE]
    except KeyError:
        message = f'{VENV_VARIABLE} is not set: source tools/bootstrap'
        raise process.StackError(message) from None


def has_logged(log: pathlib.Path, daemon: process.Daemon, text: str) -> bool:
    """Whether a running daemon's processes have written a line with *text*.

    Not what those before them have written.
    """
    running = daemon.process
    if running is None or not log.exists():
        return False
    family = [running, *running.children(recursive=True)]
    pids = {str(one.pid) for one in family}
    lines = log.read_text(errors='replace').splitlines()
    return any(text in line and line.split()[2] in pids for line in lines)


class Program(server.Server):
    """A server whose programs are in Nova's virtual environment."""

    def _choose(self) -> dict[str, Any]:
        return {'venv': venv()}

    def _program(self, name: str) -> pathlib.Path:
        return pathlib.Path(self.settings['venv']) / 'bin' / name

    def _manage(self, *command: object) -> None:
        program, *arguments = command
        self._run(self._program(str(program)), *arguments, env=ENVIRONMENT)


class Wsgi(Program):
    """An API on a port of its own; its daemon has its name."""

    application: str
    """Where gunicorn finds it, as in ``keystone.wsgi.api:application``."""
    folder_variable: str
    """What names the folder of its configuration."""

    def _choose(self) -> dict[str, Any]:
        return {**super()._choose(), 'port': ports.claim()}

    @property
    def url(self) -> str:
        """The API's endpoint."""
        return f'http://127.0.0.1:{self.settings["port"]}'

    def _make_daemons(self) -> list[process.Daemon]:
        return [self._wsgi_daemon()]

    def _wsgi_daemon(self, name: str = '') -> process.Daemon:
        return process.Daemon(
            name or self.name,
            self.stack_folder,
            [self._program('gunicorn')],
            self._answers,
            env={
                **ENVIRONMENT,
                'GUNICORN_CMD_ARGS': f'--config {self._gunicorn_conf}',
                self.folder_variable: str(self.folder),
            },
            timeout_s=120,
        )

    @property
    def _gunicorn_conf(self) -> pathlib.Path:
        return self.folder / 'gunicorn.conf.py'

    def _bring_up(self) -> None:
        # A file, since Keystone takes gunicorn's arguments for its own.
        options = {
            'wsgi_app': self.application,
            'bind': f'127.0.0.1:{self.settings["port"]}',
            'threads': 8,
            'timeout': 0,
            'keepalive': 75,
            'graceful_timeout': 5,
            'control_socket_disable': True,
            'worker_tmp_dir': str(self.folder),
        }
        lines = [f'{name} = {value!r}\n' for name, value in options.items()]
        self._gunicorn_conf.write_text(''.join(lines))
        super()._bring_up()

    def _answers(self) -> bool:
        try:
            session.Session().get(self.url, timeout=30, raise_exc=False)
        except (
            exceptions.ConnectionError,
            exceptions.ConnectTimeout,
        ):
            return False
        return True

# SPDX-License-Identifier: Apache-2.0
"""A RabbitMQ broker with an epmd, a cookie and a user of its own."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
import pathlib
import secrets
import subprocess
from typing import Any

from tests.stack import ports
from tests.stack import process
from tests.stack import server

PROGRAMS = pathlib.Path('/usr/lib/rabbitmq/bin')
LOOPBACK = '{127,0,0,1}'
COMMAND_TIMEOUT_S = 60
USER = 'stack'


class RabbitMQ(server.Server):
    """A running broker; daemons: ``epmd``, ``rabbitmq``."""

    name = 'rabbitmq'

    def _choose(self) -> dict[str, Any]:
        return {
            'port': ports.claim(),
            'dist_port': ports.claim(),
            'epmd_port': ports.claim(),
            'password': secrets.token_hex(16),
            'cookie': secrets.token_hex(16),
        }

    @property
    def url(self) -> str:
        """The broker as oslo.messaging's ``transport_url``."""
        password, port = self.settings['password'], self.settings['port']
        return f'rabbit://{USER}:{password}@127.0.0.1:{port}/'

    def _make_daemons(self) -> list[process.Daemon]:
        epmd_port = self.settings['epmd_port']
        return [
            process.Daemon(
                'epmd',
                self.stack_folder,
                ['epmd', '-address', '127.0.0.1', '-port', epmd_port],
                lambda: ports.is_open(epmd_port),
            ),
            process.Daemon(
                'rabbitmq',
                self.stack_folder,
                [PROGRAMS / 'rabbitmq-server'],
                self._ready,
                env=self.environment(),
                timeout_s=120,
            ),
        ]

    def _ready(self) -> bool:
        return ports.is_open(self.settings['port'])

    def environment(self) -> dict[str, str]:
        kernel = f'-kernel inet_dist_use_interface {LOOPBACK}'
        return {
            'HOME': str(self.folder),
            'RABBITMQ_NODENAME': 'rbdcloner@localhost',
            'RABBITMQ_DIST_PORT': str(self.settings['dist_port']),
            'ERL_EPMD_PORT': str(self.settings['epmd_port']),
            'ERL_EPMD_ADDRESS': '127.0.0.1',
            'RABBITMQ_MNESIA_BASE': str(self.folder / 'mnesia'),
            'RABBITMQ_LOG_BASE': str(self.stack_folder / 'log'),
            'RABBITMQ_CONF_ENV_FILE': '/dev/null',
            'RABBITMQ_CONFIG_FILE': str(self.folder / 'rabbitmq.conf'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(self.folder / 'plugins'),
            'RABBITMQ_SERVER_START_ARGS': kernel,
            # Makes the script become the broker instead of a shell that
            # waits for it, so that signals reach the broker.
            'RUNNING_UNDER_SYSTEMD': 'true',
        }

    def _prepare(self) -> None:
        (self.folder / 'mnesia').mkdir()
        (self.folder / 'plugins').write_text('[].\n')
        cookie = self.folder / '.erlang.cookie'
        cookie.touch(mode=0o600)
        cookie.write_text(self.settings['cookie'])
        conf = self.folder / 'rabbitmq.conf'
        conf.touch(mode=0o600)
        conf.write_text(
            f'listeners.tcp.1 = 127.0.0.1:{self.settings["port"]}\n'
            f'default_user = {USER}\n'
            f'default_pass = {self.settings["password"]}\n'
            'disk_free_limit.absolute = 100MB\n'
        )

    def ctl(self, *arguments: object) -> str:
        """What ``rabbitmqctl -q …`` prints.

        :raises StackError: when it fails, with what it printed
        """
        done = subprocess.run(
            [str(PROGRAMS / 'rabbitmqctl'), '-q', *map(str, arguments)],
            env={**os.environ, **self.environment()},
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )
        if done.returncode:
            said = done.stdout + done.stderr
            raise process.StackError(f'rabbitmqctl {arguments}: {said}')
        return done.stdout

    @contextlib.contextmanager
    def memory_alarm(self) -> Iterator[None]:
        """Let the broker take no messages, as when its memory is used up."""
        self.ctl('set_vm_memory_high_watermark', '0.0000001')
        try:
            yield
        finally:
            self.ctl('set_vm_memory_high_watermark', '0.4')

    def close_all_connections(self) -> None:
        """Make the broker drop every client's connection."""
        self.ctl('close_all_connections', 'asked by a test')

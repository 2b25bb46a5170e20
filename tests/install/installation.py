# SPDX-License-Identifier: Apache-2.0
"""The manager's host: a bare Debian, and the commands of manager.rst."""

from __future__ import annotations

import pathlib
import re
from typing import Self

from tests import stack
from tests.install import document
from tests.install import root
from tests.install import servers as hosts
from tests.install import service
from tests.install import shell

UNIT = '/etc/systemd/system/rbdcloner-manager.service'
_DOCUMENT = 'manager.rst'
_ENV = 'rbdcloner.env'
#: The only lines that are not run, since no systemd runs in a root.
_SYSTEMD = (
    'systemctl daemon-reload\nsystemctl enable --now rbdcloner-manager\n'
)
#: What systemctl needs to be there, which a Debian that was booted has.
_BOOTED = 'apt-get update && apt-get install --yes systemd\n'


def copy(file: pathlib.Path, folder: pathlib.Path) -> None:
    """Copy a file from one host to another, as the documents ask in words."""
    (folder / file.name).write_bytes(file.read_bytes())


class Installation:
    """One manager's host, and the shells of all hosts of the document."""

    def __init__(
        self,
        servers: stack.Stack,
        host: shell.Shell,
        home: pathlib.Path,
        wheel: pathlib.Path,
    ) -> None:
        self.servers = servers
        self.host = host
        self.home = home
        self.wheel = wheel
        self.root = root.Root(root.own_release())

    def __enter__(self) -> Self:
        self.root.__enter__()
        self.shell = self.root.shell(self.glance)
        self.shell.run(_BOOTED)
        copy(self.wheel, self.root.path('/root'))
        return self

    def __exit__(self, *exc: object) -> None:
        self.shell.close()
        self.root.close()

    @property
    def glance(self) -> dict[str, str]:
        """Options that the stack's Glance, without a Keystone, needs."""
        url = self.servers.glance.url
        return {
            'OS_GLANCE__AUTH_TYPE': 'none',
            'OS_GLANCE__ENDPOINT': url,
            'OS_GLANCE__ENDPOINT_OVERRIDE': url,
        }

    def install(self) -> None:
        """Carry out the document up to the start of the service."""
        self._carry_out('values', 'ceph', 'rabbitmq', 'mysql', 'manager')

    def use_postgresql(self) -> None:
        """Carry out what the document says for the other database."""
        env = self.root.path('/root') / _ENV
        others = hosts.values(self.servers, 'postgresql')
        env.write_text(document.with_values(env.read_text(), others))
        copy(env, self.home)
        # The pools are this database's now.
        self.servers.ceph.forget_lineage()
        self._carry_out('postgresql', 'manager')

    def _carry_out(self, *wanted: str) -> None:
        """Run the blocks of these hosts, in the document's order."""
        for block in document.blocks(_DOCUMENT):
            if block.host in wanted:
                self._run(block)

    def _run(self, block: document.Block) -> None:
        there = self.root.path('/root')
        if block.host == 'values':
            given = hosts.values(self.servers, 'mysql')
            self.shell.run(document.with_values(block.commands, given))
            copy(there / _ENV, self.home)
        elif block.host == 'manager':
            self.shell.run(block.commands)
        else:
            self.host.run(block.commands)
        if block.host == 'ceph':
            for name in ('ceph.conf', 'ceph.client.rbdcloner.keyring'):
                copy(self.home / name, there)

    def start(self) -> service.Service:
        """Return what the lines for systemd start."""
        (block,) = self.blocks('systemd')
        assert block.commands == _SYSTEMD
        return service.of_unit(self.root, UNIT, self.glance)

    def blocks(self, host: str) -> list[document.Block]:
        """Return the document's blocks for a host."""
        return [one for one in document.blocks(_DOCUMENT) if one.host == host]

    def value(self, name: str) -> str:
        """Return one of the values of the cloud, a password perhaps."""
        text = (self.root.path('/root') / _ENV).read_text()
        found = re.search(f'(?m)^{name}=(.*)$', text)
        assert found, name
        return found[1]

    def transport_url(self, user: str) -> str:
        """Return RabbitMQ's URL for ``manager`` or ``compute``."""
        password = self.value(f'{user.upper()}_RABBITMQ_PASSWORD')
        port = self.value('RABBITMQ_PORT')
        return (
            f'rabbit://rbdcloner-{user}:{password}@127.0.0.1:{port}/rbdcloner'
        )

    @property
    def database_url(self) -> str:
        """The database's URL, with the rights of the service."""
        driver = self.value('DATABASE_DRIVER')
        password, port = map(
            self.value, ('DATABASE_PASSWORD', 'DATABASE_PORT')
        )
        return f'{driver}://rbdcloner:{password}@127.0.0.1:{port}/rbdcloner'

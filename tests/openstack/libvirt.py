# SPDX-License-Identifier: Apache-2.0
"""A libvirtd that has nothing in common with the machine's own.

Its places below /etc, /run and /var are compiled in, so it runs in namespaces
of its own, with its folder mounted there. libvirt's embedded mode was looked
at: it has no daemon, so guests would depend on nova-compute's process.
"""

from __future__ import annotations

from collections.abc import Mapping
import pathlib
import socket
from typing import Any
import uuid

from tests.stack import process
from tests.stack import server

DRIVERS = ('nodedev', 'qemu', 'secret')
#: As libvirt was compiled: whom it looks for before it reads its file.
USER = 'libvirt-qemu'
SCRIPT = pathlib.Path(__file__).with_name('libvirtd.sh')
QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
"""


class Libvirt(server.Server):
    """A running libvirtd and its guests, which end with it.

    ``secrets`` maps the UUID of a secret to a user of Ceph and their key.
    """

    def __init__(
        self,
        stack_folder: pathlib.Path | str,
        host: str,
        secrets: Mapping[str, tuple[str, str]],
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = f'libvirt-{host}'
        self._host = host
        self._secrets = secrets
        super().__init__(stack_folder, settings)

    @property
    def uri(self) -> str:
        """What libvirt's clients connect to."""
        return f'qemu+unix:///system?socket={self._socket}'

    @property
    def _socket(self) -> pathlib.Path:
        return self.folder / 'socket' / 'libvirt-sock'

    def _make_daemons(self) -> list[process.Daemon]:
        command = [
            *('unshare', '--mount', '--uts', '--pid', '--mount-proc'),
            *('--fork', '--kill-child'),
            *('sh', SCRIPT, self.folder, self._host),
        ]
        return [
            process.Daemon(self.name, self.stack_folder, command, self._ready)
        ]

    def _ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self._socket)) == 0

    def stop(self, name: str | None = None) -> None:
        """End it with its guests: unshare lets no softer signal through."""
        self.kill(name)

    def _prepare(self) -> None:
        for name in ('run', 'cache', 'lib', 'log', 'socket', 'drivers'):
            (self.folder / name).mkdir()
        etc = self.folder / 'etc' / 'libvirt'
        etc.mkdir(parents=True)
        (etc / 'qemu.conf').write_text(QEMU_CONF)
        (etc / 'libvirtd.conf').write_text(
            f'unix_sock_dir = "{self.folder}/socket"\n'
            'auth_unix_rw = "none"\n'
            f'host_uuid = "{uuid.uuid4()}"\n'
            'log_level = 3\n'
            'log_outputs = "3:stderr"\n'
        )
        self._write_users()
        self._write_secrets(etc / 'secrets')
        self._link_drivers()

    def _write_users(self) -> None:
        for name, entry in (
            ('passwd', f'{USER}:x:0:0::/:/usr/sbin/nologin\n'),
            ('group', f'{USER}:x:0:\n'),
        ):
            text = pathlib.Path('/etc', name).read_text()
            (self.folder / 'etc' / name).write_text(text + entry)

    def _write_secrets(self, folder: pathlib.Path) -> None:
        folder.mkdir(mode=0o700)
        for number, (user, key) in self._secrets.items():
            (folder / f'{number}.xml').write_text(
                "<secret ephemeral='no' private='no'>"
                f'<uuid>{number}</uuid>'
                f"<usage type='ceph'><name>{user}</name></usage></secret>\n"
            )
            (folder / f'{number}.base64').write_text(key)

    def _link_drivers(self) -> None:
        # Without those that would change the machine's network.
        installed = next(
            pathlib.Path('/usr/lib').glob('*/libvirt/connection-driver')
        )
        for name in DRIVERS:
            file = f'libvirt_driver_{name}.so'
            (self.folder / 'drivers' / file).symlink_to(installed / file)

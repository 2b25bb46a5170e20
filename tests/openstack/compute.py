# SPDX-License-Identifier: Apache-2.0
"""nova-compute, with Nova's own driver or with the plug-in."""

from __future__ import annotations

from collections.abc import Mapping
import json
import pathlib
from typing import Any

from tests.openstack import conf
from tests.openstack import libvirt
from tests.openstack import nova
from tests.openstack import program
from tests.openstack import wheel
from tests.stack import ceph
from tests.stack import process

DISKS = 'vms'
IMAGES = 'images'
NATIVE_DRIVER = 'libvirt.LibvirtDriver'
PLUGIN_DRIVER = 'rbdcloner.LibvirtDriver'
#: In its environment: what was chosen for the process that runs.
CHOICE = 'RBDCLONER_COMPUTE'
#: Users of Ceph by whether the plug-in is on, and the UUIDs of their secrets.
USERS = {
    False: ('nova', '5e1c0a4a-7c2c-4c1e-9d25-0d7c3f4b1a11'),
    True: ('nova-plugin', '5e1c0a4a-7c2c-4c1e-9d25-0d7c3f4b1a12'),
}
#: Nova's own code writes snapshots into Glance's pool.
CAPS = {
    False: f'profile rbd pool={DISKS}, profile rbd pool={IMAGES}',
    True: f'profile rbd pool={DISKS}, profile rbd-read-only pool={IMAGES}',
}


def make_users(cluster: ceph.Ceph) -> dict[str, tuple[str, str]]:
    """Make nova-compute's users of Ceph; return libvirt's secrets."""
    secrets = {}
    for plugin, (user, number) in USERS.items():
        entity = f'client.{user}'
        cluster.user(entity, mon='profile rbd', osd=CAPS[plugin])
        key = cluster.mon_command('auth get-key', entity=entity)['key']
        secrets[number] = (entity, key)
    return secrets


class Compute(program.Program):
    """One host's nova-compute; its daemon has its name.

    ``options`` adds or overrides options by section, such as ``[rbdcloner]``.
    """

    def __init__(
        self,
        stack_folder: pathlib.Path | str,
        host: str,
        cluster: ceph.Ceph,
        hypervisor: libvirt.Libvirt,
        common: conf.Options,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = f'nova-{host}'
        self.host = host
        self._cluster = cluster
        self._hypervisor = hypervisor
        self._common = common
        self._choice_file = pathlib.Path(
            stack_folder, self.name, 'choice.json'
        )
        self._choice = self._known_choice()
        super().__init__(stack_folder, settings)

    @property
    def conf(self) -> pathlib.Path:
        """The configuration file; it holds passwords."""
        return self.folder / 'nova.conf'

    @property
    def log_file(self) -> pathlib.Path:
        """What nova-compute writes."""
        return self.stack_folder / 'log' / f'{self.name}.log'

    def configure(
        self,
        plugin: bool = False,
        options: conf.Options | None = None,
        eventlet: bool = False,
    ) -> None:
        """Choose how it runs from its next start on."""
        self._choice = {
            'plugin': plugin,
            'options': options or {},
            'eventlet': eventlet,
        }
        self.daemons = {each.name: each for each in self._make_daemons()}
        if self.folder.exists():
            self._write_conf()

    def use(
        self,
        plugin: bool = False,
        options: conf.Options | None = None,
        eventlet: bool = False,
    ) -> None:
        """Have it run so; restart it only if it does not, or has changed.

        An end waits two seconds for what is under way.
        """
        self.configure(plugin, options, eventlet)
        newer = plugin and wheel.install(self.settings['venv'], self.log)
        running = self.daemons[self.name].process
        chosen = running and running.environ().get(CHOICE)
        if newer or chosen != self._choice_text():
            self.stop()
        self.start()

    def _known_choice(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._choice_file.read_text()))
        except FileNotFoundError:
            return {'plugin': False, 'options': {}, 'eventlet': False}

    def _choice_text(self) -> str:
        return json.dumps(self._choice, default=str, sort_keys=True)

    def start(self, name: str | None = None) -> None:
        """Start it, with the checkout's plug-in; return when it is ready."""
        if self._choice['plugin']:
            wheel.install(self.settings['venv'], self.log)
        super().start(name)

    def _make_daemons(self) -> list[process.Daemon]:
        off = '0' if self._choice['eventlet'] else '1'
        return [
            process.Daemon(
                self.name,
                self.stack_folder,
                [
                    *(self._program('nova-compute'), '--config-file'),
                    *(self.conf, '--log-file', self.log_file),
                ],
                self._started,
                env={
                    **program.ENVIRONMENT,
                    'OS_NOVA_DISABLE_EVENTLET_PATCHING': off,
                    'TMPDIR': str(self.folder / 'tmp'),
                    CHOICE: self._choice_text(),
                },
                timeout_s=120,
            )
        ]

    def _started(self) -> bool:
        daemon = self.daemons[self.name]
        return program.has_logged(self.log_file, daemon, nova.STARTED)

    def _prepare(self) -> None:
        for name in ('tmp', 'instances'):
            (self.folder / name).mkdir()
        self._write_conf()

    def _write_conf(self) -> None:
        options = self._choice['options']
        conf.write(self.conf, self._common, self._own(), options)
        self._choice_file.touch(mode=0o600)
        self._choice_file.write_text(self._choice_text())

    def _own(self) -> conf.Options:
        user, number = USERS[self._choice['plugin']]
        helper = f'{self._program("privsep-helper")} --config-file {self.conf}'
        return {
            'DEFAULT': {
                'host': self.host,
                'state_path': self.folder,
                'instances_path': self.folder / 'instances',
                'compute_driver': (
                    PLUGIN_DRIVER if self._choice['plugin'] else NATIVE_DRIVER
                ),
            },
            'libvirt': {
                'virt_type': 'qemu',
                'cpu_mode': 'none',
                'connection_uri': self._hypervisor.uri,
                'images_type': 'rbd',
                'images_rbd_pool': DISKS,
                'images_rbd_ceph_conf': self._cluster.conf,
                'rbd_user': user,
                'rbd_secret_uuid': number,
                'num_pcie_ports': 0,
            },
            'nova_sys_admin': {'helper_command': helper},
            'privsep_osbrick': {'helper_command': helper},
        }

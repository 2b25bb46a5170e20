# SPDX-License-Identifier: Apache-2.0
"""Nova's control plane: its API, one conductor, one scheduler."""

from __future__ import annotations

from collections.abc import Mapping
import pathlib
import shutil
from typing import Any

from tests.openstack import conf
from tests.openstack import keystone
from tests.openstack import program
from tests.stack import process

CELL = 'cell1'
#: What each of Nova's services says when it answers.
STARTED = 'Join ServiceGroup membership for this service'


class Nova(program.Wsgi):
    """Daemons: ``nova-api``, ``nova-conductor``, ``nova-scheduler``.

    ``databases`` are the URLs of three: of the API, of the cell and of the
    servers that were never on a host (cell 0). ``common`` is what
    nova-compute is told, too.
    """

    name = 'nova'
    application = 'nova.wsgi.osapi_compute:application'
    folder_variable = 'OS_NOVA_CONFIG_DIR'

    def __init__(
        self,
        stack_folder: pathlib.Path | str,
        identity: keystone.Keystone,
        databases: Mapping[str, str],
        common: conf.Options,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._identity = identity
        self._databases = databases
        self._common = common
        super().__init__(stack_folder, settings)

    @property
    def endpoint(self) -> str:
        """The endpoint for the catalogue."""
        return f'{self.url}/v2.1'

    @property
    def conf(self) -> pathlib.Path:
        """The configuration file; it holds passwords."""
        return self.folder / 'nova.conf'

    def _make_daemons(self) -> list[process.Daemon]:
        return [
            self._daemon('nova-conductor'),
            self._daemon('nova-scheduler'),
            self._wsgi_daemon('nova-api'),
        ]

    def _daemon(self, name: str) -> process.Daemon:
        log = self.stack_folder / 'log' / f'{name}.log'
        return process.Daemon(
            name,
            self.stack_folder,
            [
                *(self._program(name), '--config-file', self.conf),
                *('--log-file', log),
            ],
            lambda: program.has_logged(log, self.daemons[name], STARTED),
            env=program.ENVIRONMENT,
            timeout_s=120,
        )

    def _prepare(self) -> None:
        paste = self._program('').parent / 'etc/nova/api-paste.ini'
        shutil.copy(paste, self.folder)
        conf.write(
            self.conf,
            self._common,
            {
                'DEFAULT': {
                    'host': 'controller',
                    'state_path': self.folder,
                    # The scheduler looks for new hosts at once.
                    'periodic_fuzzy_delay': 0,
                },
                'wsgi': {'api_paste_config': self.folder / 'api-paste.ini'},
                'api_database': {'connection': self._databases['api']},
                'database': {'connection': self._databases['cell']},
                'conductor': {'workers': 1},
                'scheduler': {'workers': 1},
            },
            self._identity.authtoken('nova'),
        )
        self.manage('api_db', 'sync')
        cell0 = ('--database_connection', self._databases['cell0'])
        self.manage('cell_v2', 'map_cell0', *cell0)
        self.manage('db', 'sync')
        self.manage('cell_v2', 'create_cell', '--name', CELL)

    def manage(self, *arguments: object) -> None:
        """Run nova-manage.

        :raises StackError: when it fails
        """
        self._manage('nova-manage', '--config-file', self.conf, *arguments)


def common(
    identity: keystone.Keystone,
    transport_url: str,
    glance_url: str,
    folder: pathlib.Path,
) -> conf.Options:
    """Return what all of Nova's programs are told."""
    client = identity.client_options('nova')
    return {
        'DEFAULT': {
            'debug': True,
            'my_ip': '127.0.0.1',
            'transport_url': transport_url,
            # Else stopping takes 160 s, whether something is done or not.
            'graceful_shutdown_timeout': 20,
            'manager_shutdown_timeout': 2,
            # A guest without a system does not power off.
            'shutdown_timeout': 5,
            'allow_resize_to_same_host': True,
            'shelved_offload_time': -1,
            'reserved_host_memory_mb': 0,
            'ram_allocation_ratio': 16,
            'cpu_allocation_ratio': 64,
            'heal_instance_info_cache_interval': -1,
            'default_ephemeral_format': 'ext4',
        },
        'oslo_concurrency': {'lock_path': folder / 'lock'},
        'scheduler': {'discover_hosts_in_cells_interval': 5},
        'glance': {'endpoint_override': glance_url, 'service_type': 'image'},
        'placement': client,
        'neutron': client,
        'keystone': client,
        'service_user': {**client, 'send_service_user_token': True},
        'cinder': {'catalog_info': 'volumev3::internalURL'},
        'vnc': {'enabled': False},
        'spice': {'enabled': False},
        'key_manager': {
            'backend': 'nova.keymgr.conf_key_mgr.ConfKeyManager',
            'fixed_key': '0' * 64,
        },
    }

# SPDX-License-Identifier: Apache-2.0
"""Keystone, and what its users need to be known by it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
import pathlib
import secrets
from typing import Any

from keystoneauth1 import adapter
from keystoneauth1 import session
from keystoneauth1.identity import v3

from tests.openstack import conf
from tests.openstack import program

REGION = 'RegionOne'
SERVICE_PROJECT = 'service'
#: Service users, and their roles in the project of the services.
USERS = {
    'glance': ('admin', 'service'),
    'nova': ('admin', 'service'),
    'placement': ('admin', 'service'),
    # Glance's own policies hide images from who has the role service alone.
    'rbdcloner': ('admin', 'service'),
}


class Keystone(program.Wsgi):
    """A running Keystone, whose every user has the same password."""

    name = 'keystone'
    application = 'keystone.wsgi.api:application'
    folder_variable = 'OS_KEYSTONE_CONFIG_DIR'

    def __init__(
        self,
        stack_folder: pathlib.Path | str,
        database_url: str,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._database_url = database_url
        super().__init__(stack_folder, settings)

    def _choose(self) -> dict[str, Any]:
        return {**super()._choose(), 'password': secrets.token_hex(16)}

    def _prepare(self) -> None:
        file = self.folder / 'keystone.conf'
        self._write_fernet_keys()
        conf.write(
            file,
            {
                'DEFAULT': {
                    'log_file': self.stack_folder / 'log' / 'keystone.log'
                },
                'database': {'connection': self._database_url},
                'fernet_tokens': {'key_repository': self.folder / 'fernet'},
                # No user gets one, but Keystone looks for its keys, too.
                'fernet_receipts': {'key_repository': self.folder / 'fernet'},
                # What a password costs to check is not what is tested.
                'identity': {'password_hash_rounds': 4},
            },
        )
        manage = ('keystone-manage', '--config-file', file)
        self._manage(*manage, 'db_sync')
        self._manage(
            *(*manage, 'bootstrap', '--bootstrap-region-id', REGION),
            *('--bootstrap-password', self.settings['password']),
            *('--bootstrap-public-url', f'{self.url}/v3'),
            *('--bootstrap-internal-url', f'{self.url}/v3'),
        )

    def _write_fernet_keys(self) -> None:
        # As ``keystone-manage fernet_setup``: 0 is the next one, 1 signs.
        folder = self.folder / 'fernet'
        folder.mkdir(mode=0o700)
        for name in ('0', '1'):
            key = base64.urlsafe_b64encode(secrets.token_bytes(32))
            (folder / name).touch(mode=0o600)
            (folder / name).write_bytes(key)

    def session(
        self, user: str = 'admin', project: str = 'admin'
    ) -> session.Session:
        """Return a session of a user."""
        return session.Session(
            auth=v3.Password(
                auth_url=f'{self.url}/v3',
                username=user,
                password=self.settings['password'],
                project_name=project,
                user_domain_id='default',
                project_domain_id='default',
            )
        )

    def auth(self, user: str) -> dict[str, object]:
        """Return the options by which a service says who it is."""
        return {
            'auth_type': 'password',
            'auth_url': f'{self.url}/v3',
            'username': user,
            'password': self.settings['password'],
            'project_name': SERVICE_PROJECT,
            'user_domain_name': 'Default',
            'project_domain_name': 'Default',
        }

    def client_options(self, user: str) -> dict[str, object]:
        """Return the options by which a service calls another one."""
        return {
            **self.auth(user),
            'region_name': REGION,
            'valid_interfaces': 'internal',
        }

    def authtoken(self, user: str) -> conf.Options:
        """Return the section by which a service has its callers checked."""
        return {
            'keystone_authtoken': {
                **self.auth(user),
                'www_authenticate_uri': f'{self.url}/v3',
                'interface': 'internal',
                'service_token_roles_required': True,
            }
        }

    def catalogue(self, endpoints: Mapping[str, str]) -> None:
        """Make the service users, and an endpoint for each service type."""
        Catalogue(self.session()).fill(endpoints, self.settings['password'])


class Catalogue:
    """What an administrator enters into a fresh Keystone."""

    def __init__(self, admin: session.Session) -> None:
        self._api = adapter.Adapter(
            admin, service_type='identity', interface='public', version='3'
        )

    def fill(self, endpoints: Mapping[str, str], password: str) -> None:
        """Make users and endpoints; once."""
        project = self._make('project', name=SERVICE_PROJECT)
        found = self._api.get('/roles').json()['roles']
        roles = {one['name']: one['id'] for one in found}
        for name, wanted in USERS.items():
            user = self._make('user', name=name, password=password)
            for role in wanted:
                self._api.put(
                    f'/projects/{project}/users/{user}/roles/{roles[role]}'
                )
        for kind, url in endpoints.items():
            service = self._make('service', name=kind, type=kind)
            for interface in ('public', 'internal'):
                self._make(
                    'endpoint',
                    service_id=service,
                    interface=interface,
                    url=url,
                    region_id=REGION,
                )

    def _make(self, kind: str, **values: object) -> str:
        answer = self._api.post(f'/{kind}s', json={kind: values})
        return str(answer.json()[kind]['id'])

# SPDX-License-Identifier: Apache-2.0
"""A Glance API with the rbd store, without Keystone, on SQLite.

Each request is one of an administrator with the role service, as Keystone's
middleware would say, so that Glance's own policies apply.

Glance runs in a virtual environment of its own, whose folder the environment
variable RBDCLONER_GLANCE_VENV names. gunicorn serves it: it is pure Python
and reads chunked uploads without any option.
"""

from __future__ import annotations

from collections.abc import Mapping
import io
import os
import pathlib
import time
from typing import IO
from typing import Any

from glanceclient import client as glance_client
from keystoneauth1 import exceptions
from keystoneauth1 import noauth
from keystoneauth1 import session

from tests.stack import ceph
from tests.stack import ports
from tests.stack import process
from tests.stack import server

VENV_VARIABLE = 'RBDCLONER_GLANCE_VENV'
_CALLER = {
    'X-IDENTITY-STATUS': 'Confirmed',
    'X-USER-ID': 'rbdcloner',
    'X-PROJECT-ID': 'service',
}
#: Read anew for each request, so that a test can revoke a role.
_GUNICORN = """
import pathlib

def pre_request(worker, request):
    roles = pathlib.Path({roles!r}).read_text()
    request.headers.extend([*{caller!r}, ('X-ROLES', roles)])
"""


class Glance(server.Server):
    """A running Glance; daemon: ``glance``.

    ``conf`` adds or overrides options, by section: ``{'rbd':
    {'rbd_store_chunk_size': 4}}``. ``policy`` is the text of policy.yaml.
    """

    name = 'glance'

    def __init__(
        self,
        stack_folder: pathlib.Path | str,
        cluster: ceph.Ceph,
        settings: Mapping[str, Any] | None = None,
        *,
        conf: Mapping[str, Mapping[str, object]] | None = None,
        policy: str = '{}\n',
    ) -> None:
        self._cluster = cluster
        self._conf = conf or {}
        self._policy = policy
        super().__init__(stack_folder, settings)

    def _choose(self) -> dict[str, Any]:
        try:
            venv = os.environ[VENV_VARIABLE]
        except KeyError:
            message = f'{VENV_VARIABLE} is not set: source tools/bootstrap'
            raise process.StackError(message) from None
        return {'port': ports.claim(), 'venv': venv}

    @property
    def url(self) -> str:
        """The image endpoint."""
        return f'http://127.0.0.1:{self.settings["port"]}'

    @property
    def access_log(self) -> pathlib.Path:
        """A line for each request that was answered."""
        return self.stack_folder / 'log' / f'{self.name}-access.log'

    def grant(self, *roles: str) -> None:
        """Let who asks have these roles from now on, and no others."""
        written = self._roles.with_suffix('.new')
        written.write_text(','.join(roles))
        written.rename(self._roles)

    @property
    def _roles(self) -> pathlib.Path:
        return self.folder / 'roles'

    def _program(self, name: str) -> pathlib.Path:
        return pathlib.Path(self.settings['venv']) / 'bin' / name

    def _make_daemons(self) -> list[process.Daemon]:
        command = [
            self._program('gunicorn'),
            *('--bind', f'127.0.0.1:{self.settings["port"]}'),
            *('--workers', 1, '--threads', 8, '--timeout', 0),
            *('--graceful-timeout', 10, '--no-control-socket'),
            *('--worker-tmp-dir', self.folder),
            *('--access-logfile', self.access_log),
            *('--config', self.folder / 'gunicorn.py'),
            'glance.wsgi.api:application',
        ]
        environment = {'OS_GLANCE_CONFIG_DIR': str(self.folder)}
        return [
            process.Daemon(
                self.name,
                self.stack_folder,
                command,
                self._ready,
                env=environment,
            )
        ]

    def _ready(self) -> bool:
        try:
            answer = session.Session().get(
                f'{self.url}/healthcheck', timeout=30, raise_exc=False
            )
        except exceptions.ConnectionError:
            return False
        return bool(answer.status_code == 200)

    def _prepare(self) -> None:
        for name in ('staging', 'tasks', 'cache'):
            (self.folder / name).mkdir()
        paste = self._program('').parent / 'etc/glance/glance-api-paste.ini'
        (self.folder / 'paste.ini').write_text(
            paste.read_text().replace(' unauthenticated-context', ' context')
        )
        self.grant('admin', 'service')
        (self.folder / 'gunicorn.py').write_text(
            _GUNICORN.format(
                roles=str(self._roles), caller=list(_CALLER.items())
            )
        )
        (self.folder / 'policy.yaml').write_text(self._policy)
        (self.folder / 'glance-api.conf').write_text(self._conf_text())
        self._run(
            *(self._program('glance-manage'), '--config-file'),
            *(self.folder / 'glance-api.conf', 'db_sync'),
        )

    def _conf_text(self) -> str:
        options = self._default_conf()
        for section, overrides in self._conf.items():
            options.setdefault(section, {}).update(overrides)
        lines = []
        for section, values in options.items():
            lines.append(f'[{section}]')
            lines += [f'{key} = {value}' for key, value in values.items()]
        return '\n'.join(lines) + '\n'

    def _default_conf(self) -> dict[str, dict[str, object]]:
        paste = self.folder / 'paste.ini'
        return {
            'DEFAULT': {
                'log_file': self.stack_folder / 'log' / 'glance-api.log',
                # Nova's own code clones by it, where no manager answers.
                'show_image_direct_url': True,
                # Else Glance reads each snapshot, beside other requests that
                # want to write into SQLite.
                'do_secure_hash': False,
                'enabled_backends': 'rbd:rbd',
                'enabled_import_methods': '[glance-direct]',
                'worker_self_reference_url': self.url,
                'image_cache_dir': self.folder / 'cache',
            },
            'glance_store': {'default_backend': 'rbd'},
            'rbd': {
                'rbd_store_ceph_conf': self._cluster.conf,
                'rbd_store_user': 'glance',
                'rbd_store_pool': 'images',
                'rbd_store_chunk_size': 8,
            },
            'os_glance_staging_store': {
                'filesystem_store_datadir': self.folder / 'staging'
            },
            'os_glance_tasks_store': {
                'filesystem_store_datadir': self.folder / 'tasks'
            },
            'database': {
                'connection': f'sqlite:///{self.folder}/glance.sqlite'
            },
            'paste_deploy': {'flavor': '', 'config_file': paste},
            'oslo_policy': {'policy_file': self.folder / 'policy.yaml'},
        }

    def client(self) -> Any:
        """A python-glanceclient for this Glance."""
        return glance_client.Client(
            '2',
            session=session.Session(auth=noauth.NoAuth(endpoint=self.url)),
            endpoint_override=self.url,
        )

    def upload(
        self,
        name: str,
        data: str | pathlib.Path | bytes | IO[bytes],
        disk_format: str = 'raw',
        visibility: str = 'public',
        store: str | None = None,
        **properties: Any,
    ) -> Any:
        """Make an active image of a file (path or open) or of bytes.

        In the default store, or in *store*.
        """
        images = self.client().images
        image = images.create(
            name=name,
            disk_format=disk_format,
            container_format=properties.pop('container_format', 'bare'),
            visibility=visibility,
            **properties,
        )
        if isinstance(data, str | pathlib.Path):
            with open(data, 'rb') as opened:
                size_bytes = os.path.getsize(data)
                images.upload(image.id, opened, size_bytes, backend=store)
        else:
            source = io.BytesIO(data) if isinstance(data, bytes) else data
            images.upload(image.id, source, backend=store)
        return self._when_active(image.id)

    def add_location(
        self, image_id: str, url: str, **validation_data: str
    ) -> Any:
        """Make an image of the data at *url* active, as Nova does.

        By Glance's API for services; *validation_data* are the hash and its
        algorithm.
        """
        images = self.client().images
        images.add_image_location(image_id, url, validation_data)
        return self._when_active(image_id)

    def _when_active(self, image_id: str, timeout_s: float = 60) -> Any:
        images = self.client().images
        deadline = time.monotonic() + timeout_s
        while (image := images.get(image_id)).status != 'active':
            if image.status == 'killed' or time.monotonic() > deadline:
                raise process.StackError(f'image {image_id}: {image.status}')
            time.sleep(process.POLL_S)
        return image

    def delete(self, image_id: str) -> None:
        """Delete an image."""
        self.client().images.delete(image_id)

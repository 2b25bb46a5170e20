# SPDX-License-Identifier: Apache-2.0
"""A whole OpenStack on a stack's servers: all that Nova and Glance need."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from concurrent import futures
import json
import pathlib
import shutil
import time
from typing import Any

from tests.openstack import client
from tests.openstack import compute
from tests.openstack import conf
from tests.openstack import glance
from tests.openstack import keystone
from tests.openstack import libvirt
from tests.openstack import neutron
from tests.openstack import nova
from tests.openstack import placement
from tests.stack import process
from tests.stack import server
from tests.stack import stack

HOST = 'compute-1'
_INDEX = 'openstack.json'
_DATABASES = ('keystone', 'placement', 'glance', 'api', 'cell', 'cell0')


class OpenStack(server.PlainFixture):
    """Running services on a stack with Ceph, RabbitMQ and MariaDB.

    Each service is an attribute and a ``tests.stack.server.Server``, whose
    daemons can be stopped, killed and started one by one. ``plugin``,
    ``eventlet`` and ``options`` are those of the first host's nova-compute
    (``Compute.configure``), ``glance_options`` Glance's.

    It ends with the fixture, and with its stack. A stack without a Glance
    has this one from then on.
    """

    keystone: keystone.Keystone
    placement: placement.Placement
    glance: glance.Glance
    neutron: neutron.Neutron
    nova: nova.Nova
    libvirt: libvirt.Libvirt
    compute: compute.Compute

    def __init__(
        self,
        servers: stack.Stack,
        *,
        plugin: bool = False,
        eventlet: bool = False,
        options: conf.Options | None = None,
        glance_options: conf.Options | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        assert servers.folder is not None
        self.stack = servers
        self.folder: pathlib.Path = servers.folder
        self.servers: dict[str, server.Server] = {}
        self._compute_options: dict[str, Any] = {
            'plugin': plugin,
            'eventlet': eventlet,
            'options': options,
        }
        self._glance_options = glance_options
        self._report = report or (lambda line: None)
        self._databases: dict[str, str] = {}
        self._secrets: dict[str, tuple[str, str]] = {}
        self._settings: dict[str, Any] = {}

    @classmethod
    def attach(cls, folder: pathlib.Path | str) -> OpenStack:
        """Handles to the services that run in a folder; ends nothing.

        :raises StackError: when none run there
        """
        cloud = cls(stack.Stack.attach(folder))
        try:
            index = json.loads((cloud.folder / _INDEX).read_text())
        except FileNotFoundError:
            message = f'{folder}: no running OpenStack'
            raise process.StackError(message) from None
        cloud._databases = index['databases']
        cloud._settings = index['settings']
        cloud._make_servers()
        return cloud

    def _setUp(self) -> None:
        begun = time.monotonic()
        create = self.stack.databases['mariadb'].create
        self._databases = {name: create() for name in _DATABASES}
        self._secrets = compute.make_users(self.stack.ceph)
        self._make_servers()
        self.compute.configure(**self._compute_options)
        self.addCleanup(self._end)
        self._start_all()
        self._write_index()
        self._report(f'openstack: ready in {time.monotonic() - begun:.1f} s')

    # The services

    def _make_servers(self) -> None:
        identity = keystone.Keystone(
            self.folder, self._databases['keystone'], self._known('keystone')
        )
        self.keystone = self._add(identity)
        self.placement = self._add(
            placement.Placement(
                self.folder,
                identity,
                self._databases['placement'],
                self._known('placement'),
            )
        )
        self.glance = self._add(
            glance.Glance(
                self.folder,
                self.stack.ceph,
                identity,
                self._databases['glance'],
                self._known('glance-api'),
                self._glance_options,
            )
        )
        if 'glance' not in self.stack.servers:
            self.stack.glance = self.glance
        self.neutron = self._add(
            neutron.Neutron(self.folder, self._known('neutron'))
        )
        self.nova = self._add(
            nova.Nova(
                self.folder,
                identity,
                self._databases,
                self._common(),
                self._known('nova'),
            )
        )
        self.libvirt, self.compute = self._make_host(HOST)

    def _make_host(self, host: str) -> tuple[libvirt.Libvirt, compute.Compute]:
        hypervisor = libvirt.Libvirt(
            self.folder, host, self._secrets, self._known(f'libvirt-{host}')
        )
        made = compute.Compute(
            self.folder,
            host,
            self.stack.ceph,
            hypervisor,
            self._common(),
            self._known(f'nova-{host}'),
        )
        return self._add(hypervisor), self._add(made)

    def _known(self, name: str) -> Any:
        return self._settings.get(name)

    def _add(self, one: Any) -> Any:
        self.servers[one.name] = one
        return one

    def _common(self) -> conf.Options:
        return nova.common(
            self.keystone,
            self.stack.rabbitmq.url,
            self.glance.url,
            self.folder,
        )

    def _write_index(self) -> None:
        index = {
            'databases': self._databases,
            'settings': {
                name: one.settings for name, one in self.servers.items()
            },
        }
        path = self.folder / _INDEX
        path.touch(mode=0o600)
        path.write_text(json.dumps(index, indent=1))

    # Start and end

    def _start_all(self) -> None:
        """Start everything, at once as far as it goes."""
        with futures.ThreadPoolExecutor(len(self.servers)) as pool:
            identity = pool.submit(self._start_identity)
            apis = [
                pool.submit(self._set_up, one)
                for one in (self.placement, self.glance, self.neutron)
            ]
            control = pool.submit(self._start_nova, identity)
            host = pool.submit(self._set_up, self.libvirt)
            steps = [identity, *apis, control, host]
            try:
                for step in futures.as_completed(steps):
                    step.result()
            except BaseException:
                for one in self.servers.values():
                    one.abandon()
                raise
        self._start_compute(self.compute)

    def _set_up(self, one: server.Server) -> None:
        begun = time.monotonic()
        one.setUp()
        self._report(f'{one.name}: ready in {time.monotonic() - begun:.1f} s')

    def _start_identity(self) -> None:
        self._set_up(self.keystone)
        self.keystone.catalogue(
            {
                'image': self.glance.url,
                'placement': self.placement.url,
                'compute': self.nova.endpoint,
                'network': self.neutron.url,
            }
        )

    def _start_nova(self, identity: futures.Future[None]) -> None:
        self.nova.prepare()
        # nova-scheduler gives up when nobody knows its user.
        identity.result()
        self._set_up(self.nova)

    def _start_compute(self, one: compute.Compute) -> None:
        self._set_up(one)
        api = self.client()
        process.wait_until(
            lambda: one.host in api.hypervisors(),
            f'{one.host} in a cell',
            timeout_s=60,
            abandoned=one.abandoned,
        )

    def add_host(self, host: str, **options: Any) -> compute.Compute:
        """Start another host, with a libvirtd of its own.

        ``options`` are those of ``Compute.configure``.
        """
        if not self._secrets:
            self._secrets = compute.make_users(self.stack.ceph)
        hypervisor, made = self._make_host(host)
        made.configure(**options)
        self._set_up(hypervisor)
        self._start_compute(made)
        return made

    def remove_host(self, host: str) -> None:
        """End a host that was added, with its guests, and forget it."""
        for name in (f'nova-{host}', f'libvirt-{host}'):
            one = self.servers.pop(name)
            one.end()
            shutil.rmtree(one.folder)
        self.client().remove_host(host)

    def detach(self) -> None:
        """Leave everything running when this process ends."""
        self._clear_cleanups()
        for one in self.servers.values():
            one._clear_cleanups()

    def _end(self) -> None:
        for one in reversed(self.servers.values()):
            one.end()

    # Use

    def client(self) -> client.Client:
        """Return what an administrator does with servers and images."""
        return client.Client(self.keystone.session(), self.glance)

    def manager_options(self) -> dict[str, Mapping[str, object]]:
        """Return what rbdcloner-manager must be told to work here.

        They are ``options`` of ``tests.stack.manager.Manager``; its user is
        one of Keystone's.
        """
        return {
            'glance': {
                **self.keystone.client_options('rbdcloner'),
                'endpoint_override': self.glance.url,
            }
        }

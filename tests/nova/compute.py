# SPDX-License-Identifier: Apache-2.0
"""A compute host without a hypervisor: Nova's code for disks and images."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any
from typing import ClassVar
import uuid

from nova import context as nova_context
import nova.conf
from nova.virt.libvirt import imagebackend as novas

from rbdcloner import rpcapi
from rbdcloner.nova import asking
from rbdcloner.nova import driver
from rbdcloner.nova import imagebackend
from rbdcloner.nova.driver import delete_disks as delete_disks
from tests.functional import service
from tests.functional.service import MIB
from tests.functional.service import PROJECT
from tests.nova import EVENTLET
from tests.stack import manager

#: No write where Glance's images are.
CAPS = 'profile rbd pool=vms, profile rbd-read-only pool=images'

CONF = nova.conf.CONF

Settings = dict[str, dict[str, object]]


class Manager(manager.Manager):
    """A manager whose client is nova-compute."""

    def client(self, timeout_s: float = 60) -> rpcapi.API:
        """Return a client that has its options from Nova's."""
        return rpcapi.API.from_conf(
            CONF, url=self._servers.rabbitmq.url, timeout_s=timeout_s
        )


@dataclasses.dataclass
class Instance:
    """What Nova's code for disks looks at in its object of that name."""

    uuid: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    project_id: str = PROJECT
    task_state: str | None = None
    vm_state: str | None = None
    migration_context: Any = None
    trusted_certs: Any = None


def configure(settings: Settings) -> None:
    """Give Nova its options."""
    CONF.reset()
    CONF([], project='nova', default_config_files=[])
    for group, options in settings.items():
        for name, value in options.items():
            where = None if group == 'DEFAULT' else group
            CONF.set_override(name, value, where)


class ComputeTest(service.ServiceTest):
    """nova-compute's settings, with a key of its own, and a folder."""

    kind = Manager
    options: ClassVar[dict[str, dict[str, object]]] = {
        'DEFAULT': {'recovery_interval': 1, 'survey_interval': 1},
    }
    mode: ClassVar[str] = 'require'
    timeout_s: ClassVar[int] = 60
    imports: ClassVar[str] = 'never'

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.servers.ceph.user('client.nova', mon='profile rbd', osd=CAPS)

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(folder.name)
        configure(self.settings())
        super().setUp()
        self.addCleanup(CONF.reset)
        self.addCleanup(folder.cleanup)
        self.context = nova_context.RequestContext(
            'user', PROJECT, is_admin=True, auth_token='none is looked at'
        )
        asking._service_of.cache_clear()
        self.instance = Instance()

    def settings(self) -> Settings:
        """Return the options of Nova, by group."""
        url = self.servers.glance.url
        return {
            'DEFAULT': {'instances_path': str(self.folder), 'host': 'here'},
            'oslo_concurrency': {'lock_path': str(self.folder)},
            'libvirt': {
                'images_type': 'rbd',
                'images_rbd_pool': 'vms',
                'images_rbd_ceph_conf': str(self.servers.ceph.conf),
                'rbd_user': 'nova',
            },
            'glance': {'endpoint_override': url},
            'rbdcloner': {
                'mode': self.mode,
                'timeout': self.timeout_s,
                'import': self.imports,
                'transport_url': self.servers.rabbitmq.url,
            },
        }

    def override(
        self, name: str, value: object, group: str = 'rbdcloner'
    ) -> None:
        """Set an option of Nova's for this test."""
        where = None if group == 'DEFAULT' else group
        CONF.set_override(name, value, where)
        self.addCleanup(CONF.clear_override, name, where)

    def delete_disks(self) -> None:
        """Delete every disk that the tests made, half-made ones too."""
        super().delete_disks()
        for disk in self.api.list_disks(self.ctxt, state='importing')['disks']:
            self.api.delete_disk(self.ctxt, disk['name'], disk['pool'])

    # What nova-compute does

    def disk(
        self, name: str = 'disk', instance: Instance | None = None
    ) -> imagebackend.Rbd:
        """Return the backend of an instance's disk."""
        return imagebackend.Rbd(instance or self.instance, name)

    def novas_own(
        self, name: str = 'disk', instance: Instance | None = None
    ) -> novas.Rbd:
        """Return Nova's own backend of an instance's disk."""
        return novas.Rbd(instance or self.instance, name)

    def boot(
        self,
        disk: novas.Rbd,
        image_id: str = '',
        size: int | None = 8 * MIB,
    ) -> None:
        """Make a root disk as Nova's libvirt driver does."""
        made = object.__new__(driver.LibvirtDriver)
        image_id = image_id or self.image_id
        made._try_fetch_image_cache(
            disk,
            functools.partial(_clone_or_fetch, disk),
            self.context,
            f'cached-{image_id}',
            image_id,
            getattr(disk, 'instance', self.instance),
            size,
        )

    def upload(self, data: bytes, disk_format: str) -> str:
        """Return a Glance image of *data*, in that format."""
        plain = self.folder / 'plain'
        plain.write_bytes(data)
        formatted = self.folder / 'formatted'
        subprocess.run(
            [
                *('qemu-img', 'convert', '-f', 'raw', '-O', disk_format),
                *(plain, formatted),
            ],
            check=True,
        )
        image = self.servers.glance.upload(
            'formatted', formatted.read_bytes(), disk_format=disk_format
        )
        self.addCleanup(self.servers.glance.delete, image.id)
        return str(image.id)

    def file(self, data: bytes) -> str:
        """Return the path of a file with *data*."""
        path = self.folder / uuid.uuid4().hex
        path.write_bytes(data)
        return str(path)

    def elsewhere(
        self, act: str, eventlet: bool | None = None, **more: object
    ) -> subprocess.CompletedProcess[str]:
        """Have another process of nova-compute's do something.

        Under *eventlet* or not; without it, as this release does by default.
        """
        chosen = {} if eventlet is None else {EVENTLET: str(int(not eventlet))}
        told = {
            'settings': self.settings(),
            'instance': self.instance.uuid,
            'image_id': self.image_id,
            **more,
        }
        return subprocess.run(
            [
                *(sys.executable, '-m', 'tests.nova.other_process'),
                *(act, json.dumps(told)),
            ],
            env=os.environ | chosen,
            capture_output=True,
            text=True,
            timeout=120,
        )

    # What there is

    def row(self, name: str = 'disk') -> rpcapi.Disk:
        """Return what the managers know of the instance's disk."""
        return self.api.get_disk(
            self.ctxt, f'{self.instance.uuid}_{name}', 'vms'
        )


def _clone_or_fetch(
    disk: novas.Rbd,
    context: Any,
    target: str,
    image_id: str,
    trusted_certs: Any = None,
) -> None:
    """What Nova's driver fetches with, in its own closure."""
    disk.clone(context, image_id)

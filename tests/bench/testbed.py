# SPDX-License-Identifier: Apache-2.0
"""The servers that everything is measured on, and the images on them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import os
import pathlib
from typing import Any
from typing import ClassVar

from tests import stack
from tests.bench import child
from tests.bench import scale
from tests.demo import content
from tests.stack import glance
from tests.stack import manager
from tests.stack import rabbitmq

# What Ceph itself needs, and thousands of empty images.
_SPARE_BYTES = 8 * scale.GiB
_SMALL_BYTES = scale.MiB


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What the person at the command line asked for."""

    quick: bool = False
    clone_format: int = 2

    @property
    def scale(self) -> scale.Scale:
        """How large everything is."""
        return scale.QUICK if self.quick else scale.FULL


class Testbed(contextlib.ExitStack):
    """One cluster, one broker, a manager for each database, one image.

    Managers of one database have a virtual host of their own in RabbitMQ, so
    that they answer their own callers, and a pool of their own: one is of no
    two lineages. Those on SQLite have ``POOL`` and those with other images.
    """

    POOL = 'vms'
    HOMES: ClassVar[dict[str, str]] = {
        'sqlite': POOL,
        **{
            name: f'vms-{name}'
            for name in (
                *('mariadb', 'imports'),
                *('managers-1', 'managers-2', 'managers-4'),
            )
        },
    }
    IMAGE_POOL = 'images'
    CHILDREN_POOL = 'children'
    SNAPSHOT = 'snap'
    DISK_BYTES = 20 * scale.GiB
    WORKERS = 2

    def __init__(
        self,
        folder: pathlib.Path,
        wishes: Wishes,
        report: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.wishes = wishes
        self.folder = folder
        self.raw = folder / 'image.raw'
        self.image_id = ''
        self.servers: stack.Stack
        self.managers: dict[str, manager.Manager] = {}
        self._report = report

    def start(self, databases: tuple[str, ...]) -> None:
        """Start the servers and upload the image.

        :raises StackError: something did not start.
        """
        self._start_servers(databases=databases)
        for name in databases:
            self.start_managers(name, name)
        self._upload(self.servers.glance)

    def _start_servers(self, **options: Any) -> None:
        image_bytes = self.wishes.scale.image_bytes
        written_bytes = self.wishes.scale.written_bytes
        # A copy, too, has both; what was removed is not free at once.
        size_bytes = 3 * (image_bytes + written_bytes) + _SPARE_BYTES
        content.require_space(self.folder, 2 * image_bytes)
        self.servers = self.enter_context(
            stack.Stack(
                self.folder / 'stack',
                options={
                    'ceph': {'osd_size_bytes': size_bytes, 'pools': self.pools}
                },
                report=self._report,
                **options,
            )
        )

    def _upload(self, images: glance.Glance) -> None:
        """Make the image that all disks are of."""
        image_bytes = self.wishes.scale.image_bytes
        content.make(self.raw, image_bytes, _silently)
        with self.raw.open('rb') as opened:
            self.image_id = images.upload('golden', opened).id
        self._report(f'image: {image_bytes // scale.MiB} MiB uploaded')

    def write_ceph_conf(self) -> pathlib.Path:
        """Write Ceph's configuration as Nova's own code is to have it."""
        folder = self.folder / 'nova'
        folder.mkdir(exist_ok=True)
        # Ceph takes the cluster's name, and so the keyring's, from the file's.
        conf = folder / 'ceph.conf'
        conf.write_text(
            f'{self.servers.ceph.conf.read_text()}\n'
            f'rbd default clone format = {self.wishes.clone_format}\n'
        )
        return conf

    @property
    def pools(self) -> tuple[str, ...]:
        """All pools."""
        return (self.IMAGE_POOL, *self.disk_pools, self.CHILDREN_POOL)

    @property
    def disk_pools(self) -> tuple[str, ...]:
        """The pools that the managers make disks in."""
        return (*self.HOMES.values(), *self._filled_pools)

    @property
    def _filled_pools(self) -> tuple[str, ...]:
        return tuple(map(self.pool_of, self.wishes.scale.pools))

    @staticmethod
    def pool_of(count: int) -> str:
        """Return the pool that is to have so many other images."""
        return f'pool-{count}'

    def fresh_image(self) -> str:
        """Return the id of a small image that nobody has cloned yet."""
        data = os.urandom(_SMALL_BYTES)
        return str(self.servers.glance.upload('fresh', data).id)

    def child(self, name: str, *command: object) -> child.Child:
        """Start a child process, which ends with the rest."""
        assert self.servers.folder is not None
        log = self.servers.folder / 'log' / f'{name}.out'
        started = child.Child(command, log)
        self.callback(started.close)
        return started

    def worker_pids(self, database: str) -> list[int]:
        """Return the manager's worker processes."""
        process = self.managers[database].daemons[f'manager-{database}']
        assert process.process is not None
        return [one.pid for one in process.process.children()]

    def start_managers(
        self,
        name: str,
        database: str,
        count: int = 1,
        options: Mapping[str, Mapping[str, object]] | None = None,
    ) -> str:
        """Start managers that share a new database; its URL.

        The first of them is known as *name*. *options* are added to those
        that every manager has here.
        """
        broker = self.servers.rabbitmq
        broker.ctl('add_vhost', name)
        everything = ('.*', '.*', '.*')
        broker.ctl('set_permissions', '-p', name, rabbitmq.USER, *everything)
        url = self.servers.databases[database].create()
        for number in range(count):
            suffix = f'-{number}' if number else ''
            self.managers[f'{name}{suffix}'] = self._start_manager(
                f'manager-{name}{suffix}',
                url,
                f'{broker.url}{name}',
                self._pools_of(name),
                options or {},
            )
        return url

    def _pools_of(self, name: str) -> tuple[str, ...]:
        home = self.HOMES[name]
        return (home, *(self._filled_pools if home == self.POOL else ()))

    def _start_manager(
        self,
        name: str,
        database_url: str,
        transport_url: str,
        pools: Sequence[str],
        more: Mapping[str, Mapping[str, object]],
    ) -> manager.Manager:
        options: dict[str, dict[str, object]] = {
            'DEFAULT': {
                'workers': self.WORKERS,
                'transport_url': transport_url,
            },
            'ceph': {
                'clone_format': self.wishes.clone_format,
                'disk_pools': ','.join(pools),
            },
        }
        for section, values in more.items():
            options.setdefault(section, {}).update(values)
        return self.enter_context(
            manager.Manager(
                self.servers, database_url, name=name, options=options
            )
        )


def _silently(done: int, whole: int) -> None:
    """Report no progress: this takes a second."""

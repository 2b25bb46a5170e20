# SPDX-License-Identifier: Apache-2.0
"""A whole OpenStack to measure on: one host without the plug-in, one with.

Both run all the time and share everything else, so that they can take turns.
"""

from __future__ import annotations

from collections.abc import Sequence
import json
import pathlib

from tests import openstack
from tests.bench import measuring
from tests.bench import testbed
from tests.openstack import client
from tests.openstack import cloud
from tests.openstack import compute
from tests.openstack import conf
from tests.stack import manager
from tests.stack import process

#: nova-compute's hosts, by whether the plug-in is off or on.
HOSTS = {'off': cloud.HOST, 'on': 'compute-2'}
#: Larger than the image; the scheduler refuses what is larger than the pool.
DISK_GB = 4
_LAUNCHER = pathlib.Path(__file__).with_name('nova_compute.py')
# Images are deleted through Glance; what is left of a disk goes then.
_SURVEY_S = 5


class Cloud(testbed.Testbed):
    """One cluster, one manager on MariaDB, one image, two hosts."""

    client: client.Client
    flavor: str

    def start(self, databases: tuple[str, ...] = ()) -> None:
        """Start everything and upload the image.

        :raises StackError: something did not start.
        """
        self._start_servers(glance=False, databases=('mariadb',))
        running = _Measured(
            self.servers,
            options=self._options(
                {'libvirt': {'images_rbd_ceph_conf': self.write_ceph_conf()}}
            ),
            report=self._report,
        )
        self.enter_context(running)
        self._start_manager_of(running)
        running.add_host(HOSTS['on'], plugin=True, options=self._options())
        self.client = running.client()
        self.flavor = self.client.flavor(disk_gb=DISK_GB)
        self._upload(running.glance)

    @property
    def disk_pools(self) -> tuple[str, ...]:
        """The pool that both hosts make disks in."""
        return (self.POOL,)

    @property
    def pools(self) -> tuple[str, ...]:
        """All pools."""
        return (self.IMAGE_POOL, self.POOL)

    def took(
        self, who: str, act: str, whose: Sequence[str]
    ) -> measuring.Block:
        """Return what *act* took a host's nova-compute, in that order.

        :raises StackError: it was not done, or more than once.
        """
        path = notes(self.servers.folder, HOSTS[who])
        noted = [json.loads(line) for line in path.read_text().splitlines()]
        seconds, times = [], []
        for one in whose:
            found = [
                (note['begun'], note['ended'])
                for note in noted
                if (note['act'], note['of']) == (act, one)
            ]
            if len(found) != 1:
                message = f'{HOSTS[who]}: {act} of {one}, {len(found)} times'
                raise process.StackError(message)
            times += found
            seconds += [ended - begun for begun, ended in found]
        return measuring.Block(
            seconds,
            min(begun for begun, _ in times),
            max(ended for _, ended in times),
        )

    def _options(self, more: conf.Options | None = None) -> conf.Options:
        # The disks are thin, and the pool is small.
        thin = {'DEFAULT': {'disk_allocation_ratio': 100}}
        return conf.merged(thin, more or {})

    def _start_manager_of(self, running: openstack.OpenStack) -> None:
        self.enter_context(
            manager.Manager(
                self.servers,
                self.servers.databases['mariadb'].create(),
                options={
                    **running.manager_options(),
                    'DEFAULT': {
                        'workers': self.WORKERS,
                        'survey_interval': _SURVEY_S,
                    },
                    'ceph': {'clone_format': self.wishes.clone_format},
                },
            )
        )


class _Measured(openstack.OpenStack):
    """Each nova-compute is run by what notes how long it takes."""

    def _start_compute(self, one: compute.Compute) -> None:
        for daemon in one.daemons.values():
            program, *arguments = daemon.command
            daemon.command = [
                # Python's own way of not looking beside the file.
                *(pathlib.Path(str(program)).with_name('python'), '-P'),
                *(_LAUNCHER, notes(self.folder, one.host), *arguments),
            ]
        super()._start_compute(one)


def notes(folder: pathlib.Path | None, host: str) -> pathlib.Path:
    """Return the file that a host's nova-compute notes times in."""
    assert folder is not None
    return folder / f'{host}.jsonl'

# SPDX-License-Identifier: Apache-2.0
"""Servers of two hosts, booted, snapshotted and deleted through Nova's API.

The seconds of disks are those that nova-compute notes itself. The API is
asked seldom: it has the same two cores.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
import time

from tests.bench import measuring
from tests.bench.cloud import HOSTS
from tests.bench.cloud import Cloud
from tests.bench.figures import Contestant
from tests.bench.librbd import OTHERS
from tests.bench.librbd import Librbd
from tests.stack import process

TIMEOUT_S = 120
_LOOK_AGAIN_S = 0.2


class Servers:
    """Servers of the image; *who* is the host: without the plug-in or with."""

    def __init__(self, cloud: Cloud, admin: Librbd, who: str) -> None:
        self._cloud = cloud
        self._admin = admin
        self._who = who
        self._ids: dict[str, str] = {}

    def boot(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Run servers, from the request until the API says so."""
        return measuring.joined(
            [self._boot(some) for some in _divided(names, threads)]
        )

    def create(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Say what making their root disks took."""
        return self._took('create', names)

    def remove(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Delete the servers; say what deleting their disks took.

        Nobody else's turn begins before the disks are destroyed.
        """
        for some in _divided(names, threads):
            self._delete({self._ids[name] for name in some})
        self._admin.wait_reaped(self._cloud.POOL)
        return self._took('delete', names)

    def _took(self, act: str, names: Sequence[str]) -> measuring.Block:
        whose = [self._ids[name] for name in names]
        return self._cloud.took(self._who, act, whose)

    def _boot(self, names: Sequence[str]) -> measuring.Block:
        """Run all of them at once."""
        begun = time.monotonic()
        with futures.ThreadPoolExecutor(len(names)) as pool:
            self._ids.update(pool.map(self._ask, names))
        left = {self._ids[name] for name in names}
        seconds: list[float] = []

        def are_active() -> bool:
            if failed := left & self._found('ERROR'):
                why = self._cloud.client.faults(failed.pop())
                raise process.StackError(f'{HOSTS[self._who]}: {why}')
            active = left & self._found('ACTIVE')
            seconds.extend(time.monotonic() - begun for _ in active)
            left.difference_update(active)
            return not left

        self._wait(are_active, 'servers')
        return measuring.Block(seconds, begun, time.monotonic())

    def _delete(self, ids: set[str]) -> None:
        """Delete all of them at once."""
        self._cloud.client.delete(*ids, wait=False)
        self._wait(lambda: not ids & self._found(), 'deletion')

    def _ask(self, name: str) -> tuple[str, str]:
        cloud = self._cloud
        server_id = cloud.client.boot(
            cloud.image_id,
            cloud.flavor,
            wait=False,
            host=HOSTS[self._who],
        )
        return name, server_id

    def _found(self, status: str = '') -> set[str]:
        """Return the servers that there are, or that have a status."""
        wanted = f'&status={status}' if status else ''
        path = f'/servers?all_tenants=1{wanted}'
        answer = self._cloud.client.api.get(path)
        return {str(one['id']) for one in answer.json()['servers']}

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not done():
            if time.monotonic() > deadline:
                message = f'{HOSTS[self._who]}: {what}: not in {TIMEOUT_S} s'
                raise process.StackError(message)
            time.sleep(_LOOK_AGAIN_S)


class WrittenServers(Servers):
    """The same with data; what is made of them are images."""

    def __init__(self, cloud: Cloud, admin: Librbd, who: str) -> None:
        super().__init__(cloud, admin, who)
        self._images: dict[str, str] = {}

    def boot(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Run servers and write to their disks."""
        block = super().boot(names, threads)
        written_bytes = self._cloud.wishes.scale.written_bytes
        for name in names:
            disk = f'{self._ids[name]}_disk'
            self._admin.write(self._cloud.POOL, disk, written_bytes)
        return block

    def create(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Make images of the running servers; say what the disks took."""
        for name in names:
            self._images[name] = self._snapshot(self._ids[name])
        images = [self._images[name] for name in names]
        return self._cloud.took(self._who, 'snapshot', images)

    def remove(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Delete images and servers; say what deleting the disks took."""
        for name in names:
            self._cloud.client.delete_image(self._images[name])
        return super().remove(names, threads)

    def _snapshot(self, server_id: str) -> str:
        client = self._cloud.client
        answer = client.api.post(
            f'/servers/{server_id}/action',
            json={'createImage': {'name': 'snapshot'}},
        )
        image_id = str(answer.json()['image_id'])

        def is_whole() -> bool:
            state = client.server(server_id)['OS-EXT-STS:task_state']
            return not state and client.image(image_id).status == 'active'

        self._wait(is_whole, 'snapshot')
        return image_id


def contestant(cloud: Cloud, admin: Librbd, one: Contestant) -> Servers:
    """Return who takes part as that, once the pool has others enough."""
    there = sum(name.startswith(OTHERS) for name in admin.names(cloud.POOL))
    names = [f'{OTHERS}{number}' for number in range(there, one.count)]
    admin.make(cloud.POOL, names)
    kind = WrittenServers if one.written else Servers
    return kind(cloud, admin, one.who)


def _divided(names: Sequence[str], many: int) -> Iterator[Sequence[str]]:
    """Yield so many names at a time."""
    for begin in range(0, len(names), many):
        yield names[begin : begin + many]

# SPDX-License-Identifier: Apache-2.0
"""rbdcloner-manager, called through RabbitMQ by another process."""

from __future__ import annotations

from collections.abc import Sequence
import sys
from typing import Any
import uuid

from tests.bench import measuring
from tests.bench.librbd import Librbd
from tests.bench.testbed import Testbed

PROJECT = uuid.uuid4().hex


class Service:
    """A manager on one database; its callers are threads.

    Threads are divided among so many processes: each pays for Python's lock
    on its own, as each nova-compute does. A removal answers when the names
    are free; nobody else's turn begins before the rest is destroyed, too.
    """

    def __init__(
        self, bed: Testbed, admin: Librbd, database: str, processes: int
    ) -> None:
        self._bed = bed
        self._admin = admin
        self.pool = bed.HOMES[database]
        conf = bed.managers[database].conf
        self._callers = [
            bed.child(
                f'caller-{database}-{number}',
                *(sys.executable, '-m', 'tests.bench.caller', conf),
            )
            for number in range(processes)
        ]

    def create(
        self,
        names: Sequence[str],
        threads: int,
        pool: str = '',
        **changes: Any,
    ) -> measuring.Block:
        """Make disks of these names; *changes* are to the arguments.

        In the managers' own pool, or in *pool*.
        """
        calls = [
            {
                'image_id': self._image_id(),
                'name': name,
                'size_bytes': self._bed.DISK_BYTES,
                'pool': pool or self.pool,
                'instance_uuid': name.partition('_')[0],
                'project_id': PROJECT,
                'host': 'compute-1',
                **changes,
            }
            for name in names
        ]
        return self.call('create_disk', calls, threads)

    def get(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Ask for the disks of these names."""
        return self.call('get_disk', _named(names, self.pool), threads)

    def remove(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Delete the disks of these names."""
        block = self.delete(names, threads, self.pool)
        self._admin.wait_reaped(self.pool)
        return block

    def delete(
        self, names: Sequence[str], threads: int, pool: str
    ) -> measuring.Block:
        """Free these names; what is left may be there for a while."""
        return self.call('delete_disk', _named(names, pool), threads)

    def call(
        self, method: str, calls: list[dict[str, Any]], threads: int
    ) -> measuring.Block:
        """Call a method once with each of these arguments."""
        busy = self._callers[:threads]
        for number, caller in enumerate(busy):
            caller.ask(
                {
                    'method': method,
                    'calls': calls[number :: len(busy)],
                    'threads': threads // len(busy),
                }
            )
        return measuring.joined([caller.answer() for caller in busy])

    def _image_id(self) -> str:
        return self._bed.image_id


class FreshImages(Service):
    """The same, each disk from an image that was never cloned before."""

    def __init__(
        self, bed: Testbed, admin: Librbd, database: str, images: int
    ) -> None:
        super().__init__(bed, admin, database, processes=1)
        self._fresh = [bed.fresh_image() for _ in range(images)]

    def _image_id(self) -> str:
        return self._fresh.pop()


def _named(names: Sequence[str], pool: str) -> list[dict[str, Any]]:
    return [{'name': name, 'pool': pool} for name in names]

# SPDX-License-Identifier: Apache-2.0
"""rbdcloner-manager, called through RabbitMQ by another process."""

from __future__ import annotations

from collections.abc import Sequence
import sys
from typing import Any
import uuid

from tests.bench import measuring
from tests.bench.testbed import Testbed

PROJECT = uuid.uuid4().hex


class Service:
    """A manager on one database; its callers are threads.

    Threads are divided among so many processes: each pays for Python's lock
    on its own, as each nova-compute does.
    """

    def __init__(self, bed: Testbed, database: str, processes: int) -> None:
        self._bed = bed
        conf = bed.managers[database].conf
        self._callers = [
            bed.child(
                f'caller-{database}-{number}',
                *(sys.executable, '-m', 'tests.bench.caller', conf),
            )
            for number in range(processes)
        ]

    def create(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Make disks of these names."""
        calls = [
            {
                'image_id': self._image_id(),
                'name': name,
                'size_bytes': self._bed.DISK_BYTES,
                'pool': self._bed.POOL,
                'instance_uuid': name.partition('_')[0],
                'project_id': PROJECT,
                'host': 'compute-1',
            }
            for name in names
        ]
        return self._call('create_disk', calls, threads)

    def get(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Ask for the disks of these names."""
        return self._call('get_disk', self._named(names), threads)

    def remove(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Delete the disks of these names."""
        return self._call('delete_disk', self._named(names), threads)

    def _image_id(self) -> str:
        return self._bed.image_id

    def _named(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return [{'name': name, 'pool': self._bed.POOL} for name in names]

    def _call(
        self, method: str, calls: list[dict[str, Any]], threads: int
    ) -> measuring.Block:
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


class FreshImages(Service):
    """The same, each disk from an image that was never cloned before."""

    def __init__(self, bed: Testbed, database: str, images: int) -> None:
        super().__init__(bed, database, processes=1)
        self._fresh = [bed.fresh_image() for _ in range(images)]

    def _image_id(self) -> str:
        return self._fresh.pop()

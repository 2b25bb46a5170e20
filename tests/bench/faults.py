# SPDX-License-Identifier: Apache-2.0
"""Several managers at once, and what it costs when a worker is killed.

A worker is killed when it has written down what it is to make and waits for
the object store, which is paused until then: as deep in a request as can be.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from concurrent import futures
import contextlib
import time
from typing import Any
import uuid

from oslo_context import context
import oslo_messaging as messaging
import psutil
import sqlalchemy as sa

from rbdcloner import rpc
from rbdcloner import rpcapi
from tests.bench import measuring
from tests.bench.librbd import Librbd
from tests.bench.service import PROJECT
from tests.bench.service import Service
from tests.bench.testbed import Testbed
from tests.stack import process

#: Longer than anybody would wait: to see how long it would take.
TIMEOUT_S = 300
_CALLER_PROCESSES = 2
_WARM_DISKS = 8


class Managers(Service):
    """So many managers on one database, with two workers each."""

    def __init__(self, bed: Testbed, admin: Librbd, count: int) -> None:
        self.name = f'managers-{count}'
        self.database_url = bed.start_managers(self.name, 'mariadb', count)
        super().__init__(bed, admin, self.name, _CALLER_PROCESSES)


class Killed:
    """Disks whose worker is killed while it makes them."""

    def __init__(self, bed: Testbed, managers: Managers) -> None:
        self._bed = bed
        self._managers = managers
        self._database = sa.create_engine(managers.database_url)
        bed.callback(self._database.dispose)

    def create(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Measure from each kill to the caller's answer."""
        conf = self._bed.managers[self._managers.name].load_conf()
        api = rpcapi.API.from_conf(conf, timeout_s=TIMEOUT_S)
        caller = context.RequestContext(project_id=PROJECT)
        return self._each(
            names,
            lambda name: api.create_disk(caller, **self._asked(name)),
            lambda name, call: call.result(),
        )

    def get(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Measure from each kill to the row's end, if nobody asks again."""
        conf = self._bed.managers[self._managers.name].load_conf()
        transport = rpc.transport(conf)
        client = rpc.client(transport, None).prepare(timeout=1)

        def once(name: str) -> None:
            with contextlib.suppress(messaging.MessagingTimeout):
                client.call({}, 'create_disk', **self._asked(name))

        try:
            others = [f'{uuid.uuid4()}_disk' for _ in names]
            return self._each(others, once, self._wait_final)
        finally:
            transport.cleanup()

    def remove(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Delete the disks of these names."""
        return self._managers.remove(names, threads)

    def _each(
        self,
        names: Sequence[str],
        call: Callable[[str], Any],
        wait: Callable[[str, futures.Future[Any]], Any],
    ) -> measuring.Block:
        seconds = []
        begun = time.monotonic()
        for name in names:
            with futures.ThreadPoolExecutor(1) as pool:
                killed, called = self._kill(name, pool, call)
                wait(name, called)
                seconds.append(time.monotonic() - killed)
        return measuring.Block(seconds, begun, time.monotonic())

    def _kill(
        self,
        name: str,
        pool: futures.Executor,
        call: Callable[[str], Any],
    ) -> tuple[float, futures.Future[Any]]:
        """Call; kill who works on it; when, and the call."""
        # A worker that has not looked at the image reserves nothing.
        warm = [f'{uuid.uuid4()}_disk' for _ in range(_WARM_DISKS)]
        self._managers.create(warm, _CALLER_PROCESSES)
        self._managers.remove(warm, _CALLER_PROCESSES)
        ceph = self._bed.servers.ceph
        ceph.pause('osd')
        try:
            called = pool.submit(call, name)
            process.wait_until(
                lambda: self._row(name)[0], 'the worker that has the request'
            )
            host_pid_id, _ = self._row(name)
            psutil.Process(int(host_pid_id.split(':')[-2])).kill()
            return time.monotonic(), called
        finally:
            ceph.resume('osd')

    def _wait_final(self, name: str, _: futures.Future[Any]) -> None:
        process.wait_until(
            lambda: self._row(name)[1] in ('ready', 'failed'),
            'the end of what the killed worker left',
            TIMEOUT_S,
        )
        if self._row(name)[1] == 'ready':
            self._managers.remove([name], 1)

    def _row(self, name: str) -> tuple[str, str]:
        """Return the row's owner and state, empty where there is none."""
        query = sa.text(
            'SELECT owner, state FROM clones WHERE name = :name ORDER BY id'
        )
        with self._database.connect() as connection:
            found = connection.execute(query, {'name': name}).all()
        owner, state = found[-1] if found else ('', '')
        return owner or '', state

    def _asked(self, name: str) -> dict[str, Any]:
        return {
            'image_id': self._bed.image_id,
            'name': name,
            'size_bytes': self._bed.DISK_BYTES,
            'pool': self._managers.pool,
            'instance_uuid': name.partition('_')[0],
            'project_id': PROJECT,
            'host': 'compute-1',
        }

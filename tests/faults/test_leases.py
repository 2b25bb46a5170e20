# SPDX-License-Identifier: Apache-2.0
"""A worker that is stopped past its lease, and two that are asked at once."""

from concurrent import futures
import json
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any
from typing import ClassVar
import uuid

import rados

from tests.functional import service
from tests.stack import manager

LEASE_S = 3
#: A clone takes no longer, mostly.
CLONE_S = 0.05
PATIENCE_S = 60


class Lone:
    """A worker in a process of its own; see ``lone_worker``."""

    def __init__(self, conf: Any, *mode: str) -> None:
        program = [sys.executable, '-m', 'tests.functional.lone_worker']
        self._process = subprocess.Popen(
            [*program, str(conf), *mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.owner = self.said()

    def ask(self, **request: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + '\n')
        self._process.stdin.flush()

    def said(self) -> str:
        """Return the next line that it says."""
        assert self._process.stdout is not None
        timer = threading.Timer(PATIENCE_S, self._process.kill)
        timer.start()
        try:
            return self._process.stdout.readline().strip()
        finally:
            timer.cancel()

    def answer(self) -> list[str]:
        """Return what it says of a request, its answer the last."""
        said = [self.said()]
        while said[-1] in ('in', 'connected', 'out'):
            said.append(self.said())
        return said

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.go_on()
        self._process.kill()
        self._process.communicate()


class StoppedTest(service.ServiceTest):
    database: ClassVar[str] = 'mariadb'
    options: ClassVar[dict[str, dict[str, object]]] = {
        'DEFAULT': {'lease': LEASE_S}
    }

    def in_rados(self) -> dict[str, tuple[int, int, dict[str, bytes]]]:
        """Return every object of the pools: version, size, attributes."""
        found = {}
        for pool in ('vms', 'images'):
            with self.pool(pool) as ioctx:
                for each in list(ioctx.list_objects()):
                    try:
                        size, _ = ioctx.stat(each.key)
                        version = ioctx.get_last_version()
                        attributes = dict(ioctx.get_xattrs(each.key))
                    except rados.ObjectNotFound:
                        continue
                    found[f'{pool}/{each.key}'] = (version, size, attributes)
        return found

    def test_who_is_stopped_inside_a_clone_does_nothing_more(self) -> None:
        """Another finishes it; awake, it finds that out and serves on."""
        inside = 0
        for _ in range(12):
            inside += self._stopped_once()
            if inside == 3:
                return
        self.assertGreater(inside, 0, 'no stop fell into a clone')

    def test_a_paused_machine_does_nothing_with_an_old_permit(self) -> None:
        """Its clock stands still, and its connection is blocklisted."""
        worker = Lone(self.manager.conf, 'machine')
        try:
            asked = self.asked()
            worker.ask(**asked)
            self.assertEqual('in', worker.said())
            self.assertEqual('cloned', worker.said())
            worker.stop()
            disk = self.create(**asked)
            left = self.in_rados()
            worker.go_on()
            # Another thread of it connects anew.
            self.assertEqual(
                ['connected', 'out', 'LeaseLost'], worker.answer()
            )
            self.assertEqual(left, self.in_rados())
            self.assertEqual(
                [(disk['name'], 'ready')],
                self.rows(f"name = '{disk['name']}'"),
            )
        finally:
            worker.end()

    def _stopped_once(self) -> bool:
        worker = Lone(self.manager.conf)
        try:
            asked = self.asked()
            worker.ask(**asked)
            self.assertEqual('in', worker.said())
            # Anywhere in it: only librbd knows where.
            time.sleep(random.uniform(0, CLONE_S))
            worker.stop()
            disk = self.create(**asked)
            left = self.in_rados()
            worker.go_on()
            said = worker.answer()
            self.assertEqual(left, self.in_rados())
            self.assertEqual(
                [(disk['name'], 'ready')],
                self.rows(f"name = '{disk['name']}' AND state = 'ready'"),
            )
            if said[-1] != 'READY':
                self.assertIn(said[-1], ('LeaseLost', 'RowMoved', 'ShutOut'))
                shut_out = (
                    'SELECT owner FROM workers WHERE shut_out_at IS NOT NULL'
                )
                self.assertIn((worker.owner,), self.select(shut_out))
            # It connects anew, once it has heard of it.
            other = {**asked, 'name': f'{uuid.uuid4()}_disk'}
            worker.ask(**other)
            heard = worker.answer()
            if said[-1] != 'ShutOut' and heard[-1] == 'ShutOut':
                worker.ask(**other)
                heard = worker.answer()
            self.assertEqual(['in', 'out', 'READY'], heard)
        finally:
            worker.end()
        return said[0] != 'out'


class AtOnceTest(service.ServiceTest):
    database: ClassVar[str] = 'mariadb'

    def test_two_that_ask_for_a_disk_at_once_get_one_clone(self) -> None:
        with manager.Manager(
            self.servers,
            self.database_url,
            name=f'{self.manager.name}-another',
        ):
            self._ask_at_once()

    def _ask_at_once(self) -> None:
        another = self.manager.client()
        for _ in range(20):
            asked = self.asked()
            barrier = threading.Barrier(2)

            def ask(api: Any, asked=asked, barrier=barrier) -> Any:
                barrier.wait()
                return api.create_disk(self.ctxt, **asked)

            with futures.ThreadPoolExecutor(2) as pool:
                one, two = pool.map(ask, (self.api, another))
            self.assertEqual(one, two)
            self.assertEqual(
                [(one['name'], 'ready')], self.rows(f"name = '{one['name']}'")
            )

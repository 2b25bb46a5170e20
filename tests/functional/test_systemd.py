# SPDX-License-Identifier: Apache-2.0
"""What systemd is told by a manager, and the unit that has it started."""

import os
import signal
import socket
import time
from typing import Any

import fixtures
import psutil

from tests.functional import service
from tests.stack import manager
from tests.stack import process

WITHIN_S = 60


class SystemdTest(service.ServiceTest):
    """A manager that is started as systemd does; no other one answers."""

    def setUp(self) -> None:
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.address = os.path.join(folder, 'notify')
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.bind(self.address)
        self.socket.settimeout(WITHIN_S)
        other = self.manager.daemons[self.manager.name]
        other.stop(timeout_s=WITHIN_S)
        self.addCleanup(other.start)

    def start(self, **options: Any) -> manager.Manager:
        """Start the manager, and wait for nothing."""
        one = manager.Manager(
            self.servers,
            self.database_url,
            name=f'{self.manager.name}-{time.monotonic_ns()}',
            options=options,
            wait=False,
        )
        with fixtures.EnvironmentVariable('NOTIFY_SOCKET', self.address):
            one.setUp()
        self.addCleanup(one.cleanUp)
        return one

    def master(self, one: manager.Manager) -> psutil.Process:
        running = one.daemons[one.name].process
        assert running is not None
        return running

    def hear(self) -> str:
        return self.socket.recv(1024).decode()

    def wait_for_its_end(self, one: manager.Manager) -> None:
        daemon = one.daemons[one.name]
        process.wait_until(lambda: not daemon.running, 'the end', WITHIN_S)

    def test_ready_is_who_answers(self) -> None:
        one = self.start()
        self.assertEqual('READY=1', self.hear())
        self.assertEqual(2, one.output.count('answers on'))
        self.assertEqual(2, self.api.ping(self.ctxt)['workers'])
        os.kill(self.master(one).pid, signal.SIGHUP)
        reloading, _, since = self.hear().partition('\n')
        self.assertEqual('RELOADING=1', reloading)
        self.assertTrue(since.startswith('MONOTONIC_USEC='))
        self.assertEqual('READY=1', self.hear())
        self.assertEqual(4, one.output.count('answers on'))
        self.master(one).terminate()
        self.assertEqual('STOPPING=1', self.hear())
        self.wait_for_its_end(one)
        self.assertEqual(4, one.output.count('has finished'))

    def test_who_cannot_work_is_never_ready(self) -> None:
        self.wait_for_its_end(self.start(ceph={'disk_pools': 'nowhere'}))
        self.socket.setblocking(False)
        self.assertRaises(BlockingIOError, self.hear)

    def test_who_ends_before_it_answers_ends_at_once(self) -> None:
        """Without a broker no worker ever begins."""
        url = 'rabbit://nobody:none@127.0.0.1:1/'
        one = self.start(DEFAULT={'transport_url': url})
        process.wait_until(
            lambda: 'Starting the workers' in one.output, 'it', WITHIN_S
        )
        process.wait_until(
            lambda: len(self.master(one).children()) == 2, 'them', WITHIN_S
        )
        self.master(one).terminate()
        self.assertEqual('STOPPING=1', self.hear())
        began = time.monotonic()
        self.wait_for_its_end(one)
        self.assertLess(time.monotonic() - began, WITHIN_S / 3)
        self.assertNotIn('Traceback', one.output)
        self.assert_becomes(
            [],
            lambda: self.select(
                'SELECT host FROM workers WHERE stopped_at IS NULL'
            ),
        )

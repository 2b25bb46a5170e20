# SPDX-License-Identifier: Apache-2.0
"""The client: where it can be used, and what it makes of what gets lost."""

from collections.abc import Callable
from collections.abc import Iterator
from concurrent import futures
import contextlib
import json
import multiprocessing
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import psutil
from testtools import matchers

from rbdcloner import errors
from rbdcloner import rpcapi
from tests.functional import service
from tests.stack import process

#: A worker that is killed is noticed, and its row is free, before that.
ANSWERED_S = 10


class ClientTest(service.ServiceTest):
    """A manager of two workers."""

    database = 'mariadb'
    client_timeout_s = 120

    def workers(self) -> list[psutil.Process]:
        """Return the workers that answer, the oldest first."""
        daemon = self.manager.daemons[self.manager.name].process
        assert daemon is not None
        alive = {each.pid: each for each in daemon.children()}
        begun = re.findall(r'Worker (\d+) answers', self.manager.output)
        return [alive[pid] for pid in map(int, begun) if pid in alive]

    @contextlib.contextmanager
    def callers(
        self, count: int, call: Callable[[], Any]
    ) -> Iterator[list[Any]]:
        """Repeat *call* in threads for as long as the body lasts.

        Yields what they return, or raise.
        """
        done = threading.Event()
        results: list[Any] = []

        def repeat() -> None:
            while not done.is_set():
                try:
                    results.append(call())
                except errors.Error as exc:
                    results.append(exc)

        with futures.ThreadPoolExecutor(count) as pool:
            running = [pool.submit(repeat) for _ in range(count)]
            try:
                yield results
            finally:
                done.set()
        for each in running:
            each.result()

    def assert_made_once(self, disks: list[Any]) -> None:
        """Assert that all are disks, each with one row and one image."""
        failed = [each for each in disks if isinstance(each, Exception)]
        self.assertEqual([], failed)
        uuids = {each['uuid'] for each in disks}
        self.assertThat(uuids, matchers.HasLength(len(disks)))
        names = sorted(each['name'] for each in disks)
        rows = self.rows("state = 'ready'")
        self.assertEqual(names, sorted(name for name, _ in rows))
        self.assertEqual(set(names), self.in_ceph() - self.before)


class WhereTest(ClientTest):
    def test_threads_share_a_client(self) -> None:
        api = self.manager.client()
        with futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: api.ping(self.ctxt), range(160)))
        self.assertEqual(
            [self.servers.ceph.fsid] * 160, [each['fsid'] for each in answers]
        )

    def test_closed_client_has_no_connection_and_can_be_used(self) -> None:
        before = self._connections()
        api = self.manager.client()
        api.ping(self.ctxt)
        self.assertGreater(self._connections(), before)
        for _ in range(2):
            api.close()
            self.assert_becomes(before, self._connections)
        self.assertIn('fsid', api.within(60).ping(self.ctxt))
        api.close()
        self.assert_becomes(before, self._connections)

    def _connections(self) -> int:
        """Return how many connections to the broker this process has."""
        port = self.servers.rabbitmq.settings['port']
        return sum(
            bool(each.raddr) and each.raddr.port == port
            for each in psutil.Process().net_connections('tcp')
        )

    def test_client_works_on_both_sides_of_a_fork(self) -> None:
        disk = self.create()
        used, unused = self.manager.client(), self.manager.client()
        used.ping(self.ctxt)
        for api in (used, unused):
            with self.subTest(used=api is used):
                said = self.in_a_child(
                    lambda api=api: api.get_disk(
                        self.ctxt, disk['name'], 'vms'
                    )['uuid']
                )
                self.assertEqual(disk['uuid'], said)
                for _ in range(10):
                    found = api.get_disk(self.ctxt, disk['name'], 'vms')
                    self.assertEqual(disk['uuid'], found['uuid'])

    def test_fork_in_the_middle_of_calls(self) -> None:
        api = self.manager.client()
        with self.callers(4, lambda: api.ping(self.ctxt)) as answers:
            process.wait_until(lambda: len(answers) > 20, 'calls')
            said = self.in_a_child(lambda: api.ping(self.ctxt)['fsid'])
            self.assertEqual(self.servers.ceph.fsid, said)
            before = len(answers)
            process.wait_until(lambda: len(answers) > before + 20, 'calls')
        self.assertEqual(
            [], [each for each in answers if isinstance(each, Exception)]
        )

    def in_a_child(self, call: Callable[[], Any]) -> Any:
        """Return what a forked process returns."""
        here, there = multiprocessing.Pipe()
        child = multiprocessing.get_context('fork').Process(
            target=lambda: there.send(call())
        )
        child.start()
        try:
            self.assertTrue(here.poll(60), 'the child says nothing')
            return here.recv()
        finally:
            child.kill()
            child.join()

    def test_green_threads_share_a_client(self) -> None:
        command = [sys.executable, '-m', 'tests.functional.green_caller']
        done = subprocess.run(
            [*command, self.manager.conf, '200'],
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.assertEqual(0, done.returncode, done.stderr)
        said = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(200, said['answers'])
        self.assertEqual([self.servers.ceph.fsid], said['fsids'])
        self.assertThat(said['ticks'], matchers.GreaterThan(20))


class BrokerTest(ClientTest):
    """RabbitMQ goes away and comes back; the manager is never restarted."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.servers.rabbitmq.start)

    def test_calls_get_their_answer_from_a_broker_that_was_killed(
        self,
    ) -> None:
        with self.callers(4, self.create) as disks:
            process.wait_until(lambda: len(disks) > 8, 'disks')
            self.servers.rabbitmq.kill('rabbitmq')
            self.servers.rabbitmq.start('rabbitmq')
            before = len(disks)
            process.wait_until(
                lambda: len(disks) > before + 8, 'disks, again', 90
            )
        self.assert_made_once(disks)

    def test_calls_survive_that_all_connections_are_closed(self) -> None:
        with self.callers(4, self.create) as disks:
            for number in range(1, 6):
                process.wait_until(
                    lambda number=number: len(disks) >= number * 10,
                    'disks',
                    300,
                )
                self.servers.rabbitmq.close_all_connections()
            process.wait_until(lambda: len(disks) >= 60, 'disks', 300)
        self.assert_made_once(disks)

    def test_first_call_waits_for_the_broker(self) -> None:
        self.servers.rabbitmq.kill('rabbitmq')
        api = self.manager.client()
        with futures.ThreadPoolExecutor(1) as pool:
            call = pool.submit(api.ping, self.ctxt)
            self.servers.rabbitmq.start('rabbitmq')
            self.assertEqual(self.servers.ceph.fsid, call.result()['fsid'])

    def test_broker_that_is_gone_has_a_name_in_time(self) -> None:
        warm, cold = (self.manager.client(timeout_s=5) for _ in range(2))
        warm.ping(self.ctxt)
        self.servers.rabbitmq.kill('rabbitmq')
        for api in (warm, cold):
            began = time.monotonic()
            raised = self.assertRaises(
                errors.ServiceUnavailable, api.ping, self.ctxt
            )
            took = time.monotonic() - began
            self.assertThat(took, matchers.LessThan(ANSWERED_S))
            self.assertIn('since', str(raised))
            self.assertNotIn('secret', str(raised))

    def test_broker_that_hangs_has_a_name_in_time(self) -> None:
        api = self.manager.client(timeout_s=5)
        api.ping(self.ctxt)
        self.servers.rabbitmq.pause('rabbitmq')
        try:
            began = time.monotonic()
            self.assertRaises(errors.ServiceUnavailable, api.ping, self.ctxt)
            took = time.monotonic() - began
        finally:
            self.servers.rabbitmq.resume('rabbitmq')
        self.assertThat(took, matchers.LessThan(30))
        self.assertEqual(
            self.servers.ceph.fsid, self.api.ping(self.ctxt)['fsid']
        )


class AlarmTest(ClientTest):
    """RabbitMQ takes no messages, and still sends heartbeats."""

    #: Longer than RabbitMQ is silent: by a timeout less than that
    #: oslo.messaging itself ends a publish.
    TIMEOUT_S = 70

    def test_calls_return_by_their_deadline(self) -> None:
        api = self.manager.client(timeout_s=self.TIMEOUT_S)
        cold = self.manager.client(timeout_s=5)
        api.ping(self.ctxt)
        with (
            self.servers.rabbitmq.memory_alarm(),
            futures.ThreadPoolExecutor(8) as pool,
        ):
            began = time.monotonic()
            calls = [pool.submit(api.ping, self.ctxt) for _ in range(4)]
            for client in (cold, cold, api.within(5)):
                started = time.monotonic()
                self.assert_unavailable(pool.submit(client.ping, self.ctxt))
                self.assertThat(
                    time.monotonic() - started, matchers.LessThan(5 + 3)
                )
            for call in calls:
                self.assert_unavailable(call)
            took = time.monotonic() - began
        self.assertThat(took, matchers.LessThan(self.TIMEOUT_S + 3))
        for client in (api, cold):
            self.assertEqual(
                self.servers.ceph.fsid, client.ping(self.ctxt)['fsid']
            )

    def test_call_is_answered_when_the_alarm_is_over(self) -> None:
        self.api.ping(self.ctxt)
        with futures.ThreadPoolExecutor(1) as pool:
            with self.servers.rabbitmq.memory_alarm():
                call = pool.submit(self.create)
                time.sleep(8)
                self.assertFalse(call.done())
            self.assertEqual('ready', call.result()['state'])

    def test_silence_is_told_soon(self) -> None:
        api = rpcapi.API.from_conf(
            self.manager.load_conf(), timeout_s=60, silence_s=8
        )
        api.ping(self.ctxt)
        began = time.monotonic()
        with self.servers.rabbitmq.memory_alarm():
            self.assertRaises(errors.ServiceUnavailable, api.ping, self.ctxt)
            took = time.monotonic() - began
        self.assertThat(took, matchers.LessThan(8 + 6 + 3))

    def assert_unavailable(self, call: 'futures.Future[Any]') -> None:
        raised = self.assertRaises(errors.ServiceUnavailable, call.result)
        # By our clock or by amqp's, whose timeout is as long.
        self.assertRegex(str(raised), 'broker does not answer|timed out')


class RefusedTest(ClientTest):
    """RabbitMQ refuses the client, and will for ever."""

    def test_refusals_are_told_at_once(self) -> None:
        url = self.servers.rabbitmq.url
        password = self.servers.rabbitmq.settings['password']
        for wrong, said in (
            (url.replace(password, 'guessed'), 'ACCESS_REFUSED'),
            (f'{url}elsewhere', 'vhost elsewhere not found'),
            (f'{url}?amqp_auto_delete=true', 'auto_delete'),
        ):
            with self.subTest(said):
                api = rpcapi.API.from_conf(self.manager.load_conf(), wrong)
                began = time.monotonic()
                raised = self.assertRaises(
                    errors.ConfigurationError, api.ping, self.ctxt
                )
                took = time.monotonic() - began
                self.assertThat(took, matchers.LessThan(ANSWERED_S))
                self.assertIn(said, str(raised))
                self.assertNotIn(password, str(raised))


class StoppedTest(ClientTest):
    """A worker does nothing, but is there."""

    def test_stopped_worker_keeps_few_requests(self) -> None:
        disk = self.create()
        victim = self.workers()[0]
        victim.send_signal(signal.SIGSTOP)
        self.addCleanup(victim.send_signal, signal.SIGCONT)
        began = time.monotonic()
        for _ in range(20):
            found = self.api.get_disk(self.ctxt, disk['name'], 'vms')
            self.assertEqual(disk['uuid'], found['uuid'])
        # What its memory had room for before is lost; the rest is not.
        self.assertThat(time.monotonic() - began, matchers.LessThan(30))


class KilledTest(ClientTest):
    """A worker goes away with a request."""

    def hold(self) -> tuple[str, int, 'futures.Future[Any]']:
        """Begin a create that cannot go on; its name, and who holds it.

        The object store is paused, and it is for the caller to resume it.
        """
        for _ in range(8):
            self.create()
        asked = self.asked()
        self.servers.ceph.pause('osd')
        self.addCleanup(self.servers.ceph.resume, 'osd')
        call = self.threads.submit(self.api.create_disk, self.ctxt, **asked)
        query = f"SELECT owner FROM clones WHERE name = '{asked['name']}'"  # noqa: S608
        process.wait_until(
            lambda: [each for (each,) in self.select(query) if each],
            'the reservation',
        )
        ((owner,),) = self.select(query)
        return asked['name'], int(owner.split(':')[1]), call

    def setUp(self) -> None:
        super().setUp()
        self.threads = futures.ThreadPoolExecutor(20)
        self.addCleanup(self.threads.shutdown)

    def test_caller_is_answered_soon_after_its_worker_was_killed(
        self,
    ) -> None:
        name, pid, call = self.hold()
        psutil.Process(pid).kill()
        killed = time.monotonic()
        self.servers.ceph.resume('osd')
        disk = call.result()
        took = time.monotonic() - killed
        self.assertThat(took, matchers.LessThan(ANSWERED_S))
        self.assertEqual((name, 'ready'), (disk['name'], disk['state']))
        self.assertEqual([(name, 'ready')], self.rows(f"name = '{name}'"))

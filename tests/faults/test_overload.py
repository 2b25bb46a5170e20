# SPDX-License-Identifier: Apache-2.0
"""More requests than a worker can do."""

from concurrent import futures
import http.server
import threading
import time
from typing import Any
from typing import ClassVar
import uuid

import oslo_messaging as messaging
import requests
from testtools import matchers

from rbdcloner import errors
from rbdcloner import rpc
from rbdcloner import rpcapi
from tests import stack
from tests.faults import slow_program
from tests.functional import service
from tests.stack import manager
from tests.stack import process

#: Deletions in all.
MANY = 200


class SlowManager(manager.Manager):
    """A manager whose deletions take a second more."""

    def _make_daemons(self) -> list[process.Daemon]:
        return [
            process.Daemon(
                self.name,
                self.stack_folder,
                [*slow_program.COMMAND, '--config-file', self.conf],
                self._answers,
                env={'TMPDIR': str(self.folder)},
            )
        ]


class SlowProxy:
    """Answers as Glance does, ``delay_s`` later."""

    def __init__(self, upstream: str) -> None:
        self.delay_s = 0.0
        self.waiting = 0
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxy.waiting += 1
                time.sleep(proxy.delay_s)
                proxy.waiting -= 1
                answer = requests.get(upstream + self.path, timeout=30)
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name.lower().startswith(('x-', 'content-type')):
                        self.send_header(name, value)
                self.send_header('Content-Length', str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *arguments: Any) -> None:
                """Write nothing: the manager's log has the same."""

        self._server = http.server.ThreadingHTTPServer(
            ('127.0.0.1', 0), Handler
        )
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever).start()
        self.url = f'http://127.0.0.1:{self._server.server_port}'

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


class OverloadTest(service.ServiceTest):
    """One worker."""

    database = 'mariadb'
    options = {'DEFAULT': {'workers': 1}}  # noqa: RUF012
    client_timeout_s = 120

    def setUp(self) -> None:
        super().setUp()
        self.threads = futures.ThreadPoolExecutor(MANY)
        self.addCleanup(self.threads.shutdown)


class FairnessTest(OverloadTest):
    """Deletions that take long, more than can wait."""

    kind = SlowManager

    def test_creations_are_answered_amid_slow_deletions(self) -> None:
        disks = list(self.threads.map(lambda _: self.create(), range(MANY)))
        deletions = [self.threads.submit(self.delete, disk) for disk in disks]
        process.wait_until(
            lambda: self.manager.output.count('delete_disk: ServiceBusy') > 20,
            'refusals',
        )
        took, began_all = [], time.monotonic()
        while sum(each.done() for each in deletions) < MANY * 3 // 4:
            began = time.monotonic()
            self.assertEqual('ready', self.create()['state'])
            took.append(time.monotonic() - began)
        # None waited for the deletions before it, on whatever machine.
        self.assertThat(
            max(took), matchers.LessThan((time.monotonic() - began_all) / 2)
        )
        self.assertThat(len(took), matchers.GreaterThan(10))
        states = {each.result()['state'] for each in deletions}
        # One that was repeated may be told of what was destroyed meanwhile.
        self.assertEqual(set(), states - {'retired', 'deleted'})

    def delete(self, disk: rpcapi.Disk) -> rpcapi.Disk:
        return self.api.delete_disk(self.ctxt, disk['name'], disk['pool'])


class SlowGlanceTest(OverloadTest):
    """Creations that all wait for Glance."""

    proxy: ClassVar[SlowProxy]

    @classmethod
    def setUpClass(cls) -> None:
        cls.proxy = SlowProxy(stack.shared().glance.url)
        cls.addClassCleanup(cls.proxy.close)
        url = cls.proxy.url
        cls.options = {
            **OverloadTest.options,
            'glance': {'endpoint': url, 'endpoint_override': url},
        }
        super().setUpClass()

    def test_disks_are_deleted_and_read_meanwhile(self) -> None:
        disks = [self.create() for _ in range(4)]
        self.proxy.delay_s = 5
        self.addCleanup(setattr, self.proxy, 'delay_s', 0)
        # It takes Glance as long to say that it has no such image.
        creations = [
            self.threads.submit(self.create, image_id=str(uuid.uuid4()))
            for _ in range(100)
        ]
        process.wait_until(lambda: self.proxy.waiting >= 8, 'requests')
        for disk in disks:
            found = self.api.get_disk(self.ctxt, disk['name'], 'vms')
            self.assertEqual(disk['uuid'], found['uuid'])
            gone = self.api.delete_disk(self.ctxt, disk['name'], 'vms')
            self.assertEqual('retired', gone['state'])
        # Not one of the threads that wait for Glance did that.
        self.assertFalse(all(each.done() for each in creations))
        self.proxy.delay_s = 0
        for each in creations:
            self.assertIsInstance(each.exception(), errors.ImageNotFound)


class WaitingTest(OverloadTest):
    """What waits: in the broker, in the worker, for nothing."""

    def client(self, timeout_s: float) -> messaging.RPCClient:
        """Return what sends a request once."""
        transport = rpc.transport(self.manager.load_conf())
        self.addCleanup(transport.cleanup)
        return rpc.client(transport, None).prepare(timeout=timeout_s)

    def test_request_leaves_the_broker_with_its_caller(self) -> None:
        client = self.client(timeout_s=2)
        client.call({}, 'ping')
        self.manager.stop()
        self.addCleanup(self.manager.start)
        name = str(uuid.uuid4())
        self.assertRaises(
            messaging.MessagingTimeout,
            client.call,
            {},
            'get_disk',
            name=name,
            pool='vms',
        )
        self.assert_becomes(0, self.in_queue, within_s=5)
        self.manager.start()
        self.api.ping(self.ctxt)
        self.assertNotIn('get_disk', self.manager.output)

    def in_queue(self) -> int:
        """Return how many requests wait in the broker."""
        listed = self.servers.rabbitmq.ctl('list_queues', 'name', 'messages')
        lines = (line.split() for line in listed.splitlines())
        return sum(int(line[1]) for line in lines if line[:1] == [rpc.TOPIC])

    def test_worker_refuses_at_once_and_what_it_takes_it_does(self) -> None:
        client = self.client(timeout_s=60)
        disk = self.create()
        caller = rpc.Caller().pack()
        self.servers.ceph.pause('osd')
        try:
            sent = [
                self.threads.submit(
                    client.call, caller, 'create_disk', **self.asked()
                )
                for _ in range(100)
            ]
            process.wait_until(
                lambda: sum(each.done() for each in sent) >= 100 - 11 - 23,
                'refusals',
                20,
            )
        finally:
            self.servers.ceph.resume('osd')
        failed = [each.exception() for each in sent if each.exception()]
        self.assertThat(failed, matchers.HasLength(100 - 11 - 23))
        self.assertEqual(
            {('ServiceBusy', 23)},
            {
                (each.name.removesuffix('_Remote'), each.kwargs['waiting'])
                for each in failed
            },
        )
        self.assertEqual(
            disk, self.api.get_disk(self.ctxt, disk['name'], 'vms')
        )

    def test_methods_that_do_not_exist_leave_no_thread(self) -> None:
        client = self.client(timeout_s=20)
        daemon = self.manager.daemons[self.manager.name].process
        assert daemon is not None
        (worker,) = daemon.children()
        caller = rpc.Caller().pack()
        client.call(caller, 'ping')
        before = worker.num_threads()
        for _ in range(40):
            self.assertRaises(
                errors.VersionRefused,
                client.prepare(call_monitor_timeout=4).call,
                caller,
                'nothing',
            )
        process.wait_until(
            lambda: worker.num_threads() < before + 20, 'their end', 20
        )

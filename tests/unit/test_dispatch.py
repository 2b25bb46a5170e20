# SPDX-License-Identifier: Apache-2.0
"""What a worker takes, and what it answers instead of doing it."""

from concurrent import futures
import threading
from typing import Any

import fixtures
import oslo_messaging as messaging
from oslo_messaging.rpc import server
from testtools import matchers

from rbdcloner import calling
from rbdcloner import dispatch
from rbdcloner import errors
from rbdcloner import rpc
from tests.stack import process
from tests.unit import wire


class Endpoint:
    """Works, or destroys, until it is let go."""

    target = messaging.Target(version=rpc.VERSION)

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go = threading.Event()

    def ping(self, ctxt: dict[str, Any]) -> None:
        """Answer nothing, as far as a client cares."""

    def work(self, ctxt: dict[str, Any], name: str = '') -> str:
        self.begun.append(name)
        self.go.wait(60)
        return name

    def destroy(self, ctxt: dict[str, Any], name: str = '') -> str:
        return self.work(ctxt, name)

    def make(self, ctxt: dict[str, Any], name: str = '') -> str:
        return self.work(ctxt, name)

    def hello(self, ctxt: dict[str, Any]) -> str:
        return 'hello'


class ServerTest(wire.WireTest):
    def setUp(self) -> None:
        super().setUp()
        self.endpoint = Endpoint()
        self.pool = futures.ThreadPoolExecutor(40)
        self.addCleanup(self.pool.shutdown)

    def begin(self, threads: int, places: int) -> None:
        self.serve(self.endpoint, threads, places)
        self.addCleanup(self.endpoint.go.set)

    def send(
        self, method: str, count: int, patience_s: float = 60, **given: Any
    ) -> list[futures.Future[Any]]:
        """Send requests as a client does once, without asking again."""
        client = rpc.client(self.transport, None).prepare(timeout=60)
        caller = rpc.Caller(patience_s=patience_s).pack()
        return [
            self.pool.submit(client.call, caller, method, **given)
            for _ in range(count)
        ]

    def wait_begun(self, count: int) -> None:
        process.wait_until(
            lambda: len(self.endpoint.begun) == count, 'the beginning', 20
        )

    def failures(
        self, sent: list[futures.Future[Any]], count: int
    ) -> list[BaseException | None]:
        """Return the first *count* that come, which must be failures."""
        process.wait_until(
            lambda: sum(each.done() for each in sent) >= count, 'answers', 20
        )
        return [each.exception() for each in sent if each.done()]

    def test_refusal_needs_no_thread_of_the_pool(self) -> None:
        self.begin(threads=2, places=3)
        sent = self.send('work', 10)
        failed = self.failures(sent, 5)
        self.assertEqual(
            [(errors.ServiceBusy, {'waiting': 3})] * 5,
            [(type(each), each.kwargs) for each in failed],
        )
        self.endpoint.go.set()
        answers = [each for each in sent if each.exception() is None]
        self.assertThat(answers, matchers.HasLength(5))

    def test_reads_are_answered_amid_deletions_and_creations(self) -> None:
        self.begin(threads=4, places=8)
        deletions = self.send('destroy', 30)
        self.failures(deletions, 30 - 2 - 5)
        creations = self.send('make', 30)
        self.failures(creations, 30 - 1 - 2)
        for _ in range(20):
            (hello,) = self.send('hello', 1)
            self.assertEqual('hello', hello.result(20))
        self.assertThat(self.endpoint.begun, matchers.HasLength(2 + 1))

    def test_request_that_waited_too_long_is_not_begun(self) -> None:
        self.begin(threads=1, places=8)
        (busy,) = self.send('work', 1)
        self.wait_begun(1)
        late = self.send('work', 2, patience_s=1e-9, name='late')
        (patient,) = self.send('work', 1, name='patient')
        self.endpoint.go.set()
        for each in late:
            self.assertIsInstance(each.exception(20), errors.RequestExpired)
        self.assertEqual('patient', patient.result(20))
        self.assertEqual(['', 'patient'], self.endpoint.begun)
        self.assertEqual('', busy.result(20))

    def test_stopping_answers_what_waits(self) -> None:
        self.begin(threads=1, places=8)
        sent = self.send('work', 5)
        self.wait_begun(1)
        self.endpoint.go.set()
        self.assertEqual([''] * 5, [each.result(20) for each in sent])

    def test_refusals_are_told_in_the_log(self) -> None:
        log = self.useFixture(fixtures.FakeLogger())
        self.begin(threads=1, places=0)
        self.send('work', 1)
        self.wait_begun(1)
        (refused,) = self.send('work', 1)
        self.assertIsInstance(refused.exception(20), errors.ServiceBusy)
        self.assertIn('work: ServiceBusy', log.output)

    def test_call_survives_a_full_worker(self) -> None:
        self.begin(threads=1, places=1)
        sent = self.send('work', 8)
        self.failures(sent, 6)
        calls = self.pool.submit(
            self.call, calling.Calls(lambda: self.transport, None, 20), 'hello'
        )
        self.endpoint.go.set()
        self.assertEqual('hello', calls.result(20))

    def test_installed_oslo_messaging_has_what_the_server_uses(self) -> None:
        dispatch.check(self.transport)

    def test_renamed_part_of_oslo_messaging_is_named(self) -> None:
        class Renamed(server.RPCServer):
            def __init__(self, *given: Any) -> None:
                super().__init__(*given)
                del self._work_executor

        refused = self.assertRaises(
            errors.ConfigurationError, dispatch.check, self.transport, Renamed
        )
        self.assertThat(
            str(refused), matchers.Contains('it has no _work_executor. ')
        )

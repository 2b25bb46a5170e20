# SPDX-License-Identifier: Apache-2.0
"""What a client asks again about, and what it says in the end."""

from collections.abc import Callable
from collections.abc import Iterator
import socket
import threading
import time
from typing import Any

from oslo_config import cfg
from oslo_context import context
import oslo_messaging as messaging
from testtools import matchers

from rbdcloner import calling
from rbdcloner import errors
from rbdcloner import rpc
from rbdcloner import rpcapi
from tests.unit import wire

BUSY = errors.ServiceBusy(waiting=3)
EXPIRED = errors.RequestExpired(method='work', waited_s=6)
LOST = errors.LeaseLost(name='a', expected='reserved')
HELD = errors.DiskBusy(name='a', pool='vms', state='reserved')
DOWN = errors.DatabaseUnavailable(reason='it fails over')
#: What a restart, or a failover, brings with it.
FAILOVERS = (
    DOWN,
    errors.CephUnavailable(act='clone'),
    errors.GlanceUnavailable(reason='HTTP 503'),
    errors.ParentReleased(parent='a@snap'),
    errors.ParentGone(parent='a@snap', reason='its id is another'),
)


def no_room(awaited: bool) -> errors.RoomNeeded:
    return errors.RoomNeeded(
        what='depth', value=5, limit=4, flattens='that', awaited=awaited
    )


def importing(beat: str) -> errors.ImageImporting:
    return errors.ImageImporting(
        image_id='an-image',
        done_bytes=1,
        total_bytes=2,
        waits='ask again',
        beat=beat,
        again_s=0.3,
    )


class Hanging:
    """What an endpoint does not answer with."""


class Endpoint:
    """Answers with one thing after the other, the last again and again."""

    target = messaging.Target(version=rpc.VERSION)

    def __init__(self, *answers: Any) -> None:
        self.contexts: list[dict[str, Any]] = []
        self._answers = iter(answers)
        self._last = answers[-1:]
        self.end = threading.Event()

    def ping(self, ctxt: dict[str, Any]) -> None:
        """Answer nothing, as far as a client cares."""

    def work(self, ctxt: dict[str, Any]) -> Any:
        self.contexts.append(ctxt)
        answer = next(self._answers, *self._last)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Hanging):
            self.end.wait(60)
        return answer


class CallsTest(wire.WireTest):
    def answers(self, *answers: Any) -> Endpoint:
        endpoint = Endpoint(*answers)
        self.serve(endpoint)
        self.addCleanup(endpoint.end.set)
        return endpoint

    def test_what_passes_is_asked_again_about(self) -> None:
        shut_out = errors.ShutOut(act='clone')
        refused = errors.CephAuthentication(
            problem='The key is damaged', remedy='Replace it'
        )
        passing = (BUSY, EXPIRED, LOST, HELD, shut_out, refused)
        passing += (no_room(awaited=True),)
        endpoint = self.answers(*passing, 'done')
        self.assertEqual('done', self.call(self.client()))
        self.assertThat(endpoint.contexts, matchers.HasLength(8))

    def test_failover_of_a_dependency_is_waited_for(self) -> None:
        endpoint = self.answers(*FAILOVERS, 'done')
        self.assertEqual('done', self.call(self.client()))
        ids = {each['call_id'] for each in endpoint.contexts}
        self.assertThat(endpoint.contexts, matchers.HasLength(6))
        self.assertThat(ids, matchers.HasLength(1))

    def test_what_does_not_pass_is_told_at_once(self) -> None:
        final = (
            errors.DiskNotFound(name='a', pool='vms'),
            errors.OutOfSpace(pool='vms'),
            no_room(awaited=False),
        )
        endpoint = self.answers(*final)
        client = self.client()
        for error in final:
            raised = self.assertRaises(type(error), self.call, client)
            self.assertEqual(error.kwargs, raised.kwargs)
        self.assertThat(endpoint.contexts, matchers.HasLength(3))

    def test_deadline_ends_with_the_last_answer(self) -> None:
        self.answers(BUSY)
        began = time.monotonic()
        raised = self.assertRaises(
            errors.ServiceBusy, self.call, self.client(timeout_s=1)
        )
        self.assertEqual({'waiting': 3}, raised.kwargs)
        self.assertThat(time.monotonic() - began, matchers.LessThan(5))

    def test_last_answer_is_told_when_nobody_answers_any_more(self) -> None:
        self.patch(calling, 'PATIENCE_S', 1)
        self.answers(DOWN, Hanging())
        raised = self.assertRaises(
            errors.DatabaseUnavailable, self.call, self.client(timeout_s=4)
        )
        self.assertEqual(DOWN.kwargs, raised.kwargs)

    def test_silence_after_an_answer_is_silence(self) -> None:
        self.patch(calling, 'PATIENCE_S', 1)
        self.answers(DOWN, Hanging())
        raised = self.assertRaises(
            errors.ServiceUnavailable,
            self.call,
            self.client(timeout_s=60, silence_s=2),
        )
        self.assertIn(f'the answer was: {DOWN}', str(raised))

    def test_each_call_has_an_id_that_its_repetitions_share(self) -> None:
        endpoint = self.answers(BUSY, 'done')
        client = self.client()
        self.call(client)
        self.call(client)
        first, again, other = (each['call_id'] for each in endpoint.contexts)
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    def test_patience_is_no_longer_than_what_is_left(self) -> None:
        endpoint = self.answers('done')
        self.call(self.client())
        self.call(self.client(timeout_s=2))
        long, short = (each['patience_s'] for each in endpoint.contexts)
        self.assertEqual(calling.PATIENCE_S, long)
        self.assertThat(short, matchers.LessThan(2.01))

    def test_silence_has_a_name_a_reason_and_a_beginning(self) -> None:
        raised = self.assertRaises(
            errors.ServiceUnavailable, self.call, self.client(timeout_s=2)
        )
        self.assertTrue(raised.retryable)
        self.assertEqual('work', raised.kwargs['method'])
        self.assertIn('requests are not answered', str(raised))
        self.assertThat(
            str(raised), matchers.MatchesRegex(r'.*since \d{4}-\d\d-\d\d ')
        )

    def test_silence_ends_a_call_before_its_deadline(self) -> None:
        self.patch(calling, 'PATIENCE_S', 1)
        began = time.monotonic()
        raised = self.assertRaises(
            errors.ServiceUnavailable,
            *(self.call, self.client(timeout_s=60, silence_s=0.5)),
        )
        self.assertEqual(0.5, raised.kwargs['timeout_s'])
        self.assertThat(time.monotonic() - began, matchers.LessThan(10))

    def test_who_is_heard_of_is_not_silent(self) -> None:
        self.answers(BUSY, BUSY, BUSY, BUSY, 'done')
        client = self.client(timeout_s=60, silence_s=5)
        self.assertEqual('done', self.call(client))

    def test_what_comes_on_is_waited_for_beyond_the_deadline(self) -> None:
        self.answers(*(importing(beat) for beat in '1234567'), 'done')
        began = time.monotonic()
        self.assertEqual('done', self.call(self.client(timeout_s=1)))
        self.assertThat(time.monotonic() - began, matchers.GreaterThan(1))

    def test_what_does_not_come_on_is_given_up(self) -> None:
        self.answers(importing('the same'))
        raised = self.assertRaises(
            errors.ImageImporting, self.call, self.client(timeout_s=1)
        )
        self.assertEqual('the same', raised.kwargs['beat'])

    def test_cap_says_what_may_be_sent(self) -> None:
        capped = calling.Calls(lambda: self.transport, '1.2', 1)
        self.assertTrue(capped.may_send('1.1'))
        self.assertFalse(capped.may_send('1.3'))
        self.assertTrue(self.client().may_send('1.3'))

    def test_silence_began_with_the_first_call_without_an_answer(
        self,
    ) -> None:
        client = self.client(timeout_s=0.2)
        first, second = (
            self.assertRaises(errors.ServiceUnavailable, self.call, client)
            for _ in range(2)
        )
        self.assertEqual(first.kwargs['since'], second.kwargs['since'])

    def test_what_cannot_be_sent_is_not_sent_again(self) -> None:
        self.answers('done')
        self.assertRaises(
            (TypeError, ValueError),
            self.call,
            self.client(),
            what=object(),
        )

    def test_nothing_is_connected_before_the_first_call(self) -> None:
        connected = []

        def connect() -> messaging.Transport:
            connected.append(1)
            return self.transport

        client = calling.Calls(connect, None, 5)
        self.assertEqual([], connected)
        self.answers('done')
        for _ in range(2):
            self.call(client)
        self.assertEqual([1], connected)

    def test_broker_that_is_not_there_is_named_in_time(self) -> None:
        # Port 1: nobody listens there.
        client = calling.Calls(
            lambda: messaging.get_rpc_transport(
                cfg.CONF, url='rabbit://a:b@127.0.0.1:1/'
            ),
            None,
            timeout_s=1,
        )
        for _ in range(2):
            began = time.monotonic()
            raised = self.assertRaises(
                errors.ServiceUnavailable, self.call, client
            )
            self.assertIn('the broker does not answer', str(raised))
            self.assertThat(time.monotonic() - began, matchers.LessThan(3))


class OwnConfigurationTest(wire.WireTest):
    """What the caller's own configuration has wrong is told at once."""

    def refused(self, url: str) -> str:
        api = rpcapi.API.from_conf(cfg.CONF, url, timeout_s=60)
        began = time.monotonic()
        raised = self.assertRaises(
            errors.ConfigurationError, api.ping, context.RequestContext()
        )
        self.assertThat(time.monotonic() - began, matchers.LessThan(20))
        self.assertNotIn('secret', str(raised))
        return str(raised)

    def test_url_of_no_broker(self) -> None:
        for url in (
            'nonsense://a:secret@127.0.0.1/',
            'rabbit://a:secret@127.0.0.1:port/',
            'rabbit://a:secret@127.0.0.1/?nonsense=1',
            'secret',
        ):
            self.assertIn('not the URL of a message broker', self.refused(url))

    def test_hosts_that_do_not_exist(self) -> None:
        # The name servers of the machine that runs this may be out of reach.
        self.patch(socket, 'getaddrinfo', unknown(socket.EAI_NONAME))
        said = self.refused('rabbit://a:secret@nowhere,a:secret@else/')
        self.assertIn('nowhere or else', said)

    def test_host_that_no_name_server_tells_of_now_is_waited_for(self) -> None:
        self.patch(socket, 'getaddrinfo', unknown(socket.EAI_AGAIN))
        api = rpcapi.API.from_conf(
            cfg.CONF, 'rabbit://a:secret@nowhere/', timeout_s=1
        )
        self.assertRaises(
            errors.ServiceUnavailable, api.ping, context.RequestContext()
        )


def unknown(code: int) -> Callable[..., None]:
    """Return what a resolver does that knows no name."""

    def resolve(*given: Any, **named: Any) -> None:
        raise socket.gaierror(code, 'unknown')

    return resolve


class UnpackTest(wire.WireTest):
    def test_what_was_packed_comes_out(self) -> None:
        for caller in (
            rpc.Caller(),
            rpc.Caller('req', 'project', 'call', 5),
        ):
            self.assertEqual(caller, rpc.Caller.unpack(caller.pack()))

    def test_nonsense_is_left_out(self) -> None:
        for given in self.nonsense():
            self.assertEqual(rpc.Caller(), rpc.Caller.unpack(given))

    @staticmethod
    def nonsense() -> Iterator[Any]:
        yield from (None, [], 'text', {'request_id': 7, 'call_id': None})
        for patience in (None, 'long', -1, 0, [], float('nan')):
            yield {'patience_s': patience}

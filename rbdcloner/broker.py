# SPDX-License-Identifier: Apache-2.0
"""A process's way to the managers' message broker, which may not be there.

oslo.messaging waits without an end for the connection that answers come by,
and for a broker that takes no messages: RabbitMQ in a memory or disk alarm
sends heartbeats, so that no timeout of the connection ever passes. Both are
done in threads of ours, so that a caller is back by its deadline.
"""

from collections.abc import Callable
from collections.abc import Iterator
from concurrent import futures
import contextlib
import threading
import time
from typing import Any

import oslo_messaging as messaging

from rbdcloner import errors
from rbdcloner import rpc

#: For oslo.messaging: it would wait for the broker, whatever our deadline.
NO_RETRY = 0
#: A broker that takes messages has answered a ping, or lost it, by then.
_PING_S = 1

#: AMQP's reply codes that say what the client's own configuration has wrong:
#: its virtual host, its user, the kind of its queues, what it may do.
_REFUSALS = frozenset({402, 403, 406, 530})


class Unanswered(Exception):
    """Nothing came back: the request may have been executed or not."""

    def __init__(self, reason: str, sent: bool = False) -> None:
        super().__init__(reason)
        self.sent = sent
        """Whether the broker took the request."""


class Broker:
    """The broker, for all threads of one process.

    *connect* returns a transport that is not connected.
    """

    def __init__(
        self,
        connect: Callable[[], messaging.Transport],
        version_cap: str | None,
    ) -> None:
        self._connect = connect
        self._version_cap = version_cap
        self._lock = threading.Lock()
        self._client: messaging.RPCClient | None = None
        self._greeting: futures.Future[messaging.RPCClient] | None = None
        self._began = 0.0

    def takes_messages(self, timeout_s: float, not_before: float) -> bool:
        """Tell whether the broker does, or did at *not_before* or later.

        By the monotonic clock. It is waited for for *timeout_s*.
        """
        try:
            self.client(timeout_s, not_before)
        except Exception:
            # oslo.messaging's, kombu's or amqp's, or the time is up.
            return False
        return True

    def client(
        self, timeout_s: float, not_before: float = 0.0
    ) -> messaging.RPCClient:
        """Return the client when the broker takes messages.

        Whether it does is asked once, and again where that failed or was
        before *not_before*; by one thread for all callers.

        :raises TimeoutError: *timeout_s* have passed.
        :raises ConfigurationError: it never will.
        """
        with self._lock:
            greeting = self._greeting
            if greeting is None or self._is_past(greeting, not_before):
                self._began = time.monotonic()
                greeting = self._greeting = begin(self._greet)
        return greeting.result(timeout_s)

    def close(self) -> None:
        """End the connections; the next call opens new ones."""
        with self._lock:
            client, self._client, self._greeting = self._client, None, None
        if client is not None:
            client.transport.cleanup()

    def _is_past(
        self, greeting: 'futures.Future[Any]', not_before: float
    ) -> bool:
        if not greeting.done():
            return False
        return greeting.exception() is not None or self._began < not_before

    def _greet(self) -> messaging.RPCClient:
        if self._client is None:
            self._client = rpc.client(self._connect(), self._version_cap)
        # Somebody, or nobody, answers: through the broker.
        with contextlib.suppress(errors.Error, messaging.MessagingTimeout):
            self._client.prepare(
                version='1.0', timeout=_PING_S, retry=NO_RETRY
            ).call(rpc.Caller().pack(), 'ping')
        return self._client


def begin(act: Callable[[], Any]) -> 'futures.Future[Any]':
    """Return what *act* comes to, in a thread that nobody has to wait for."""
    outcome: futures.Future[Any] = futures.Future()

    def run() -> None:
        try:
            outcome.set_result(act())
        except BaseException as exc:
            outcome.set_exception(exc)

    threading.Thread(target=run, name='rbdcloner call', daemon=True).start()
    return outcome


@contextlib.contextmanager
def unanswered() -> Iterator[None]:
    """Tell what the answer is from what there is instead of one.

    What cannot be sent is the caller's mistake. Anything else may come up:
    oslo.messaging lets kombu's and amqp's own errors pass.

    :raises Unanswered: there is none.
    :raises ConfigurationError: there never will be.
    """
    try:
        yield
    except (
        errors.Error,
        messaging.RPCVersionCapError,
        TypeError,
        ValueError,
    ):
        raise
    except messaging.MessagingTimeout as exc:
        raise Unanswered('requests are not answered', sent=True) from exc
    except TimeoutError as exc:
        raise Unanswered('the broker does not answer') from exc
    except Exception as exc:
        refusal = _refusal(exc)
        if refusal is not None:
            raise errors.ConfigurationError(
                problem=f'The message broker refuses this client: {refusal}',
                remedy='Correct "transport_url", or the permissions of its '
                'user in its virtual host',
            ) from exc
        raise Unanswered(f'{type(exc).__name__}: {exc}') from exc


def _refusal(exc: BaseException | None) -> BaseException | None:
    """Return the broker's refusal that *exc* is, or was raised for.

    kombu and oslo.messaging wrap amqp's errors, or do not.
    """
    while exc is not None and getattr(exc, 'code', None) not in _REFUSALS:
        exc = exc.__cause__ or exc.__context__
    return exc

# SPDX-License-Identifier: Apache-2.0
"""One call of a client's: sent again until it is answered, or given up.

Requests and answers get lost, and workers die. Every method of a manager can
be repeated, so whoever hears nothing asks again: any manager, with the same
arguments, until the call's deadline. A worker says every few seconds that it
is at a request; one that is silent for longer is dead, or has not begun and
will not any more.
"""

from collections.abc import Callable
from collections.abc import Iterator
from concurrent import futures
import contextlib
import copy
import dataclasses
import datetime
import math
import os
import random
import threading
import time
from typing import Any
from typing import Self
import uuid

import oslo_messaging as messaging
from oslo_utils import versionutils
import tenacity

from rbdcloner import errors
from rbdcloner import rpc

#: A worker that has been silent for so long will say nothing more.
PATIENCE_S = 5

#: Without any sign of life an attempt ends within so much more than that.
_SLACK_S = 1
#: Whether there is a broker is told by the time this has passed.
_GREETING_S = 1
#: oslo.messaging would wait for the broker without looking at our deadline.
_NO_RETRY = 0
_SHORTEST_WAIT_S = 0.1
_LONGEST_WAIT_S = 2.0

_BACKOFF = tenacity.wait_random_exponential(_SHORTEST_WAIT_S, _LONGEST_WAIT_S)

#: Another worker, or this one a little later, may do it.
_PASSING = (
    errors.CephAuthentication,
    errors.DiskBusy,
    errors.HolderLate,
    errors.ImageImporting,
    errors.RequestExpired,
    errors.RoomNeeded,
    errors.RowMoved,
    errors.ServiceBusy,
    errors.ShutOut,
)


class _Unanswered(Exception):
    """Nothing came back: the request may have been executed or not."""


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What is sent, each time."""

    caller: rpc.Caller
    method: str
    version: str
    arguments: dict[str, Any]


@dataclasses.dataclass(slots=True)
class _Call:
    """A request that is sent until ``deadline``, by the monotonic clock.

    That is ``timeout_s`` after it began, or after something came on that it
    waits for: then ``beat`` changes. Or it ends when nothing was ``heard`` for
    ``silence_s``. ``after`` is the last deletion of what it creates that it
    was told of.
    """

    request: Request
    timeout_s: float
    silence_s: float
    deadline: float = 0.0
    beat: str = ''
    id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    heard: float = dataclasses.field(default_factory=time.monotonic)
    after: int = 0

    def __post_init__(self) -> None:
        self.deadline = self.heard + self.timeout_s

    @property
    def left_s(self) -> float:
        return self.deadline - time.monotonic()

    @property
    def silent_left_s(self) -> float:
        """How long it goes on if nothing is heard."""
        ends = min(self.deadline, self.heard + self.silence_s)
        return ends - time.monotonic()

    def is_over(self, state: tenacity.RetryCallState) -> bool:
        """Tell whether it ends before there is another attempt."""
        return state.upcoming_sleep >= self.silent_left_s

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Note when the manager was last heard that an attempt is made at."""
        began = time.monotonic()
        try:
            yield
        except _Unanswered:
            ended = time.monotonic()
            if ended - began > PATIENCE_S + _SLACK_S:
                # It has said that it is at work, and then nothing more.
                self.heard = ended - PATIENCE_S
            raise
        except errors.Error as exc:
            self.heard = time.monotonic()
            beat = exc.kwargs.get('beat', self.beat)
            if beat != self.beat:
                self.beat, self.deadline = beat, self.heard + self.timeout_s
            raise

    def learns_of(self, deletion: int) -> bool:
        """Note a deletion; tell whether it is news, and in time."""
        is_news = deletion > self.after and self.left_s > 0
        self.after = max(self.after, deletion)
        return is_news


class Calls:
    """Makes calls from any thread, green ones too, before and after a fork.

    *connect* returns a transport that is not connected; it is called when
    the first call is made, and again in a child process, for a transport does
    not survive a fork.
    """

    def __init__(
        self,
        connect: Callable[[], messaging.Transport],
        version_cap: str | None,
        timeout_s: float,
        silence_s: float = math.inf,
    ) -> None:
        self._connect = connect
        self._version_cap = version_cap
        self._timeout_s = timeout_s
        self._silence_s = silence_s
        # A parent's stay: closing them would close the parent's sockets.
        self._of_process: dict[int, _Connection] = {}
        self._silent_since: datetime.datetime | None = None

    def within(self, timeout_s: float) -> Self:
        """Return what makes calls by the same connection, with a deadline."""
        other = copy.copy(self)
        other._timeout_s = timeout_s
        return other

    def may_send(self, version: str) -> bool:
        """Tell whether the cap lets what *version* has be sent."""
        cap = self._version_cap
        return cap is None or versionutils.is_compatible(version, cap)

    def make(self, request: Request) -> Any:
        """Return the answer.

        :raises Error: the answer is one; one that may be gone next time is
            asked again about until the deadline, where it is worth it.
        :raises ServiceUnavailable: nobody answered until the deadline.
        """
        call = _Call(request, self._timeout_s, self._silence_s)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_passing),
            wait=_pause_s,
            stop=call.is_over,
            reraise=True,
        )
        try:
            return retrying(self._ask, call)
        except _Unanswered as exc:
            raise errors.ServiceUnavailable(
                method=request.method,
                timeout_s=min(self._timeout_s, self._silence_s),
                since=f'{self._silent_since or _now():%Y-%m-%d %H:%M:%S}Z',
                reason=str(exc),
            ) from exc
        except messaging.RPCVersionCapError as exc:
            raise errors.VersionRefused(
                method=request.method, reason=f'the cap is {exc.version_cap}'
            ) from exc

    def _ask(self, call: '_Call') -> Any:
        while True:
            try:
                return self._attempt(call)
            except errors.CreationOutdated as exc:
                # Whoever waits for the answer has not given it up.
                if not call.learns_of(exc.kwargs['deletion']):
                    raise

    def _attempt(self, call: '_Call') -> Any:
        began = _now()
        try:
            with call.listening():
                answer = self._send(call)
        except errors.Error as exc:
            self._silent_since = None
            raise _local(exc) from None
        except _Unanswered:
            self._silent_since = self._silent_since or began
            raise
        self._silent_since = None
        return answer

    def _send(self, call: '_Call') -> Any:
        request = call.request
        with _unanswered():
            client = self._connection().client(call.silent_left_s)
            left_s = max(call.left_s, _SHORTEST_WAIT_S)
            caller = dataclasses.replace(
                request.caller,
                call_id=call.id,
                patience_s=min(PATIENCE_S, left_s),
                after=call.after,
            )
            return client.prepare(
                version=request.version,
                timeout=left_s,
                call_monitor_timeout=PATIENCE_S,
                retry=_NO_RETRY,
            ).call(caller.pack(), request.method, **request.arguments)

    def _connection(self) -> '_Connection':
        # No lock: one that another thread holds during a fork stays locked.
        known = self._of_process.get(os.getpid())
        return known or self._of_process.setdefault(
            os.getpid(),
            _Connection(rpc.client(self._connect(), self._version_cap)),
        )


class _Connection:
    """A process's way to the broker."""

    def __init__(self, client: messaging.RPCClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._greeting: futures.Future[None] | None = None

    def client(self, timeout_s: float) -> messaging.RPCClient:
        """Return the client when the broker is there.

        oslo.messaging tries for ever to make the connection that answers
        come by. It does so in a thread of ours, so that callers need not.

        :raises TimeoutError: the broker is not there yet.
        """
        with self._lock:
            greeting = self._greeting
            if greeting is None or (greeting.done() and greeting.exception()):
                greeting = self._greeting = futures.Future()
                threading.Thread(
                    target=self._greet, args=(greeting,), daemon=True
                ).start()
        greeting.result(timeout_s)
        return self._client

    def _greet(self, greeting: 'futures.Future[None]') -> None:
        try:
            self._client.prepare(
                version='1.0', timeout=_GREETING_S, retry=_NO_RETRY
            ).call(rpc.Caller().pack(), 'ping')
        except (errors.Error, messaging.MessagingTimeout):
            # Somebody, or nobody, answered: through the broker.
            pass
        except BaseException as exc:
            greeting.set_exception(exc)
            return
        greeting.set_result(None)


@contextlib.contextmanager
def _unanswered() -> Iterator[None]:
    """Tell what the answer is from what there is instead of one.

    What cannot be sent is the caller's mistake. Anything else may come up:
    oslo.messaging lets kombu's and amqp's own errors pass.
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
        raise _Unanswered('requests are not answered') from exc
    except TimeoutError as exc:
        raise _Unanswered('the broker does not answer') from exc
    except Exception as exc:
        raise _Unanswered(f'{type(exc).__name__}: {exc}') from exc


def _is_passing(exc: BaseException) -> bool:
    if isinstance(exc, errors.RoomNeeded):
        return bool(exc.kwargs.get('awaited', True))
    return isinstance(exc, (_Unanswered, *_PASSING))


def _pause_s(state: tenacity.RetryCallState) -> float:
    """Return how long to wait before the next attempt."""
    answer = state.outcome and state.outcome.exception()
    if isinstance(answer, errors.ImageImporting):
        # Not all of those who wait for it at once.
        return float(answer.kwargs['again_s']) * random.uniform(0.75, 1.25)
    return float(_BACKOFF(state))


def _local(exc: errors.Error) -> errors.Error:
    """Return a remote error as the plain class that the caller catches."""
    known = next(
        each
        for each in type(exc).__mro__
        if each.__module__ == errors.__name__
    )
    return known(**exc.kwargs)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)

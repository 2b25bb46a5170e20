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
import time
from typing import Any
from typing import Self
import uuid

import oslo_messaging as messaging
from oslo_utils import versionutils
import tenacity

from rbdcloner import broker
from rbdcloner import errors
from rbdcloner import rpc

#: A worker that has been silent for so long will say nothing more.
PATIENCE_S = 5

#: Without any sign of life an attempt ends within so much more than that.
_SLACK_S = 1
#: oslo.messaging ends an attempt by itself at the deadline, or soon after.
_GRACE_S = 0.5
_SHORTEST_WAIT_S = 0.1
_LONGEST_WAIT_S = 2.0

_BACKOFF = tenacity.wait_random_exponential(_SHORTEST_WAIT_S, _LONGEST_WAIT_S)

#: Another worker, or this one a little later, may do it: what it needs is
#: restarted, or fails over to another host.
_PASSING = (
    errors.CephUnavailable,
    errors.DatabaseUnavailable,
    errors.DiskBusy,
    errors.GlanceUnavailable,
    errors.HolderLate,
    errors.ImageImporting,
    errors.ParentGone,
    errors.ParentReleased,
    errors.RequestExpired,
    errors.RoomNeeded,
    errors.RowMoved,
    errors.ServiceBusy,
)


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
    ``silence_s``. ``after`` is the last request for the same name that it
    was told of, ``answer`` the last one that it had.
    """

    request: Request
    timeout_s: float
    silence_s: float
    deadline: float = 0.0
    beat: str = ''
    id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    heard: float = dataclasses.field(default_factory=time.monotonic)
    after: int = 0
    answer: errors.Error | None = None

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

    @property
    def is_silent(self) -> bool:
        """Whether it ends since nothing is heard, before its deadline."""
        return self.heard + self.silence_s < self.deadline

    def is_over(self, state: tenacity.RetryCallState) -> bool:
        """Tell whether it ends before there is another attempt."""
        return state.upcoming_sleep >= self.silent_left_s

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Note when the manager was last heard that an attempt is made at."""
        began = time.monotonic()
        try:
            yield
        except broker.Unanswered as exc:
            ended = time.monotonic()
            if exc.sent and ended - began > PATIENCE_S + _SLACK_S:
                # It has said that it is at work, and then nothing more.
                self.heard = ended - PATIENCE_S
            raise
        except errors.ConfigurationError:
            # Nobody was asked.
            raise
        except errors.Error as exc:
            self.heard = time.monotonic()
            if _is_passing(exc):
                self.answer = exc
            beat = exc.kwargs.get('beat', self.beat)
            if beat != self.beat:
                self.beat, self.deadline = beat, self.heard + self.timeout_s
            raise

    def learns_of(self, request: int) -> bool:
        """Note a request; tell whether it is news, and in time."""
        is_news = request > self.after and self.left_s > 0
        self.after = max(self.after, request)
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
        self._of_process: dict[int, broker.Broker] = {}
        self._silent_since: datetime.datetime | None = None

    def within(self, timeout_s: float) -> Self:
        """Return what makes calls by the same connection, with a deadline."""
        other = copy.copy(self)
        other._timeout_s = timeout_s
        return other

    def close(self) -> None:
        """End this process's connections; the next call opens new ones."""
        known = self._of_process.pop(os.getpid(), None)
        if known is not None:
            known.close()

    def may_send(self, version: str) -> bool:
        """Tell whether the cap lets what *version* has be sent."""
        cap = self._version_cap
        return cap is None or versionutils.is_compatible(version, cap)

    def make(self, request: Request) -> Any:
        """Return the answer.

        :raises Error: the answer is one; one that may be gone next time is
            asked again about until the deadline, where it is worth it.
        :raises ServiceUnavailable: nobody ever answered until the deadline,
            or nobody has for the time that is waited in silence.
        :raises ConfigurationError: nobody can be asked, ever.
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
        except broker.Unanswered as exc:
            if call.answer and not call.is_silent:
                raise _local(call.answer) from exc
            raise self._unavailable(call, str(exc)) from exc
        except messaging.RPCVersionCapError as exc:
            raise errors.VersionRefused(
                method=request.method, reason=f'the cap is {exc.version_cap}'
            ) from exc

    def _unavailable(
        self, call: '_Call', reason: str
    ) -> errors.ServiceUnavailable:
        if call.answer:
            reason += f'; before that, the answer was: {call.answer}'
        return errors.ServiceUnavailable(
            method=call.request.method,
            timeout_s=min(self._timeout_s, self._silence_s),
            since=f'{self._silent_since or _now():%Y-%m-%d %H:%M:%S}Z',
            reason=reason.rstrip('.'),
        )

    def _ask(self, call: '_Call') -> Any:
        while True:
            try:
                return self._attempt(call)
            except errors.RequestOutdated as exc:
                # Whoever waits for the answer has not given it up.
                if not call.learns_of(exc.kwargs['later']):
                    raise

    def _attempt(self, call: '_Call') -> Any:
        began = _now()
        try:
            with call.listening():
                answer = self._send(call)
        except errors.Error as exc:
            self._silent_since = None
            raise _local(exc) from None
        except broker.Unanswered:
            self._silent_since = self._silent_since or began
            raise
        self._silent_since = None
        return answer

    def _send(self, call: '_Call') -> Any:
        request = call.request
        with broker.unanswered():
            way = self._broker()
            client = way.client(call.silent_left_s)
            left_s = max(call.left_s, _SHORTEST_WAIT_S)
            caller = dataclasses.replace(
                request.caller,
                call_id=call.id,
                patience_s=min(PATIENCE_S, left_s),
                after=call.after,
            )
            prepared = client.prepare(
                version=request.version,
                timeout=left_s,
                call_monitor_timeout=PATIENCE_S,
                retry=broker.NO_RETRY,
            )
            sent = broker.begin(
                lambda: prepared.call(
                    caller.pack(), request.method, **request.arguments
                )
            )
            while not _has_ended(sent, call.left_s):
                # It is at a worker that gives signs of life, or the broker
                # has not even taken it.
                if way.takes_messages(
                    call.silent_left_s, time.monotonic() - PATIENCE_S
                ):
                    call.heard = time.monotonic()
                elif call.silent_left_s <= 0:
                    raise TimeoutError
            return sent.result()

    def _broker(self) -> broker.Broker:
        # No lock: one that another thread holds during a fork stays locked.
        known = self._of_process.get(os.getpid())
        return known or self._of_process.setdefault(
            os.getpid(), broker.Broker(self._connect, self._version_cap)
        )


def _has_ended(sent: 'futures.Future[Any]', left_s: float) -> bool:
    """Tell whether an attempt has, within the time of a sign of life.

    :raises TimeoutError: it has not, nor is there any time left.
    """
    wait_s = PATIENCE_S + _SLACK_S
    try:
        sent.exception(min(wait_s, left_s + _GRACE_S))
    except TimeoutError:
        if left_s + _GRACE_S <= wait_s:
            raise
        return False
    return True


def _is_passing(exc: BaseException) -> bool:
    if isinstance(exc, errors.RoomNeeded):
        return bool(exc.kwargs.get('awaited', True))
    return isinstance(exc, (broker.Unanswered, *_PASSING))


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

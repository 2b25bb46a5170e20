# SPDX-License-Identifier: Apache-2.0
"""The one funnel through which every request comes and answers.

Only :mod:`rbdcloner.errors` leave, without their traceback or cause: an
error's facts are all that a caller learns of our inside.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from concurrent import futures
from importlib import metadata
import logging
import time
from typing import Any

from oslo_context import context
import oslo_messaging as messaging
from oslo_messaging.rpc import dispatcher
from oslo_messaging.rpc import server

from rbdcloner import admission
from rbdcloner import errors
from rbdcloner import metrics
from rbdcloner import rpc

LOG = logging.getLogger(__name__)


#: Refusals that wait to be sent; the callers of more hear nothing.
_MOST_REFUSALS = 1000

#: What :class:`_Server` overrides and uses, and oslo.messaging may rename.
_PRIVATE = ('_on_incoming', '_process_incoming', '_work_executor')


def check(
    transport: messaging.Transport,
    kind: Callable[..., server.RPCServer] = server.RPCServer,
) -> None:
    """Make sure that oslo.messaging, as installed, has what we use of it.

    Nothing is sent. *kind* makes oslo.messaging's own server.

    :raises ConfigurationError: parts of it have other names than they had.
    """
    target = messaging.Target(topic=rpc.TOPIC, server=rpc.TOPIC)
    theirs = kind(transport, target, _Dispatcher([], None))
    renamed = [name for name in _PRIVATE if not hasattr(theirs, name)]
    if renamed:
        version = metadata.version('oslo.messaging')
        raise errors.ConfigurationError(
            problem=f'oslo.messaging {version} is newer than this release '
            f'knows: it has no {", ".join(renamed)}',
            remedy='Install a release that constraints/newest.txt or '
            'constraints/oldest.txt names',
        )


def listen(
    transport: messaging.Transport,
    endpoint: object,
    host: str,
    room: admission.Admission,
    kinds: Mapping[str, Collection[str]] | None = None,
) -> server.RPCServer:
    """Return the server, not yet started, that calls *endpoint*'s methods.

    As many at once, and as many waiting, as *room* has place for; the methods
    of each of *kinds*, by its name, have a share.
    """
    target = messaging.Target(
        exchange=rpc.EXCHANGE, topic=rpc.TOPIC, server=host
    )
    return _Server(
        transport, target, _Dispatcher([endpoint], None), room, kinds or {}
    )


class _Server(server.RPCServer):
    """Begins a request in a thread, lets it wait, or refuses it.

    oslo.messaging acknowledges whatever it receives, and lets any number wait
    for a thread; it has no public place to say no before. What is used
    instead is private, and :func:`check` looks whether it is there. Refusals
    are sent by a thread of their own: each may have to wait for the broker.
    """

    def __init__(
        self,
        transport: messaging.Transport,
        target: messaging.Target,
        dispatcher: '_Dispatcher',
        room: admission.Admission,
        kinds: Mapping[str, Collection[str]],
    ) -> None:
        super().__init__(transport, target, dispatcher)
        self._room = room
        self._kinds = {
            method: kind
            for kind, methods in kinds.items()
            for method in methods
        }
        self._refuser = futures.ThreadPoolExecutor(1, 'refuser')

    def _on_incoming(self, incoming: list[Any]) -> None:
        (message,) = incoming
        caller = rpc.Caller.unpack(message.ctxt)
        request = admission.Request(
            caller.call_id,
            caller.patience_s,
            self._kinds.get(str(message.message.get('method')), ''),
            message,
        )
        try:
            if self._room.enter(request):
                self._work_executor.submit(self._work, request)
        except errors.ServiceBusy as busy:
            if len(self.dispatcher.refusals) < _MOST_REFUSALS:
                self.dispatcher.refusals[message] = busy
                self._refuser.submit(self._process_incoming, [message])

    def _work(self, first: admission.Request) -> None:
        """Answer a request, and then those that wait, as long as there are."""
        request: admission.Request | None = first
        while request is not None:
            if request.is_late:
                self.dispatcher.refusals[request.message] = (
                    errors.RequestExpired(
                        method=str(request.message.message.get('method')),
                        waited_s=round(request.waited_s, 3),
                    )
                )
            self._process_incoming([request.message])
            request = self._room.leave(request)


class _Dispatcher(dispatcher.RPCDispatcher):
    """Logs, counts and answers each request."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.refusals: dict[Any, errors.Error] = {}
        """What to answer instead of calling the endpoint, by message."""

    def dispatch(self, incoming: Any) -> Any:
        method = str(incoming.message.get('method'))
        caller = rpc.Caller.unpack(incoming.ctxt)
        request = context.RequestContext(
            request_id=caller.request_id, project_id=caller.project_id
        )
        started = time.monotonic()
        try:
            answer = self._answer(incoming)
        except Exception as exc:
            error = _own(exc, request.request_id)
            self._finish(method, error.name, started, str(error))
            raise _bare(error) from None
        self._finish(method, 'ok', started, _clones(answer))
        return answer

    def _answer(self, incoming: Any) -> Any:
        refusal = self.refusals.pop(incoming, None)
        if refusal is not None:
            raise refusal
        try:
            return super().dispatch(incoming)
        finally:
            # The watchdog of a method that no endpoint has ends by this only.
            incoming.heartbeat = _over

    def _finish(
        self, method: str, outcome: str, started: float, said: str
    ) -> None:
        seconds = time.monotonic() - started
        known = any(hasattr(end, method) for end in self.endpoints)
        metrics.REQUESTS.labels(method if known else '?', outcome).observe(
            seconds
        )
        LOG.info('%s: %s in %.3f s: %s', method, outcome, seconds, said)


def _over() -> None:
    raise messaging.MessageDeliveryFailure('The request has been answered')


def _own(exc: Exception, request_id: str) -> errors.Error:
    """Return the error that the caller is told of."""
    match exc:
        case errors.Error():
            return exc
        case dispatcher.ExpectedException():
            return _own(exc.exc_info[1], request_id)
        case dispatcher.NoSuchMethod() | dispatcher.UnsupportedVersion():
            return errors.VersionRefused(
                method=exc.method, reason=f'this manager has {rpc.VERSION}'
            )
        case TypeError() if _from_the_call_itself(exc):
            return errors.InvalidArgument(
                argument='arguments', reason=str(exc).partition('() ')[2]
            )
    LOG.error('Request %s failed unexpectedly', request_id, exc_info=exc)
    return errors.InternalError(request=request_id)


def _from_the_call_itself(exc: Exception) -> bool:
    """Tell whether the caller's arguments did not fit the method at all."""
    frame = exc.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and (
        frame.tb_frame.f_code.co_filename == dispatcher.__file__
    )


def _bare(error: errors.Error) -> dispatcher.ExpectedException:
    """Return *error* as the dispatcher raises it, with nothing behind it."""
    bare = type(error)(**error.kwargs)
    expected = dispatcher.ExpectedException()
    expected.exc_info = (type(bare), bare, None)
    return expected


def _clones(answer: Any) -> str:
    """Return the clones in *answer*, for the log."""
    if isinstance(answer, list):
        return ', '.join(_clones(each) for each in answer)
    if isinstance(answer, dict) and 'uuid' in answer:
        parent = answer['parent']
        line = (
            f'clone {answer["uuid"]}, child {answer["pool"]}/{answer["name"]}'
        )
        if parent is None:
            return line
        where = f'{parent["pool"]}/{parent["image"]}@{parent["snapshot"]}'
        return f'{line}, parent {where}'
    return answer if isinstance(answer, str) else ''

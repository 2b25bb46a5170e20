# SPDX-License-Identifier: Apache-2.0
"""The one funnel through which every request comes and answers.

Only :mod:`rbdcloner.errors` leave, without their traceback or cause: an
error's facts are all that a caller learns of our inside.
"""

import logging
import time
from typing import Any

from oslo_context import context
import oslo_messaging as messaging
from oslo_messaging.rpc import dispatcher
from oslo_messaging.rpc import server

from rbdcloner import errors
from rbdcloner import metrics
from rbdcloner import rpc

LOG = logging.getLogger(__name__)


def listen(
    transport: messaging.Transport, endpoint: object, host: str
) -> server.RPCServer:
    """Return the server, not yet started, that calls *endpoint*'s methods."""
    target = messaging.Target(
        exchange=rpc.EXCHANGE, topic=rpc.TOPIC, server=host
    )
    return server.RPCServer(transport, target, _Dispatcher([endpoint], None))


class _Dispatcher(dispatcher.RPCDispatcher):
    """Logs, counts and answers each request."""

    def dispatch(self, incoming: Any) -> Any:
        method = str(incoming.message.get('method'))
        caller = incoming.ctxt if isinstance(incoming.ctxt, dict) else {}
        request = context.RequestContext(
            request_id=caller.get('request_id'),
            project_id=caller.get('project_id'),
        )
        started = time.monotonic()
        try:
            answer = super().dispatch(incoming)
        except Exception as exc:
            error = _own(exc, request.request_id)
            self._finish(method, error.name, started, str(error))
            raise _bare(error) from None
        self._finish(method, 'ok', started, _clones(answer))
        return answer

    def _finish(
        self, method: str, outcome: str, started: float, said: str
    ) -> None:
        seconds = time.monotonic() - started
        known = any(hasattr(end, method) for end in self.endpoints)
        metrics.REQUESTS.labels(method if known else '?', outcome).observe(
            seconds
        )
        LOG.info('%s: %s in %.3f s: %s', method, outcome, seconds, said)


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

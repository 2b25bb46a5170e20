# SPDX-License-Identifier: Apache-2.0
"""What the database's errors are called outside this room.

A driver's message may hold SQL, a row's values or the URL with its password:
none of it is passed on, only which of a few known things happened.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import itertools

from oslo_db import exception
from sqlalchemy import exc as sa_exc

from rbdcloner import errors

#: Everything that a transaction may raise which is the database's doing.
DATABASE_ERRORS = (
    exception.DBError,
    sa_exc.DBAPIError,
    sa_exc.TimeoutError,
)

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (exception.DBConnectionError, 'it cannot be reached'),
    (exception.DBNonExistentDatabase, 'the server has no such database'),
    (exception.DBDeadlock, 'too many transactions at once on the same rows'),
    (sa_exc.TimeoutError, 'no connection became free in time'),
)

# Where a class says less than the server does.
_FULL = 'it has no connection left (max_connections)'
_TELLING = (
    ('too many connections', _FULL),
    ('too many clients', _FULL),
    ('remaining connection slots', _FULL),
    ('wsrep has not yet prepared', 'its Galera node is not ready'),
    ('the database system is', 'it is starting or stopping'),
)

# Where neither oslo.db nor the driver has a class or a code.
_PHRASES = (
    ('access denied', "it does not accept this service's credentials"),
    ('authentication failed', "it does not accept this service's credentials"),
    ('connection to server', 'it cannot be reached'),
    ('database is locked', 'another process writes to it for too long'),
    ('statement timeout', 'a statement took too long'),
    ('readonly database', 'it cannot be written to'),
    ('read-only', 'it cannot be written to'),
    ('is full', 'it has no space left'),
)


def unavailable(exc: Exception) -> errors.DatabaseUnavailable:
    """Return what *exc*, one of :data:`DATABASE_ERRORS`, means to others."""
    return errors.DatabaseUnavailable(reason=_reason(exc))


def may_be_the_schema(exc: Exception) -> bool:
    """Tell whether a missing table or column may have caused *exc*."""
    if isinstance(exc, tuple(kind for kind, _ in _REASONS)):
        return False
    # oslo.db wraps some errors; one without a statement is of connecting.
    cause = getattr(exc, 'inner_exception', None) or exc
    return getattr(cause, 'statement', None) is not None


@contextlib.contextmanager
def named() -> Iterator[None]:
    """Turn the database's errors into :class:`DatabaseUnavailable`."""
    try:
        yield
    except DATABASE_ERRORS as exc:
        raise unavailable(exc) from exc


def _reason(exc: Exception) -> str:
    # oslo.db wraps some of SQLAlchemy's errors, which wrap the driver's.
    wrapped = getattr(exc, 'inner_exception', None) or exc
    cause = getattr(wrapped, 'orig', wrapped)
    text = str(cause).lower()
    kinds = [reason for kind, reason in _REASONS if isinstance(exc, kind)]
    return next(
        itertools.chain(_said(text, _TELLING), kinds, _said(text, _PHRASES)),
        f'it failed with {type(cause).__name__}',
    )


def _said(text: str, phrases: Iterable[tuple[str, str]]) -> Iterator[str]:
    return (reason for phrase, reason in phrases if phrase in text)

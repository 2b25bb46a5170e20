# SPDX-License-Identifier: Apache-2.0
"""A method marked ``reads`` or ``writes`` is one transaction.

A deadlock is the database's request to try again, and is tried again. So is
what lost its connection before its COMMIT was sent, for then nothing was
done. Whether a lost COMMIT was, only a look can tell, which is for the caller.
That there is no connection to be had is told at once. What cannot be had is
:class:`~rbdcloner.errors.DatabaseUnavailable`, or, where the schema is not
this release's, :class:`~rbdcloner.errors.DatabaseRevision`. Neither carries
SQL, a value or a password.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import copy
import functools
import threading
from typing import Concatenate
from typing import ParamSpec
from typing import Self
from typing import TypeVar
from typing import cast

from oslo_db import api
from oslo_db import exception
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import failures
from rbdcloner.db import migration
from rbdcloner.db.engine import READS

# 16 threads that write one name need some; each is a few milliseconds.
_RETRIES = 10
_RETRY_INTERVAL_S = 0.02
_MAX_RETRY_INTERVAL_S = 0.5
_PATIENCE_S = 20


class Database:
    """Who has transactions: the writers' engine and the readers'.

    With an ``fsid`` only the work of that cluster is found; see
    :meth:`of_cluster`.
    """

    fsid = ''

    def __init__(self, engine: sa.Engine) -> None:
        self.writer = engine
        self.reader = engine.execution_options(**{READS: True})
        one_writer = engine.dialect.name == 'sqlite'
        self._turns = threading.Lock() if one_writer else None

    def of_cluster(self, fsid: str) -> Self:
        """Return the same, but that it finds the work of one cluster only.

        What a worker does of itself is for the cluster that it is connected
        to: the rows of another are not missing from it.
        """
        restricted = copy.copy(self)
        restricted.fsid = fsid
        return restricted

    def here(self, table: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
        """Return the condition that a row is of this cluster, or none."""
        return (table.c.fsid == self.fsid,) if self.fsid else ()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for this thread's turn to write, where one writes at a time.

        SQLite would make each thread sleep and try again, some for long.

        :raises DatabaseUnavailable: the others do not come to an end.
        """
        if self._turns is None:
            yield
            return
        if not self._turns.acquire(timeout=_PATIENCE_S):
            raise errors.DatabaseUnavailable(reason='other writers block it')
        try:
            yield
        finally:
            self._turns.release()


class _LostMidway(Exception):
    """The connection was lost before anything was committed."""

    def __init__(self, how: exception.DBConnectionError) -> None:
        super().__init__()
        self.how = how


def _is_passing(exc: Exception) -> bool:
    return isinstance(exc, _LostMidway) or _hides_a_deadlock(exc)


def _hides_a_deadlock(exc: Exception) -> bool:
    # MariaDB rolls the whole transaction back: that its savepoint is gone is
    # then the error, and the deadlock the cause that oslo.db keeps.
    return isinstance(getattr(exc, 'cause', None), exception.DBDeadlock)


_again = api.wrap_db_retry(
    retry_on_deadlock=True,
    exception_checker=_is_passing,
    max_retries=_RETRIES,
    retry_interval=_RETRY_INTERVAL_S,
    max_retry_interval=_MAX_RETRY_INTERVAL_S,
)

_P = ParamSpec('_P')
_R = TypeVar('_R')
_D = TypeVar('_D', bound=Database)

_Body = Callable[Concatenate[_D, sa.Connection, _P], _R]
_Method = Callable[Concatenate[_D, _P], _R]


def writes(body: _Body[_D, _P, _R]) -> _Method[_D, _P, _R]:
    """Run *body* in a transaction that is committed at its end."""

    @_again
    def attempt(self: _D, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with (
            self.turn(),
            self.writer.begin() as connection,
            _before_commit(),
        ):
            return body(self, connection, *args, **kwargs)

    @functools.wraps(body)
    def method(self: _D, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with _named_errors(self.reader):
            return attempt(self, *args, **kwargs)

    return cast(_Method[_D, _P, _R], method)


def reads(body: _Body[_D, _P, _R]) -> _Method[_D, _P, _R]:
    """Run *body* in a transaction that changes nothing."""

    @_again
    def attempt(self: _D, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with self.reader.connect() as connection, _before_commit():
            return body(self, connection, *args, **kwargs)

    @functools.wraps(body)
    def method(self: _D, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with _named_errors(self.reader):
            return attempt(self, *args, **kwargs)

    return cast(_Method[_D, _P, _R], method)


@contextlib.contextmanager
def _before_commit() -> Iterator[None]:
    try:
        yield
    except exception.DBConnectionError as exc:
        raise _LostMidway(exc) from exc


@contextlib.contextmanager
def _named_errors(engine: sa.Engine) -> Iterator[None]:
    try:
        yield
    except _LostMidway as lost:
        raise failures.unavailable(lost.how) from lost.how
    except failures.DATABASE_ERRORS as exc:
        if failures.may_be_the_schema(exc):
            migration.check(engine)
        raise failures.unavailable(exc) from exc

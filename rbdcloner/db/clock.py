# SPDX-License-Identifier: Apache-2.0
"""The database's clock in SQL, in UTC: the only clock that leases know.

Managers run on hosts whose clocks differ; the database is the one thing they
share. Each expression is constant within its statement, so that an index can
serve a comparison with it (PostgreSQL's ``clock_timestamp()`` would forbid
that, and its ``now()`` is the transaction's start, before any wait for a
lock).
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext import compiler
from sqlalchemy.sql import functions

# SQLite knows milliseconds; the zeros make a text that sorts as time does.
_SQLITE_FORMAT = "'%Y-%m-%d %H:%M:%f000', 'now'"


class utc_now(functions.FunctionElement[Any]):
    """The statement's time, UTC, without a zone."""

    type = sa.DateTime()
    inherit_cache = True


class _utc_after(functions.FunctionElement[Any]):
    type = sa.DateTime()
    inherit_cache = True


def utc_after(seconds: float | sa.BindParameter[Any]) -> _utc_after:
    """Return the statement's time and *seconds* more."""
    if isinstance(seconds, sa.BindParameter):
        return _utc_after(seconds)
    return _utc_after(sa.literal(float(seconds), sa.Float()))


@compiler.compiles(utc_now, 'sqlite')
def _sqlite_now(element: utc_now, sql: Any, **kw: Any) -> str:
    return f'strftime({_SQLITE_FORMAT})'


@compiler.compiles(_utc_after, 'sqlite')
def _sqlite_after(element: _utc_after, sql: Any, **kw: Any) -> str:
    delay = sql.process(element.clauses, **kw)
    return f"strftime({_SQLITE_FORMAT}, printf('%+.6f seconds', {delay}))"


@compiler.compiles(utc_now, 'mysql', 'mariadb')
def _mariadb_now(element: utc_now, sql: Any, **kw: Any) -> str:
    return 'UTC_TIMESTAMP(6)'


@compiler.compiles(_utc_after, 'mysql', 'mariadb')
def _mariadb_after(element: _utc_after, sql: Any, **kw: Any) -> str:
    delay = sql.process(element.clauses, **kw)
    return f'(UTC_TIMESTAMP(6) + INTERVAL {delay} SECOND)'


@compiler.compiles(utc_now, 'postgresql')
def _postgresql_now(element: utc_now, sql: Any, **kw: Any) -> str:
    return "timezone('utc', statement_timestamp())"


@compiler.compiles(_utc_after, 'postgresql')
def _postgresql_after(element: _utc_after, sql: Any, **kw: Any) -> str:
    delay = sql.process(element.clauses, **kw)
    return (
        "(timezone('utc', statement_timestamp())"
        f" + {delay} * interval '1 second')"
    )

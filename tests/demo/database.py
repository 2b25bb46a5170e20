# SPDX-License-Identifier: Apache-2.0
"""The lineage database that a person names: usable, and never shown whole."""

from __future__ import annotations

import pathlib

import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import engine
from rbdcloner.db import migration
from tests import stack


def checked(given: str) -> str:
    """Return the URL for processes that run elsewhere; the server answers.

    :raises StackError: it does not, or several processes cannot use it
    :raises ConfigurationError: it is not a URL of a known database
    """
    url = _absolute(given)
    connected = engine.connect(url)
    try:
        migration.current(connected)
    except errors.DatabaseUnavailable as exc:
        raise stack.StackError(f'--database: {shown(url)}: {exc}') from None
    finally:
        connected.dispose()
    return url


def _absolute(given: str) -> str:
    try:
        url = sa.make_url(given)
    except sa.exc.ArgumentError:
        raise stack.StackError('--database: this is not a URL') from None
    if url.get_backend_name() != 'sqlite':
        return given
    if url.database in (None, '', ':memory:'):
        raise stack.StackError('--database: SQLite needs a file')
    path = str(pathlib.Path(url.database).absolute())
    return url.set(database=path).render_as_string(hide_password=False)


def shown(url: str) -> str:
    """Return what may be seen of a URL: its options may be secret, too."""
    parsed = sa.make_url(url)
    return sa.URL.create(
        parsed.drivername,
        host=parsed.host,
        port=parsed.port,
        database=parsed.database,
    ).render_as_string()

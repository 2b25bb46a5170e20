# SPDX-License-Identifier: Apache-2.0
"""Statements that a unique key may refuse."""

from oslo_db import exception
import sqlalchemy as sa


def write(connection: sa.Connection, statement: sa.Insert | sa.Update) -> bool:
    """Execute *statement*; tell whether it wrote a row.

    It does not where a unique key is against it.
    """
    try:
        # PostgreSQL gives up the whole transaction after an error.
        with connection.begin_nested():
            return connection.execute(statement).rowcount == 1
    except exception.DBDuplicateEntry:
        return False

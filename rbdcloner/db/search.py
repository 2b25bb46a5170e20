# SPDX-License-Identifier: Apache-2.0
"""Which clones there are."""

import dataclasses

import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import rows
from rbdcloner.db.tables import clones
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import reads
from rbdcloner.model import Clone
from rbdcloner.model import Filters


class Search(Database):
    """How :class:`~rbdcloner.db.lineage.Lineage` finds clones."""

    @reads
    def find(
        self,
        connection: sa.Connection,
        fsid: str,
        pool: str,
        namespace: str,
        name: str,
    ) -> Clone:
        """Return the live row of a name, else its newest final one.

        :raises DiskNotFound: no row ever had that name.
        """
        # A live row is the newest: none is made while another lives.
        statement = (
            rows.CLONES.where(
                clones.c.name == name,
                clones.c.pool == pool,
                clones.c.namespace == namespace,
                clones.c.fsid == fsid,
            )
            .order_by(clones.c.id.desc())
            .limit(1)
        )
        row = connection.execute(statement).one_or_none()
        if row is None:
            raise errors.DiskNotFound(name=name, pool=pool)
        return rows.clone_and_parent(row)

    @reads
    def page(
        self,
        connection: sa.Connection,
        filters: Filters,
        marker: int = 0,
        limit: int = 100,
    ) -> list[Clone]:
        """Return rows with id > *marker*, by id, at most *limit*."""
        statement = rows.CLONES.where(clones.c.id > marker)
        for field in dataclasses.fields(filters):
            wanted = getattr(filters, field.name)
            if wanted and field.name == 'states':
                statement = statement.where(clones.c.state.in_(wanted))
            elif wanted:
                column = clones.c[field.name]
                statement = statement.where(column == wanted)
        statement = statement.order_by(clones.c.id).limit(limit)
        return [
            rows.clone_and_parent(row) for row in connection.execute(statement)
        ]

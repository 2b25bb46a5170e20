# SPDX-License-Identifier: Apache-2.0
"""Which clones and parents there are."""

from collections.abc import Sequence
import dataclasses
from typing import Any

import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.db import rows
from rbdcloner.db.tables import clones
from rbdcloner.db.tables import parents
from rbdcloner.db.tables import pools
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import reads
from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.model import Image
from rbdcloner.model import Parent
from rbdcloner.model import Purpose
from rbdcloner.states import ParentState

# Longer chains than Ceph itself allows have no meaning.
_MAX_CHAIN = 64


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
        """Return the live row of a name, else the newest of the others.

        :raises DiskNotFound: no row ever had that name.
        """
        found = named(connection, Image(fsid, pool, namespace, name))
        if found is None:
            raise errors.DiskNotFound(name=name, pool=pool)
        return found

    @reads
    def find_by_image(
        self, connection: sa.Connection, image: Image
    ) -> Clone | None:
        """Return the row of *image*, by its id, that is not final."""
        return by_image(connection, image)

    @reads
    def chain(self, connection: sa.Connection, parent: Parent) -> list[Clone]:
        """Return the rows from *parent*'s image upwards, the nearest first.

        It ends with an image that is nobody's row, or needs no parent. Costs
        a look-up for each.
        """
        found: list[Clone] = []
        above: Parent | None = parent
        while above is not None and len(found) < _MAX_CHAIN:
            clone = by_image(connection, above.snapshot.image)
            if clone is None:
                break
            found.append(clone)
            above = clone.parent if clone.attached else None
        return found

    @reads
    def has_children(self, connection: sa.Connection, parent: Parent) -> bool:
        """Tell whether an attached child of *parent* is recorded."""
        statement = (
            sa.select(clones.c.id)
            .where(clones.c.parent_id == parent.id, clones.c.attached == 1)
            .limit(1)
        )
        return connection.scalar(statement) is not None

    @reads
    def crowded(
        self, connection: sa.Connection, limit: int
    ) -> list[tuple[Parent, int]]:
        """Return parents with more than *limit* attached children, by id.

        And how many each has. Costs a look at every attached child.
        """
        count = sa.func.count().label('children')
        many = (
            sa.select(clones.c.parent_id, count)
            .where(clones.c.attached == 1, *self.here(clones))
            .group_by(clones.c.parent_id)
            .having(count > limit)
            .subquery()
        )
        statement = (
            sa.select(parents, many.c.children)
            .join(many, many.c.parent_id == parents.c.id)
            .order_by(parents.c.id)
        )
        return [
            (rows.parent(row), row.children)
            for row in connection.execute(statement)
        ]

    @reads
    def page(
        self,
        connection: sa.Connection,
        filters: Filters,
        marker: int = 0,
        limit: int = 100,
    ) -> list[Clone]:
        """Return rows with id > *marker*, by id, at most *limit*."""
        statement = (
            rows.CLONES.where(
                clones.c.id > marker,
                *self.here(clones),
                *_conditions(filters),
            )
            .order_by(clones.c.id)
            .limit(limit)
        )
        return [
            rows.clone_and_parent(row) for row in connection.execute(statement)
        ]

    @reads
    def parents(
        self,
        connection: sa.Connection,
        ids: Sequence[int] = (),
        glance_image_id: str = '',
    ) -> list[Parent]:
        """Return the parents with *ids*, of a Glance image, or all."""
        statement = sa.select(parents).order_by(parents.c.id)
        statement = statement.where(*self.here(parents))
        if ids:
            statement = statement.where(parents.c.id.in_(ids))
        if glance_image_id:
            statement = statement.where(
                parents.c.glance_image_id == glance_image_id
            )
        return [rows.parent(row) for row in connection.execute(statement)]

    @reads
    def active_parents(
        self,
        connection: sa.Connection,
        purpose: Purpose,
        pool: str = '',
        marker: int = 0,
        limit: int = 100,
    ) -> list[Parent]:
        """Return ACTIVE parents of *purpose* with id > *marker*, by id.

        In one pool, or in all; at most *limit*.
        """
        statement = sa.select(parents).where(
            parents.c.purpose == purpose,
            parents.c.state == ParentState.ACTIVE,
            parents.c.id > marker,
            *self.here(parents),
        )
        if pool:
            statement = statement.where(parents.c.pool == pool)
        statement = statement.order_by(parents.c.id).limit(limit)
        return [rows.parent(row) for row in connection.execute(statement)]

    @reads
    def clusters(self, connection: sa.Connection) -> set[str]:
        """Return the fsids of the clusters that this lineage is of."""
        found = set(connection.scalars(sa.select(parents.c.fsid).distinct()))
        if sa.inspect(connection).has_table(pools.name):
            found.update(connection.scalars(sa.select(pools.c.fsid)))
        return found


def named(
    connection: sa.Connection,
    image: Image,
    *conditions: sa.ColumnElement[bool],
) -> Clone | None:
    """Return the live row of *image*'s name, else the newest of the others.

    An image that is found in the trash is recorded while its name is
    another's.
    """
    statement = rows.CLONES.where(
        clones.c.name == image.name,
        clones.c.pool == image.pool,
        clones.c.namespace == image.namespace,
        clones.c.fsid == image.fsid,
        *conditions,
    )
    statement = statement.order_by(clones.c.live.is_(None), clones.c.id.desc())
    row = connection.execute(statement.limit(1)).one_or_none()
    return None if row is None else rows.clone_and_parent(row)


def by_image(connection: sa.Connection, image: Image) -> Clone | None:
    """Return the row of *image*, by its id, that is not final."""
    if not image.id:
        raise ValueError(f'{image} has no id')
    statement = (
        rows.CLONES.where(
            clones.c.image_id == image.id,
            clones.c.pool == image.pool,
            clones.c.namespace == image.namespace,
            clones.c.fsid == image.fsid,
            clones.c.state.not_in(sorted(states.FINAL)),
        )
        .order_by(clones.c.id.desc())
        .limit(1)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else rows.clone_and_parent(row)


def _conditions(filters: Filters) -> list[sa.ColumnElement[bool]]:
    wanted: dict[str, Any] = {
        field.name: getattr(filters, field.name)
        for field in dataclasses.fields(filters)
    }
    among, attached = wanted.pop('states'), wanted.pop('attached')
    conditions = [clones.c[k] == v for k, v in wanted.items() if v]
    if attached:
        conditions.append(clones.c.attached == 1)
    if among:
        conditions.append(clones.c.state.in_(among))
    return conditions

# SPDX-License-Identifier: Apache-2.0
"""Deletions that came while the database was older than the cluster.

The database does not know every disk then. A deletion of what it does not
know is carried out when the disk is recorded again: of a name, or of those
disks of an instance whose names have the suffix. A deletion that came before
the disk was made concerns it not.

On a schema that has no place for them, none is carried out so.
"""

import datetime

import sqlalchemy as sa

from rbdcloner.db import ancestry
from rbdcloner.db.deletions import FORGOTTEN
from rbdcloner.db.deletions import Deletions
from rbdcloner.db.deletions import concerns
from rbdcloner.db.tables import deferred_deletions
from rbdcloner.db.tables import deletions
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from rbdcloner.model import Image
from rbdcloner.model import Order
from rbdcloner.model import Warrant


class Deferrals(Deletions):
    """How :class:`~rbdcloner.db.lineage.Lineage` defers deletions."""

    @writes
    def defer_deletion(
        self, connection: sa.Connection, deletion: int, suffix: str = ''
    ) -> None:
        """Record that *deletion* waits for ``db restored``.

        Of an instance's disks those whose names end with *suffix*. Repeated
        it changes nothing.
        """
        if deletion == FORGOTTEN or not self._are_deferred(connection):
            return
        ancestry.done(
            connection,
            sa.insert(deferred_deletions).values(id=deletion, suffix=suffix),
        )

    @reads
    def deferred_order(
        self,
        connection: sa.Connection,
        image: Image,
        instance_uuid: str,
        made_at: datetime.datetime,
    ) -> Warrant | None:
        """Return the order to delete a disk that was made at *made_at*.

        ``None`` where no deferred deletion concerns it that came later.
        """
        return self._deferred_order(connection, image, instance_uuid, made_at)

    @writes
    def end_deferrals(self, connection: sa.Connection) -> None:
        """Record that every disk is recorded again: no deletion waits."""
        if self._are_deferred(connection):
            connection.execute(sa.delete(deferred_deletions))

    def _deferred_order(
        self,
        connection: sa.Connection,
        image: Image,
        instance_uuid: str,
        made_at: datetime.datetime,
    ) -> Warrant | None:
        if not self._are_deferred(connection):
            return None
        statement = (
            sa.select(
                deletions.c.call,
                deletions.c.created_at,
                deferred_deletions.c.suffix,
            )
            .join(deletions, deletions.c.id == deferred_deletions.c.id)
            .where(
                deletions.c.fsid == image.fsid,
                concerns(image, instance_uuid),
            )
            .order_by(deletions.c.id.desc())
        )
        for row in connection.execute(statement):
            if row.created_at > made_at and image.name.endswith(row.suffix):
                return Warrant(
                    Order.CALLER,
                    'deleted while the database was older',
                    row.call,
                )
        return None

    def _are_deferred(self, connection: sa.Connection) -> bool:
        """Tell whether the schema has a place for them."""
        return self._are_remembered(connection, deferred_deletions)

# SPDX-License-Identifier: Apache-2.0
"""How a deletion begins: noted, its row found, and moved, in one transaction.

A caller waits for it, and each transaction more would cost him a fifth of
what Ceph does.
"""

from oslo_db import exception
import sqlalchemy as sa

from rbdcloner.db import search
from rbdcloner.db.deletions import CallRepeated
from rbdcloner.db.door import Door
from rbdcloner.db.transaction import writes
from rbdcloner.model import Clone
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.states import State


class Removals(Door):
    """How :class:`~rbdcloner.db.lineage.Lineage` begins to remove images."""

    def begin_deletion(
        self, call: str, image: Image, kind: Kind, owner: str, lease_s: float
    ) -> Clone | None:
        """Record that *call* deletes what has the name of *image*.

        Returns the row of the name, DELETING and held by *owner*, if it was
        READY and is of *kind*. ``None`` where there is more to it: it is for
        who comes after to find out what the deletion concerns.

        :raises RowMoved: as :meth:`move`; nothing is recorded.
        """
        try:
            return self._begin(call, image, kind, owner, lease_s)
        except CallRepeated:
            return None

    @writes
    def _begin(
        self,
        connection: sa.Connection,
        call: str,
        image: Image,
        kind: Kind,
        owner: str,
        lease_s: float,
    ) -> Clone | None:
        try:
            self._insert_deletion(connection, call, image)
        except exception.DBDuplicateEntry as exc:
            raise CallRepeated from exc
        clone = search.named(connection, image)
        if (
            clone is None
            or clone.state is not State.READY
            or clone.kind is not kind
        ):
            return None
        return self._moved(
            connection, clone, State.DELETING, owner=owner, lease_s=lease_s
        )

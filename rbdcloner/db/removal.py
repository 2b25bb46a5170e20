# SPDX-License-Identifier: Apache-2.0
"""How a deletion begins: noted, its row found, and moved, in one transaction.

A caller waits for it, and each transaction more would cost him a fifth of
what Ceph does.
"""

import sqlalchemy as sa

from rbdcloner.db import rows
from rbdcloner.db import search
from rbdcloner.db.deletions import CallRepeated
from rbdcloner.db.door import Door
from rbdcloner.db.tables import clones
from rbdcloner.db.transaction import writes
from rbdcloner.model import Clone
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import Warrant
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

    def begin_deletions(
        self,
        call: str,
        fsid: str,
        instance_uuid: str,
        suffix: str,
        owner: str = '',
        lease_s: float = 0,
    ) -> tuple[list[Clone], int] | None:
        """Record that *call* deletes the instance's disks.

        Returns those whose names end with *suffix* and that were READY,
        DELETING and held by *owner*, or by nobody without one; and the
        deletion's number. ``None`` if it was recorded before. What becomes
        READY until this is committed is for who comes after to find.

        :raises RowMoved: as :meth:`move`; nothing is recorded.
        """
        try:
            return self._begin_all(
                call, fsid, instance_uuid, suffix, owner, lease_s
            )
        except CallRepeated:
            return None

    @writes
    def _begin_all(
        self,
        connection: sa.Connection,
        call: str,
        fsid: str,
        instance_uuid: str,
        suffix: str,
        owner: str,
        lease_s: float,
    ) -> tuple[list[Clone], int]:
        deletion = self._insert_once(
            connection, call, Image(fsid, '', '', ''), instance_uuid
        )
        disks = rows.CLONES.where(
            clones.c.instance_uuid == instance_uuid,
            clones.c.kind == Kind.DISK,
            clones.c.state == State.READY,
        ).order_by(clones.c.id)
        found = map(rows.clone_and_parent, connection.execute(disks).all())
        begun = [
            self._moved(
                connection,
                disk,
                State.DELETING,
                owner=owner,
                lease_s=lease_s,
                warrant=Warrant(Order.CALLER, "its instance's deletion", call),
            )
            for disk in found
            if disk.image.name.endswith(suffix)
        ]
        return begun, deletion

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
        self._insert_once(connection, call, image)
        clone = search.named(connection, image)
        if (
            clone is None
            or clone.state is not State.READY
            or clone.kind is not kind
        ):
            return None
        return self._moved(
            connection,
            clone,
            State.DELETING,
            owner=owner,
            lease_s=lease_s,
            warrant=Warrant(Order.CALLER, 'its deletion', call),
        )

# SPDX-License-Identifier: Apache-2.0
"""A row of ``clones`` in progress is held: by an owner, under a lease.

The lease is by the database's clock. Whoever takes a row raises its fence, so
that the former holder's moves no longer match.
"""

from collections.abc import Collection
from collections.abc import Mapping

import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import changing
from rbdcloner.db import clock
from rbdcloner.db import columns
from rbdcloner.db import workers
from rbdcloner.db.deletions import Deletions
from rbdcloner.db.tables import clones
from rbdcloner.db.transaction import writes
from rbdcloner.model import Clone


class Leases(Deletions):
    """Whose a row is, and for how long."""

    @writes
    def hold(
        self,
        connection: sa.Connection,
        clone: Clone,
        owner: str,
        lease_s: float,
        shut_out: Collection[str] | None = None,
    ) -> Clone:
        """Hold the row of *clone* for *owner*, raising its fence.

        The row may have changed since *clone* was read, but for its state:
        what is returned is what it says now. *shut_out* are the addresses
        that Ceph refuses of who held the row.

        :raises DiskBusy: it is held and the lease has not run out.
        :raises HolderLate: the lease of another has run out, and *shut_out*
            was not given, or lacks one of its addresses.
        :raises RowMoved: the row is not in *clone*'s state any more.
        """
        here = (clones.c.id == clone.id, clones.c.state == clone.state)
        look = sa.select(
            clones.c.owner,
            clones.c.lease_expires_at,
            changing.UNHELD.label('unheld'),
        ).where(*here)
        found = connection.execute(look.with_for_update()).one_or_none()
        if found is None:
            raise changing.moved(clone)
        if not found.unheld:
            raise errors.DiskBusy(
                name=clone.image.name, pool=clone.image.pool, state=clone.state
            )
        if found.lease_expires_at is not None and found.owner != owner:
            workers.refuse_late(
                connection, found.owner, str(clone.image), shut_out
            )
        statement = sa.update(clones).where(*here)
        return changing.changed(
            connection,
            clone,
            statement.values(changing.taking(owner, lease_s)),
        )

    @writes
    def renew(
        self, connection: sa.Connection, clone: Clone, lease_s: float
    ) -> Clone:
        """Have the lease of *clone* end in *lease_s* from now.

        One that has run out is renewed too, if nobody took the row.

        :raises RowMoved: state or fence are not *clone*'s any more, or the
            lease was ended.
        """
        statement = sa.update(clones).where(
            *changing.as_left(clone), clones.c.lease_expires_at.is_not(None)
        )
        lease = {'lease_expires_at': clock.utc_after(lease_s)}
        return changing.changed(connection, clone, statement.values(lease))

    @writes
    def renew_all(
        self,
        connection: sa.Connection,
        fences: Mapping[int, int],
        owner: str,
        lease_s: float,
    ) -> set[int]:
        """Have *owner*'s leases end in *lease_s* from now; whose were renewed.

        *fences* are the rows' by their ids. One that has run out is renewed
        too, if nobody took the row; one that was ended is not. The rows count
        as untouched.
        """
        ours = (
            clones.c.id.in_(sorted(fences)),
            clones.c.owner == owner,
            clones.c.lease_expires_at.is_not(None),
        )
        lease = {'lease_expires_at': clock.utc_after(lease_s)}
        connection.execute(sa.update(clones).where(*ours).values(lease))
        look = sa.select(clones.c.id, clones.c.fence).where(*ours)
        return {
            row.id
            for row in connection.execute(look)
            if row.fence == fences[row.id]
        }

    @writes
    def let_go(
        self, connection: sa.Connection, clone: Clone, reason: str
    ) -> None:
        """End the lease early and note why; nothing if it was taken over.

        That was an attempt: the row waits for the next, longer each time.
        """
        statement = (
            sa.update(clones)
            .where(*changing.as_left(clone))
            .values(
                lease_expires_at=None,
                reason=reason[: columns.REASON_LENGTH],
                updated_at=clock.utc_now(),
                **changing.backoff(clone.attempts),
            )
        )
        connection.execute(statement)

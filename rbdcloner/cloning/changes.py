# SPDX-License-Identifier: Apache-2.0
"""The beginning of a request that changes a disk, and whether it is over.

What a request is noted for, and when it is its turn, is in
:mod:`rbdcloner.db.changes`.
"""

from rbdcloner import errors
from rbdcloner.cloning.holding import Holder
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import Request
from rbdcloner.model import SnapshotFacts
from rbdcloner.states import State

#: What is sent once, by somebody who waits for it.
UNNAMED = Request()


def has_done(lineage: Lineage, request: Request, disk: Clone) -> bool:
    """Tell whether *request* has changed the disk already."""
    noted = lineage.find_change(request)
    return noted is not None and not noted.open and noted.clone_id == disk.id


def refuse_abandoned(lineage: Lineage, request: Request, disk: Clone) -> None:
    """Raise if *request* is a rollback of the disk that was given up.

    :raises RollbackAbandoned: it is.
    """
    noted = lineage.find_change(request)
    if (
        noted is not None
        and noted.clone_id == disk.id
        and not noted.open
        and noted.parent_id is None
    ):
        raise errors.RollbackAbandoned(
            name=disk.image.name,
            pool=disk.image.pool,
            reason='it was interrupted; the disk was used since, or its '
            'snapshot is gone',
        )


def begin(
    holder: Holder,
    disk: Clone,
    state: State,
    request: Request,
    rollback_to: int | SnapshotFacts | None = None,
) -> Clone:
    """Return the disk's row in *state*, held, for *request*.

    A row that is in that state already is taken over.

    :raises DiskBusy: another works on it, or it goes back to another
        snapshot.
    :raises RequestOutdated: it is not the request's turn.
    :raises RowMoved: the row is not as it was left.
    """

    def begun(row: Clone) -> Clone:
        return holder.taken(
            holder.lineage.begin_change,
            row,
            state,
            request,
            rollback_to=rollback_to,
        )

    if disk.state is State.READY:
        return begun(disk)
    taken = holder.take(disk)
    with holder.working_on(taken):
        return begun(taken)

# SPDX-License-Identifier: Apache-2.0
"""The RBD image of a base: reserved, whole, cloned from, and given up.

Each attempt at an import has an image of its own, and a base is ready in the
transaction that says that its image is: nobody clones from half of one.
"""

import uuid

import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import ancestry
from rbdcloner.db import base_runs
from rbdcloner.db import bases as known_bases
from rbdcloner.db import clock
from rbdcloner.db import releasing
from rbdcloner.db import reservation
from rbdcloner.db import rows
from rbdcloner.db import waiting
from rbdcloner.db.base_runs import BaseRuns
from rbdcloner.db.door import Door
from rbdcloner.db.tables import bases
from rbdcloner.db.tables import clones
from rbdcloner.db.tables import parents
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from rbdcloner.model import Base
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import Parent
from rbdcloner.model import Purpose
from rbdcloner.model import Warrant
from rbdcloner.states import LIVE_BASES
from rbdcloner.states import BaseState
from rbdcloner.states import ParentState
from rbdcloner.states import State

# Each time, the base came on while it was being dropped.
_MAX_TRIES = 8

_NAMED_BY = 8


class BaseImages(BaseRuns, Door):
    """What :class:`~rbdcloner.db.lineage.Lineage` knows of bases' images."""

    @writes
    def reserve_base_image(
        self,
        connection: sa.Connection,
        base: Base,
        size_bytes: int,
        pool: str,
        clone_format: CloneFormat,
        owner: str,
        lease_s: float,
    ) -> Clone:
        """Write the intent to make an image for the RUNNING *base*.

        That is a RESERVED row, held, without a parent, under a name of its
        own; the base says that it is its image.

        :raises RowMoved: the base was dropped, or another took it; then
            nothing is reserved.
        """
        tag = str(uuid.uuid4())
        row = reservation.inserted(
            connection,
            {
                'uuid': tag,
                'fsid': base.fsid,
                'pool': pool,
                'name': f'{base.glance_image_id}.{tag[:_NAMED_BY]}',
                'live': 1,
                'kind': Kind.BASE,
                'attached': None,
                'size_bytes': size_bytes,
                'clone_format': clone_format,
                'glance_image_id': base.glance_image_id,
                'state': State.RESERVED,
                'owner': owner,
                'fence': 1,
                'lease_expires_at': clock.utc_after(lease_s),
            },
        )
        base_runs.run_on(connection, base, clone_id=row.id)
        return rows.clone(row, None)

    @writes
    def base_made(
        self,
        connection: sa.Connection,
        base: Base,
        clone: Clone,
        image_id: str,
        size_bytes: int,
    ) -> Base:
        """Move *clone* RESERVED → READY, and *base* RUNNING → READY.

        :raises RowMoved: state or fence of either are not as they were left,
            or the base has another image; then nothing changes.
        """
        self._moved(
            connection,
            clone,
            State.READY,
            image_id=image_id,
            size_bytes=size_bytes,
            reason='',
        )
        made = base_runs.moved(
            connection, base, BaseState.READY, attempts=0, retry_at=None
        )
        if made.clone is None or made.clone.id != clone.id:
            raise errors.RowMoved(
                name=str(base), expected=f'with image {clone.image}'
            )
        return made

    @writes
    def adopt_base(self, connection: sa.Connection, clone: Clone) -> None:
        """Record the base of an image that is READY and has lost its base.

        Its data is of an image as it was: nothing more is cloned from it, and
        it goes when its children have gone.
        """
        made = known_bases.inserting(
            clone.image.fsid,
            clone.glance_image_id,
            f'unknown:{clone.uuid}',
            clone.size_bytes,
        )
        ancestry.done(
            connection,
            made.values(
                state=BaseState.READY,
                clone_id=clone.id,
                done_bytes=clone.size_bytes,
            ),
        )

    def drop_base(self, base: Base, reason: str) -> Base:
        """Move *base* to DROPPED, whatever it has come to; else nothing.

        Who imports it finds that its row was moved. Of a READY one the
        snapshots are RELEASING and the image DELETING, held by nobody.

        :raises BaseNotFound: it has no row.
        :raises ParentHasChildren: an attached child of it is recorded.
        :raises RowMoved: it comes on all the time, or its image was moved.
        """
        tries = 0
        while True:
            tries += 1
            try:
                return self._drop(base, reason)
            except errors.RowMoved:
                if tries == _MAX_TRIES:
                    raise

    @reads
    def parent_of_base(
        self, connection: sa.Connection, base: Base
    ) -> Parent | None:
        """Return the ACTIVE snapshot that disks are cloned from.

        None if *base* is not READY any more, or yet.
        """
        if not self._are_there(connection):
            return None
        known = known_bases.one(
            connection,
            bases.c.id == base.id,
            bases.c.state == BaseState.READY,
            clones.c.state == State.READY,
        )
        if known is None or known.clone is None:
            return None
        statement = (
            sa.select(parents)
            .where(
                *ancestry.of_image(known.clone.image),
                parents.c.purpose == Purpose.BASE,
                parents.c.state == ParentState.ACTIVE,
            )
            .order_by(parents.c.id)
            .limit(1)
        )
        row = connection.execute(statement).one_or_none()
        return None if row is None else rows.parent(row)

    @reads
    def idle_bases(
        self, connection: sa.Connection, idle_s: float, limit: int
    ) -> list[Base]:
        """Return READY bases that nobody has used for *idle_s*, by id.

        No attached child is recorded, no other was touched since, and
        neither was the base; at most *limit*.
        """
        if not self._are_there(connection):
            return []
        since = clock.utc_after(-idle_s)
        return known_bases.page(
            connection,
            limit,
            *self.here(bases),
            bases.c.state == BaseState.READY,
            bases.c.updated_at <= since,
            sa.not_(waiting.HAS_CHILDREN),
            sa.not_(waiting.below(waiting.children.c.updated_at > since)),
        )

    @reads
    def childless_bases(
        self, connection: sa.Connection, marker: int = 0, limit: int = 100
    ) -> list[Base]:
        """Return READY bases with id > *marker* without an attached child.

        By id, at most *limit*.
        """
        if not self._are_there(connection):
            return []
        return known_bases.page(
            connection,
            limit,
            *self.here(bases),
            bases.c.state == BaseState.READY,
            bases.c.id > marker,
            sa.not_(waiting.HAS_CHILDREN),
        )

    @writes
    def _drop(
        self, connection: sa.Connection, base: Base, reason: str
    ) -> Base:
        now = _now(connection, base)
        if now.state not in LIVE_BASES:
            return now
        image = now.clone if now.state is BaseState.READY else None
        if image is not None:
            _release_parents(connection, image.image)
        if image is None or image.state is not State.READY:
            return base_runs.moved(connection, now, BaseState.DROPPED, reason)
        self._moved(
            connection,
            image,
            State.DELETING,
            reason=reason,
            warrant=Warrant(Order.UNNEEDED, reason),
        )
        return _now(connection, now)


def _now(connection: sa.Connection, base: Base) -> Base:
    """Return what the row of *base* says now.

    :raises BaseNotFound: it has no row.
    """
    known = known_bases.one(connection, bases.c.id == base.id)
    if known is None:
        raise errors.BaseNotFound(uuid=base.uuid)
    return known


def _release_parents(connection: sa.Connection, image: Image) -> None:
    """Have the snapshots of *image* take no child from now on.

    :raises ParentHasChildren: one has an attached child.
    """
    statement = sa.select(parents).where(
        *ancestry.of_image(image),
        parents.c.state.in_([ParentState.ACTIVE, ParentState.PLANNED]),
    )
    locked = statement.order_by(parents.c.id).with_for_update()
    for row in connection.execute(locked).all():
        parent = rows.parent(row)
        releasing.refuse_children(connection, parent)
        ancestry.updated(connection, parent, {'state': ParentState.RELEASING})

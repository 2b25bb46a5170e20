# SPDX-License-Identifier: Apache-2.0
"""Who was cloned from whom, and what was promised: every query.

One public method is one transaction; none is open while Ceph, Glance or
RabbitMQ works. A state is changed by :meth:`Lineage.move` alone, a
conditional UPDATE on (id, state, fence).

A row in progress is *held* by an owner under a lease by the database's
clock. Whoever takes a row over raises its fence, so that the former holder's
moves no longer match. Taking a child and releasing its parent race on the
parent's row: the taker reads it FOR SHARE, the releaser FOR UPDATE, and one
of them sees the other's work.
"""

from collections.abc import Sequence
import dataclasses

from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import DiskRequest
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import SnapshotFacts
from rbdcloner.states import ParentState
from rbdcloner.states import State


@dataclasses.dataclass(frozen=True, slots=True)
class Filters:
    """Which rows :meth:`Lineage.page` returns; an empty field is no filter."""

    instance_uuid: str = ''
    parent_id: int = 0
    glance_image_id: str = ''
    project_id: str = ''
    host: str = ''
    pool: str = ''
    name: str = ''
    states: Sequence[State] = ()


class Lineage:
    """The lineage database, through one SQLAlchemy engine.

    Every method raises :class:`rbdcloner.errors.DatabaseUnavailable` when the
    database cannot be reached; deadlocks and lost connections are retried
    (oslo.db's ``wrap_db_retry``) only where the transaction can be repeated.
    """

    def adopt(
        self,
        facts: SnapshotFacts,
        glance_image_id: str,
        protector: Protector,
    ) -> Parent:
        """Record *facts*' snapshot as an active parent, or return its row.

        A released parent becomes active again.

        :raises ParentReleased: it is being released now.
        """

    def protected_by(self, parent: Parent, protector: Protector) -> Parent:
        """Record who protects *parent*."""

    def reserve(
        self,
        request: DiskRequest,
        parent: Parent,
        clone_format: CloneFormat,
        owner: str,
        lease_s: float,
    ) -> Clone:
        """Write the intent: a RESERVED row under the request's name, held.

        :raises DiskExists: a live row has the name.
        :raises ParentReleased: *parent* takes no child.
        """

    def find(self, fsid: str, pool: str, namespace: str, name: str) -> Clone:
        """Return the live row of a name, else its newest final one.

        :raises DiskNotFound: no row ever had that name.
        """

    def hold(self, clone: Clone, owner: str, lease_s: float) -> Clone:
        """Hold the row of *clone* for *owner*, raising its fence.

        :raises DiskBusy: another holds it and the lease has not run out.
        :raises RowMoved: the row is not in *clone*'s state any more.
        """

    def let_go(self, clone: Clone, reason: str) -> None:
        """End the lease early and note why; nothing if it was taken over."""

    def move(
        self,
        clone: Clone,
        state: State,
        *,
        owner: str = '',
        lease_s: float = 0,
        **changes,
    ) -> Clone:
        """Move the row from ``clone.state`` to *state*: the one door.

        *changes* may be ``image_id``, ``size_bytes`` and ``reason``. With an
        owner the row stays (or becomes) held for *lease_s*; without, the
        lease ends.

        :raises RowMoved: state or fence are not *clone*'s any more.
        """

    def note_image_id(self, clone: Clone, image_id: str) -> Clone:
        """Record the child's image id, without a change of state.

        :raises RowMoved: as :meth:`move`.
        """

    def page(
        self, filters: Filters, marker: int = 0, limit: int = 100
    ) -> list[Clone]:
        """Return rows with id > *marker*, by id, at most *limit*."""

    def abandoned(self, limit: int) -> list[Clone]:
        """Return rows in progress that nobody holds (no lease, or run out)."""

    def parents(self, ids: Sequence[int] = ()) -> list[Parent]:
        """Return the parents with *ids*, or all."""

    def releasing(self, parent: Parent) -> Parent:
        """Move *parent* ACTIVE → RELEASING: no child is taken from now on.

        Repeated on a RELEASING one it changes nothing.

        :raises ParentHasChildren: a live child is recorded.
        """

    def released(self, parent: Parent) -> Parent:
        """Move *parent* RELEASING → RELEASED; its protector is nobody."""

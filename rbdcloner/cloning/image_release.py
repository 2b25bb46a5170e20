# SPDX-License-Identifier: Apache-2.0
"""What an administrator does so that Glance can delete an image in use.

Under format v1 Glance refuses to delete what has children. Either the
children get its data as their own, which copies it; or the service takes the
image over: it goes to the trash, children and all, and Glance finds nothing
left to delete. Either is written down here and done by the managers.
"""

from collections.abc import Iterator
import contextlib
import dataclasses

from rbdcloner import errors
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Filters
from rbdcloner.model import Flatten
from rbdcloner.model import FlattenReason
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import Parent
from rbdcloner.model import Purpose
from rbdcloner.model import Warrant
from rbdcloner.states import LIVE
from rbdcloner.states import State
from rbdcloner.states import may_follow

_ROWS_AT_ONCE = 500
_LEASE_S = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class ImageRelease:
    """Lets Glance images go; *owner* is who asks."""

    lineage: Lineage
    clone_format: CloneFormat
    owner: str

    def knows(self, glance_image_id: str) -> bool:
        """Tell whether anything is recorded of the image, gone or not."""
        named = Filters(glance_image_id=glance_image_id)
        return bool(
            self.lineage.page(named, limit=1)
            or self.lineage.parents(glance_image_id=glance_image_id)
        )

    def users(self, glance_image_id: str) -> Iterator[Clone]:
        """Yield the rows of the image's children that need it."""
        for parent in self._glances(glance_image_id):
            marker = 0
            attached = Filters(parent_id=parent.id, attached=True)
            while page := self.lineage.page(attached, marker, _ROWS_AT_ONCE):
                yield from page
                marker = page[-1].id

    def flatten(
        self, glance_image_id: str, forced: bool = False
    ) -> list[Flatten]:
        """Have every child flattened; with *forced*, under its guest too."""
        wanted = []
        for child in self.users(glance_image_id):
            # One that goes meanwhile needs the image no more.
            with contextlib.suppress(errors.RowMoved):
                wanted.append(
                    self.lineage.want_flatten(
                        child, FlattenReason.RELEASE, forced
                    )
                )
        return wanted

    def images(self, glance_image_id: str) -> list[Clone]:
        """Return the rows of the Glance image's own RBD images, not final."""
        found = {}
        for parent in self._glances(glance_image_id):
            clone = self.lineage.find_by_image(parent.snapshot.image)
            if clone is not None and clone.kind is not Kind.DISK:
                found[clone.id] = clone
        return list(found.values())

    def retire(self, glance_image_id: str) -> list[Clone]:
        """Have the image moved to the trash; its rows, DELETING.

        One for each RBD image that Glance has of it; those that are in the
        trash are left out, and so is its base. Its data is destroyed when no
        child needs it and Glance has forgotten it.

        :raises DiskBusy: somebody is at work on it.
        """
        return [
            clone
            for parent in self._parents(glance_image_id)
            if (clone := self._retire(parent)) is not None
        ]

    def restore(self, clone: Clone) -> Clone:
        """Have a retired image moved out of the trash; its row, RESTORING.

        :raises NotRetired: it is not in the trash.
        :raises DiskBusy: it is being destroyed.
        :raises DiskExists: its name was taken meanwhile.
        """
        image = clone.image
        if clone.state is not State.RETIRED:
            raise errors.NotRetired(image=str(image), state=clone.state)
        if not image.id:
            raise errors.NotRetired(image=str(image), state='never made')
        if clone.kind is Kind.BASE:
            # Who wants it again has it imported again.
            raise errors.NotRetired(image=str(image), state='a dropped base')
        held = self.lineage.hold(clone, self.owner, _LEASE_S)
        restoring = self.lineage.move(held, State.RESTORING)
        # Where Glance has no such image, its absence counts from now on.
        self.lineage.end_absence(clone)
        return restoring

    def _glances(self, glance_image_id: str) -> Iterator[Parent]:
        """Yield the snapshots of Glance's own data, not of a base's copy."""
        for parent in self.lineage.parents(glance_image_id=glance_image_id):
            if parent.purpose is not Purpose.BASE:
                yield parent

    def _parents(self, glance_image_id: str) -> Iterator[Parent]:
        """Yield one parent of each RBD image of the Glance image, in use."""
        known = set()
        for parent in self._glances(glance_image_id):
            if parent.snapshot.image.id in known:
                continue
            if self.lineage.has_children(parent):
                known.add(parent.snapshot.image.id)
                yield parent

    def _retire(self, parent: Parent) -> Clone | None:
        clone = self.lineage.find_by_image(parent.snapshot.image)
        if clone is None:
            return self.lineage.adopt_image(
                parent.snapshot.image,
                parent.glance_image_id,
                parent.size_bytes,
                self.clone_format,
                trashed=False,
            )
        if clone.state not in LIVE or clone.kind in (Kind.DISK, Kind.BASE):
            return None
        if clone.state is State.DELETING:
            return clone
        if not may_follow(clone.state, State.DELETING):
            raise errors.DiskBusy(
                name=clone.image.name, pool=clone.image.pool, state=clone.state
            )
        held = self.lineage.hold(clone, self.owner, _LEASE_S)
        warrant = Warrant(Order.OPERATOR, 'image release --retire')
        return self.lineage.move(held, State.DELETING, warrant=warrant)

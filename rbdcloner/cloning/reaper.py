# SPDX-License-Identifier: Apache-2.0
"""Destroying what is retired and needed no more, from the leaves upwards.

An image goes when no attached child is left below it; with it, its image's
parent may have lost the last child, and so on up. Ceph is asked before each
destruction, and the row is held: two reapers never meet in one image.
"""

from concurrent import futures
import dataclasses
import logging
import threading

from rbdcloner import errors
from rbdcloner.cloning.adopting import Adopter
from rbdcloner.cloning.holding import Holder
from rbdcloner.cloning.releasing import Releaser
from rbdcloner.cloning.removing import Remover
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import Kind
from rbdcloner.states import State

LOG = logging.getLogger(__name__)

#: Rows looked at in one sweep.
_AT_ONCE = 50


@dataclasses.dataclass(frozen=True, slots=True)
class Reaper:
    """Reaps one cluster's retired images."""

    lineage: Lineage
    remover: Remover
    releaser: Releaser
    adopter: Adopter
    holder: Holder
    threads: int = 1

    def sweep(self, stopping: threading.Event | None = None) -> int:
        """Reap whatever can be now; how many images went.

        What cannot be destroyed stays, with the reason in its row. When
        *stopping* is set, no image is begun.
        """
        reaped = 0
        with futures.ThreadPoolExecutor(self.threads, 'reaper') as threads:
            while found := self.lineage.reapable(_AT_ONCE):
                gone = sum(
                    threads.map(lambda c: self.reap(c, stopping), found)
                )
                reaped += gone
                if not gone:
                    break
        return reaped

    def reap(
        self, clone: Clone, stopping: threading.Event | None = None
    ) -> int:
        """Destroy a retired image without children, and upwards; how many."""
        reaped = 0
        following: Clone | None = clone
        while following is not None and not (stopping and stopping.is_set()):
            try:
                gone = self._destroy(following)
            except (errors.RowMoved, errors.DiskBusy):
                # Another reaper is there.
                break
            except errors.Error as exc:
                LOG.warning(
                    'Retired image %s (%s) stays in the trash: %s',
                    following.image, following.image.id, exc,
                )  # fmt: skip
                break
            reaped += 1
            following = self.above(gone)
        return reaped

    def above(self, clone: Clone) -> Clone | None:
        """Release the parent that *clone* needs no more.

        Returns the retired image above it, if that is needed no more either.
        """
        if clone.parent is None:
            return None
        image = clone.parent.snapshot.image
        try:
            upper = self.lineage.find_by_image(image)
            if upper is None:
                upper = self.adopter.adopt_if_gone(clone.parent)
            if upper is None or upper.state is not State.RETIRED:
                self.releaser.release(clone.parent)
                return None
        except errors.Error as exc:
            LOG.warning('Parent %s stays for now: %s', image, exc)
            return None
        snapshots = self.lineage.snapshots_of(upper.image)
        if any(map(self.lineage.has_children, snapshots)):
            return None
        return upper

    def _destroy(self, clone: Clone) -> Clone:
        held = self.holder.hold(clone)
        with self.holder.working_on(held):
            self._ask_glance(held)
        gone = self.remover.destroy(held)
        LOG.info(
            'Retired image %s (%s) is destroyed', gone.image, gone.image.id
        )
        return gone

    def _ask_glance(self, clone: Clone) -> None:
        """Raise unless Glance, too, has forgotten its image.

        What is Glance's to hand out: not a disk, nor what is imported.
        """
        if clone.kind in (Kind.DISK, Kind.BASE):
            return
        if self.adopter.has_data(clone.glance_image_id):
            raise errors.ImageInGlance(image_id=clone.glance_image_id)

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
from rbdcloner.cloning.pool_identity import PoolIdentity
from rbdcloner.cloning.releasing import Releaser
from rbdcloner.cloning.removing import Remover
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
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
    pools: PoolIdentity
    holder: Holder
    threads: int = 1

    def sweep(self, stopping: threading.Event | None = None) -> int:
        """Reap whatever can be now; how many images went.

        What cannot be destroyed stays, with the reason in its row. When
        *stopping* is set, no image is begun.
        """
        if not self.remover.generation.is_current():
            return 0
        reaped = 0
        with futures.ThreadPoolExecutor(self.threads, 'reaper') as threads:
            while found := self.lineage.reapable(
                _AT_ONCE, self.adopter.absence.delay_s
            ):
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
            except (
                errors.DatabaseOutdated,
                errors.DiskBusy,
                errors.RowMoved,
            ):
                # Another reaper is there, or it has to stay.
                break
            except errors.Error as exc:
                self._say(following, exc)
                break
            reaped += 1
            following = self.above(gone)
        return reaped

    def _say(self, clone: Clone, error: errors.Error) -> None:
        """Warn of what keeps a retired image, unless its row said so before.

        It is tried again every few minutes, for as long as others need it.
        """
        if clone.reason != errors.reason_of(error):
            LOG.warning(
                'Retired image %s (%s) stays in the trash: %s',
                clone.image, clone.image.id, error,
            )  # fmt: skip

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
        if not self.lineage.is_reapable(upper):
            return None
        return None if self.adopter.absence.is_young(upper) else upper

    def _destroy(self, clone: Clone) -> Clone:
        self.remover.generation.check(clone.image.pool)
        held = self.holder.hold(clone)
        with self.holder.working_on(held):
            self.pools.check(held.image.pool)
            if name := self._restored_as(held):
                LOG.warning(
                    'Retired image %s (%s) was restored by others as %s: it '
                    'is theirs', held.image, held.image.id, name,
                )  # fmt: skip
                return self.lineage.move(
                    held,
                    State.DELETED,
                    reason=f'restored by others as {name}',
                )
            evidence = self.adopter.absence.confirm(held)
        gone = self.remover.destroy(held)
        LOG.info(
            'Retired image %s (%s) is destroyed%s',
            gone.image, gone.image.id, evidence and f': {evidence}',
        )  # fmt: skip
        return gone

    def _restored_as(self, clone: Clone) -> str:
        """Return the name that others gave the image out of the trash.

        Empty while it lies there, or if it is gone.
        """
        if not clone.image.id or self.remover.ceph.is_trashed(clone.image):
            return ''
        return self.remover.ceph.name_of(clone.image)

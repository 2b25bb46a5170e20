# SPDX-License-Identifier: Apache-2.0
"""When bases go: their images are gone from Glance, or nobody uses them.

Never while a child lives: that is decided in the transaction that gives the
base up, and the image goes the way of all that is deleted.
"""

import dataclasses
import logging
import threading

from rbdcloner import errors
from rbdcloner.cloning.absence import Absence
from rbdcloner.cloning.brake import Look
from rbdcloner.cloning.removing import Remover
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Base

LOG = logging.getLogger(__name__)

_AT_ONCE = 100
_ABSENT = 'Glance has no such image any more'


@dataclasses.dataclass(frozen=True, slots=True)
class BaseUpkeep:
    """Drops bases that nobody needs; *idle_s* 0: none only for being idle."""

    lineage: Lineage
    absence: Absence
    remover: Remover
    idle_s: float

    def look(self, stopping: threading.Event | None = None) -> int:
        """Drop what is to be dropped now; how many were.

        When *stopping* is set, no base is begun.
        """
        if not self.remover.generation.is_current():
            return 0
        dropped: list[Base] = []
        marker = 0
        look = self.absence.brake.look('upkeep')
        while page := self.lineage.childless_bases(marker, _AT_ONCE):
            for base in page:
                if stopping and stopping.is_set():
                    return len(dropped)
                marker = base.id
                look.saw('bases')
                try:
                    self._look_at(base, look, dropped)
                except errors.Error as exc:
                    LOG.warning('%s is not looked at: %s', base, exc)
        look.finish()
        if self.idle_s:
            for base in self.lineage.idle_bases(self.idle_s, _AT_ONCE):
                self._drop(base, 'nobody uses it', dropped)
        return len(dropped)

    def _look_at(self, base: Base, look: Look, dropped: list[Base]) -> None:
        """Drop a base of other data; let one that is absent have its clock."""
        if base.clone is None:
            return
        image = self.absence.find(base.glance_image_id)
        if image is None:
            if self.lineage.is_absent(base.clone):
                self._drop_absent(base, dropped)
            else:
                look.would_end(
                    'bases', lambda: self._drop_absent(base, dropped)
                )
            return
        self.lineage.end_absence(base.clone)
        if image.status == 'active' and image.checksum != base.checksum:
            self._drop(base, 'the image is another by now', dropped)

    def _drop_absent(self, base: Base, dropped: list[Base]) -> None:
        """Drop a base that has been absent for long; its clock starts anew."""
        if base.clone is None or not self.absence.may_trash(base.clone):
            return
        self.lineage.note_trashed(base.clone)
        self._drop(base, _ABSENT, dropped)

    def _drop(self, base: Base, reason: str, dropped: list[Base]) -> None:
        try:
            self.lineage.drop_base(base, reason)
        except (errors.ParentHasChildren, errors.RowMoved):
            return
        LOG.info('%s is dropped: %s', base, reason)
        self.remover.begun.set()
        dropped.append(base)

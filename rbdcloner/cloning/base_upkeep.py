# SPDX-License-Identifier: Apache-2.0
"""When bases go: their images are gone from Glance, or nobody uses them.

Never while a child lives: that is decided in the transaction that gives the
base up, and the image goes the way of all that is deleted.
"""

import dataclasses
import logging
import threading

from rbdcloner import errors
from rbdcloner.cloning.parents import Images
from rbdcloner.cloning.removing import Remover
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Base

LOG = logging.getLogger(__name__)

_AT_ONCE = 100
_GONE = frozenset({'deleted', 'pending_delete'})


@dataclasses.dataclass(frozen=True, slots=True)
class BaseUpkeep:
    """Drops bases that nobody needs; *idle_s* 0: none only for being idle."""

    lineage: Lineage
    images: Images
    remover: Remover
    idle_s: float

    def look(self, stopping: threading.Event | None = None) -> int:
        """Drop what is to be dropped now; how many were.

        When *stopping* is set, no base is begun.
        """
        dropped = marker = 0
        while page := self.lineage.childless_bases(marker, _AT_ONCE):
            for base in page:
                if stopping and stopping.is_set():
                    return dropped
                marker = base.id
                reason = self._reason(base)
                dropped += bool(reason) and self._drop(base, reason)
        if self.idle_s:
            for base in self.lineage.idle_bases(self.idle_s, _AT_ONCE):
                dropped += self._drop(base, 'nobody uses it')
        return dropped

    def _reason(self, base: Base) -> str:
        """Return why the base is of no use; empty if it is, or may be."""
        try:
            image = self.images.look(base.glance_image_id)
        except errors.ImageNotFound:
            return 'Glance has no such image any more'
        except errors.Error as exc:
            LOG.warning('%s is not looked at: %s', base, exc)
            return ''
        if image.status in _GONE:
            return 'Glance has no such image any more'
        if image.status == 'active' and image.checksum != base.checksum:
            return 'the image is another by now'
        return ''

    def _drop(self, base: Base, reason: str) -> bool:
        try:
            self.lineage.drop_base(base, reason)
        except (errors.ParentHasChildren, errors.RowMoved):
            return False
        LOG.info('%s is dropped: %s', base, reason)
        self.remover.begun.set()
        return True

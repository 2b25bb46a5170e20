# SPDX-License-Identifier: Apache-2.0
"""Glance images that others made, once Glance has them no more.

Only then is their data the service's to destroy; until then it is Glance's,
whoever descends from it and wherever it lies.
"""

import dataclasses
import logging

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning.parents import Images
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Parent
from rbdcloner.states import ParentState

LOG = logging.getLogger(__name__)

#: Glance's words for an image whose data somebody may ask for.
_HAS_DATA = frozenset({'active', 'deactivated'})

#: And for one that nobody will ask for again.
_DELETED = frozenset({'deleted', 'pending_delete'})

_NONE = ''


@dataclasses.dataclass(frozen=True, slots=True)
class Adopter:
    """Takes over what Glance has forgotten."""

    ceph: Driver
    lineage: Lineage
    images: Images
    clone_format: CloneFormat

    def adopt_if_gone(self, parent: Parent) -> Clone | None:
        """Return a row for the Glance image of *parent*, if that is deleted.

        ``None`` while Glance has it, and where it is none of Glance's.

        :raises GlanceUnavailable: whether it has is not known.
        """
        image = parent.snapshot.image
        known = self.lineage.find_by_image(image)
        if known is not None:
            return known
        (now,) = self.lineage.parents([parent.id])
        if now.state is ParentState.RELEASED:
            # Its image was destroyed with it.
            return None
        facts = self.ceph.find_image(image)
        if facts is not None and not self.ceph.is_trashed(image):
            return None
        if not parent.glance_image_id:
            return None
        if self.has_data(parent.glance_image_id):
            return None
        clone = self.lineage.adopt_image(
            image,
            parent.glance_image_id,
            parent.size_bytes,
            self.clone_format,
            trashed=True,
        )
        LOG.info('Glance deleted %s (%s): adopted', image, image.id)
        return clone

    def has_data(self, glance_image_id: str) -> bool:
        """Tell whether Glance may hand out the image's data.

        :raises GlanceUnavailable: that is not known.
        """
        return self._status(glance_image_id) in _HAS_DATA

    def is_deleted(self, glance_image_id: str) -> bool:
        """Tell whether Glance has deleted the image, or never had it.

        :raises GlanceUnavailable: that is not known.
        """
        return self._status(glance_image_id) in {_NONE, *_DELETED}

    def _status(self, glance_image_id: str) -> str:
        try:
            return self.images.look(glance_image_id).status
        except errors.ImageNotFound:
            return _NONE

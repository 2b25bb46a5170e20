# SPDX-License-Identifier: Apache-2.0
"""Glance images that others made, once Glance has them no more.

Only then is their data the service's to destroy; until then it is Glance's,
whoever descends from it and wherever it lies.
"""

import dataclasses
import logging
import re

from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning.absence import Absence
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Parent
from rbdcloner.states import ParentState

LOG = logging.getLogger(__name__)

#: As Glance writes them.
_GLANCES_ID = re.compile('[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}')


@dataclasses.dataclass(frozen=True, slots=True)
class Adopter:
    """Takes over what Glance has forgotten."""

    ceph: Driver
    lineage: Lineage
    absence: Absence
    clone_format: CloneFormat

    def adopt_if_gone(self, parent: Parent) -> Clone | None:
        """Return a row for the Glance image of *parent*, if that is deleted.

        ``None`` while Glance has it, and where it is none of Glance's. The
        clock of its absence starts.

        :raises GlanceForbidden: a 404 says nothing to this service.
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
        if not names_glance_image(parent):
            return None
        if not self.absence.is_deleted(parent.glance_image_id):
            return None
        clone = self.lineage.adopt_image(
            image,
            parent.glance_image_id,
            parent.size_bytes,
            self.clone_format,
            trashed=True,
        )
        self.absence.start(clone)
        LOG.info('Glance deleted %s (%s): adopted', image, image.id)
        return clone


def names_glance_image(parent: Parent) -> bool:
    """Tell whether Glance can be asked for the image of *parent*.

    What others cloned their own images from is none of Glance's.
    """
    return bool(_GLANCES_ID.fullmatch(parent.glance_image_id))

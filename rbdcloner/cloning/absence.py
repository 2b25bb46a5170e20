# SPDX-License-Identifier: Apache-2.0
"""Whether Glance has forgotten an image, and what may be done about that.

A 404 is no order. It counts only if Glance itself sent it, while it shows this
service the images of all projects; then a clock starts, and only what has been
absent for long goes to the trash, and after as long again for good. An image
that is seen again is as it was.
"""

import dataclasses

from rbdcloner import errors
from rbdcloner.cloning.brake import Brake
from rbdcloner.cloning.parents import Images
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import GlanceImage
from rbdcloner.model import Kind

#: Glance's words for an image whose data somebody may ask for.
_HAS_DATA = frozenset({'active', 'deactivated'})

#: And for one that nobody will ask for again.
_DELETED = frozenset({'deleted', 'pending_delete'})


@dataclasses.dataclass(frozen=True, slots=True)
class Absence:
    """Decides for one cluster whether an absence may be acted upon."""

    lineage: Lineage
    images: Images
    brake: Brake
    delay_s: float

    def find(self, glance_image_id: str) -> GlanceImage | None:
        """Return Glance's image; ``None`` if it has deleted it, or has none.

        :raises GlanceForbidden: a 404 says nothing to this service.
        :raises GlanceUnavailable: that is not known.
        """
        image = self._look(glance_image_id)
        return None if image is None or image.status in _DELETED else image

    def is_whole(self, image: GlanceImage) -> bool:
        """Tell whether Glance may hand out the data of *image*."""
        return image.status in _HAS_DATA

    def is_deleted(self, glance_image_id: str) -> bool:
        """Tell whether Glance has deleted the image; as :meth:`find`."""
        return self.find(glance_image_id) is None

    def is_gone(self, glance_image_id: str) -> bool:
        """Tell whether Glance knows the image no more; as :meth:`find`.

        Not one whose deletion Glance has delayed.
        """
        return self._look(glance_image_id) is None

    def start(self, clone: Clone) -> bool:
        """Start the clock of an absent row; tell whether it has run out."""
        if not self.delay_s:
            return True
        self.lineage.note_absence(clone)
        return self.lineage.is_absent(clone, self.delay_s)

    def may_trash(self, clone: Clone) -> bool:
        """Start the clock of an absent row; tell whether its image may go.

        That is, to the trash: when the clock has run out, and no brake is
        engaged.
        """
        return self.start(clone) and not self.brake.is_engaged()

    def is_young(self, clone: Clone) -> bool:
        """Tell whether the clock of *clone* is still running."""
        return self.lineage.is_absent(clone) and not self.lineage.is_absent(
            clone, self.delay_s
        )

    def confirm(self, clone: Clone) -> str:
        """Return the evidence on which the image of a RETIRED row may go.

        Empty where Glance has no part in it: a disk is its caller's.

        :raises BrakeEngaged: nothing that is inferred may.
        :raises ImageAbsentLately: not yet.
        :raises ImageInGlance: Glance has its image still.
        :raises GlanceForbidden: a 404 says nothing to this service.
        :raises GlanceUnavailable: whether it has is not known.
        """
        if clone.kind is Kind.DISK:
            return ''
        if clone.kind is Kind.BASE:
            # Dropped for another reason, or waiting for its clock.
            waits = self.lineage.is_absent(clone)
            return self._expired(clone) if waits else ''
        image = self.find(clone.glance_image_id)
        has_data = image is not None and self.is_whole(image)
        if not has_data and self.lineage.was_ordered(clone):
            return 'it was deleted by request'
        if image is not None:
            raise errors.ImageInGlance(image_id=clone.glance_image_id)
        return self._expired(clone)

    def _expired(self, clone: Clone) -> str:
        if not self.start(clone):
            raise errors.ImageAbsentLately(
                image_id=clone.glance_image_id, delay_s=self.delay_s
            )
        self.brake.refuse()
        return f'Glance has no image {clone.glance_image_id} any more'

    def _look(self, glance_image_id: str) -> GlanceImage | None:
        """Return Glance's image; what is no uuid is the name of none."""
        try:
            return self.images.look(glance_image_id)
        except errors.InvalidArgument:
            return None
        except errors.ImageNotFound:
            self.images.confirm_sight()
            return None

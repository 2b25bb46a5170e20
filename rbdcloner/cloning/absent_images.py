# SPDX-License-Identifier: Apache-2.0
"""The service's own Glance images, once Glance has them no more.

To the trash when they have been absent for long, back when they are seen
again. Destroying them is the garbage collector's, when as much time has passed
once more.
"""

import dataclasses
import logging

from rbdcloner.cloning.absence import Absence
from rbdcloner.cloning.adopting import Adopter
from rbdcloner.cloning.brake import Look
from rbdcloner.cloning.engine import Engine
from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import Parent
from rbdcloner.model import Purpose
from rbdcloner.model import Warrant
from rbdcloner.states import ParentState
from rbdcloner.states import State

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class AbsentImages:
    """Moves the images of one cluster to the trash and back."""

    engine: Engine
    absence: Absence
    adopter: Adopter

    def found(self, clone: Clone, look: Look, witnessed: bool) -> None:
        """Have the clock of an absent READY row started, if *look* agrees.

        It is not counted if it was *witnessed*: somebody has moved the image
        to the trash in Ceph, too.
        """
        if self.absence.lineage.is_absent(clone):
            return
        if witnessed:
            look.will_end(lambda: self.trash_in_time(clone))
        else:
            look.would_end('Glance images', lambda: self.trash_in_time(clone))

    def trash_in_time(self, clone: Clone) -> None:
        """Start the clock of *clone*; trash its image if it has run out."""
        if not self.absence.may_trash(clone):
            return
        LOG.warning(
            '%s (%s) goes to the trash: Glance has no image %s any more',
            clone.image, clone.image.id, clone.glance_image_id,
        )  # fmt: skip
        self.absence.lineage.note_trashed(clone)
        evidence = f'Glance has no image {clone.glance_image_id} any more'
        self.engine.remove(clone, Warrant(Order.ABSENCE, evidence))

    def follow(self, clone: Clone) -> None:
        """Do what is due with a row that is absent, or was seen again."""
        if clone.kind is Kind.BASE:
            return
        if self.absence.is_deleted(clone.glance_image_id):
            if clone.state is State.READY:
                self.trash_in_time(clone)
            elif self.absence.lineage.was_ordered(clone):
                # It need not wait.
                self.absence.lineage.end_absence(clone)
            return
        if clone.state is State.RETIRED:
            self._restore(clone)
        self.absence.lineage.end_absence(clone)

    def image_deleted(self, glance_image_id: str) -> None:
        """Obey Glance, which says that one of its users deleted an image.

        That is an order, and needs no clock, if Glance has it no more.

        :raises BrakeEngaged: nothing is taken for deleted now.
        """
        if not self.engine.remover.generation.is_current():
            return
        if not self.absence.is_gone(glance_image_id):
            return
        self.absence.brake.refuse()
        lineage = self.absence.lineage
        made = Filters(
            glance_image_id=glance_image_id,
            kind=Kind.IMAGE,
            states=(State.READY,),
        )
        for clone in lineage.page(made):
            LOG.warning('%s was deleted in Glance', clone.image)
            call = self._note_order(clone)
            warrant = Warrant(Order.CALLER, 'its deletion in Glance', call)
            self.engine.remove(clone, warrant)
        for parent in lineage.parents(glance_image_id=glance_image_id):
            adopted = self._adopted(parent)
            if adopted is not None and adopted.kind is Kind.ADOPTED:
                self._note_order(adopted)

    def _adopted(self, parent: Parent) -> Clone | None:
        glances = parent.purpose in (Purpose.ADOPTED, Purpose.GLANCE)
        if not glances or parent.state is not ParentState.ACTIVE:
            return None
        return self.adopter.adopt_if_gone(parent)

    def _note_order(self, clone: Clone) -> str:
        """Record Glance's word, once however often it comes; its id."""
        call = f'glance-{clone.glance_image_id}-{clone.id}'
        self.absence.lineage.note_deletion(call, clone.image)
        self.absence.lineage.end_absence(clone)
        return call

    def _restore(self, clone: Clone) -> None:
        """Give back its name to what was trashed for being absent."""
        lineage = self.absence.lineage
        if (
            clone.kind is not Kind.IMAGE
            or lineage.was_ordered(clone)
            or not lineage.was_trashed(clone)
        ):
            return
        held = self.engine.holder.held_in(clone, State.RESTORING)
        self.engine.remover.restore(held)
        LOG.warning(
            '%s (%s) is back from the trash: Glance has image %s again',
            clone.image, clone.image.id, clone.glance_image_id,
        )  # fmt: skip

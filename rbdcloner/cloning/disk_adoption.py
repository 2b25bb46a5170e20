# SPDX-License-Identifier: Apache-2.0
"""Disks that others made, recorded: those of before, or made in our absence.

Nothing is done to the image but that it gets its row's tag, which it may
under a guest. What Ceph says of it is the row, its parent too; and others'
protection of that stays theirs.
"""

import dataclasses
import logging

from oslo_utils import uuidutils
import tenacity

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning import matching
from rbdcloner.cloning.engine import MADE
from rbdcloner.cloning.engine import Engine
from rbdcloner.model import Clone
from rbdcloner.model import Descent
from rbdcloner.model import DiskRequest
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import Parent
from rbdcloner.model import Warrant
from rbdcloner.states import State

LOG = logging.getLogger(__name__)

_PARENT_PATIENCE_S = 10

_LOST = Warrant(Order.OTHERS, 'its name has no image, or another one')


@dataclasses.dataclass(frozen=True, slots=True)
class DiskAdoption:
    """Records disks of one engine by their names."""

    engine: Engine
    ceph: Driver

    def adopt(self, request: DiskRequest) -> Clone:
        """Record the disk that lies under the request's name; READY.

        Its size is what Ceph says; the ``image_id`` is recorded if it has no
        parent to tell. Nothing if that was done.

        :raises CreationOutdated: the name, or the instance, was deleted later
            than the caller knew.
        :raises DiskBusy: a row of the name is being made, written or removed.
        :raises DiskDiffers: the name is another instance's disk, or the image
            is recorded as something else.
        :raises DiskNotFound: there is no image of that name.
        :raises NameTaken: the name is a Glance image that we made.
        """
        self.engine.check_pool(request.pool)
        name = Image(self.engine.fsid, request.pool, '', request.name)
        while True:
            facts = self.ceph.find_image(name)
            clone = self._known(name, facts, request)
            if clone is None and facts is None:
                raise errors.DiskNotFound(name=name.name, pool=name.pool)
            if clone is None and facts is not None:
                clone = self._record(facts, request)
            if clone is not None:
                return self._tagged(clone)

    def _known(
        self, name: Image, facts: ImageFacts | None, request: DiskRequest
    ) -> Clone | None:
        """Return the disk's row; ``None`` if it has none.

        One that is on its way out, or whose image was removed by others, is
        seen out.
        """
        clone = self._live(name)
        if clone is None:
            return None
        if clone.kind is not Kind.DISK:
            raise errors.NameTaken(pool=name.pool, name=name.name)
        found_id = facts.image.id if facts else ''
        if clone.state in (State.DELETING, State.UNDOING):
            self.engine.see_out(clone, replaced=True)
            return None
        if clone.state in MADE and self._is_lost(clone, found_id):
            self.engine.remove(clone, _LOST, replaced=True)
            return None
        matching.check_instance(clone, request)
        if clone.state in MADE:
            return self._grown(clone, facts)
        raise errors.DiskBusy(
            name=name.name, pool=name.pool, state=clone.state
        )

    def _grown(self, clone: Clone, facts: ImageFacts | None) -> Clone:
        """Return the row with the size that others gave its image."""
        if facts is None or facts.size_bytes <= clone.size_bytes:
            return clone
        image = clone.image
        return self.engine.resize_disk(
            image.pool, image.name, facts.size_bytes
        )

    def _live(self, name: Image) -> Clone | None:
        try:
            clone = self.engine.lineage.find(
                name.fsid, name.pool, name.namespace, name.name
            )
        except errors.DiskNotFound:
            return None
        return clone if clone.state in states.LIVE else None

    def _is_lost(self, clone: Clone, found_id: str) -> bool:
        """Tell whether the row's image is gone from its name for good."""
        if clone.image.id == found_id:
            return False
        if self.ceph.find_image(clone.image) is None:
            return True
        return bool(found_id) and self.ceph.is_trashed(clone.image)

    def _record(self, facts: ImageFacts, request: DiskRequest) -> Clone | None:
        """Return the new row; ``None`` to look again."""
        recorded = self.engine.lineage.find_by_image(facts.image)
        if recorded is not None:
            if recorded.state in states.LIVE and recorded.image == facts.image:
                # Another call was faster.
                return None
            raise matching.differs(
                facts.image,
                'row',
                f'{recorded.image} ({recorded.state})',
                'none',
            )
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(errors.ParentReleased),
            wait=tenacity.wait_random_exponential(0.05, 1),
            stop=tenacity.stop_after_delay(_PARENT_PATIENCE_S),
            reraise=True,
        )
        try:
            return retrying(self._record_once, facts, request)
        except errors.DiskExists:
            return None

    def _record_once(self, facts: ImageFacts, request: DiskRequest) -> Clone:
        descent = self.ceph.find_parent(facts.image)
        parent = None
        clone_format = self.engine.clone_format
        if descent is not None:
            parent = self._parent(descent)
            clone_format = descent.clone_format
            request = dataclasses.replace(
                request, image_id=parent.glance_image_id or request.image_id
            )
        clone = self.engine.lineage.adopt_disk(
            facts, request, parent, clone_format
        )
        try:
            # One that is being executed may not have seen this row.
            self.engine.lineage.refuse_outdated(
                clone.image, request.instance_uuid, request.after
            )
        except errors.CreationOutdated as exc:
            warrant = Warrant(
                Order.CALLER,
                'deleted before it was adopted',
                f'deletion {exc.kwargs["later"]}',
            )
            self.engine.remove(clone, warrant)
            raise
        LOG.info('Adopted %s (%s)', clone.image, clone.image.id)
        return clone

    def _parent(self, descent: Descent) -> Parent:
        """Return the recorded parent; Glance calls images by their ids.

        One of another name is nobody's but its maker's: it is not to go when
        Glance forgets the image that the disk is said to be of.
        """
        facts = descent.parent
        named = facts.snapshot.image.name
        image_id = named if uuidutils.is_uuid_like(named) else ''
        return self.engine.parents.record(facts, image_id)

    def _tagged(self, clone: Clone) -> Clone:
        """Return the row, whose tag the image has."""
        try:
            facts = self.ceph.find_image(clone.image)
            if facts is None or not _is_delivered(facts, clone):
                with self.ceph.open(clone.image) as opened:
                    opened.mark_delivered(clone.uuid)
        except errors.RbdImageNotFound as exc:
            self.engine.remove(clone, _LOST)
            raise errors.DiskNotFound(
                name=clone.image.name, pool=clone.image.pool
            ) from exc
        return clone


def _is_delivered(facts: ImageFacts, clone: Clone) -> bool:
    return facts.delivered and facts.tag == clone.uuid

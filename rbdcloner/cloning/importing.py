# SPDX-License-Identifier: Apache-2.0
"""The order of work on disks without a parent: begun empty, written, finished.

The service makes the image and its caller, who has the data, writes into it
by its id. Until he says that this image is whole it is IMPORTING, which nobody
takes for a disk; whoever begins again gets another image. So what was written
in part is never taken for whole, however late the one who wrote it comes.
"""

import dataclasses
import logging
import uuid

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning import matching
from rbdcloner.cloning.engine import MADE
from rbdcloner.cloning.engine import Engine
from rbdcloner.cloning.removing import when_closed
from rbdcloner.db import imports
from rbdcloner.model import Clone
from rbdcloner.model import DiskRequest
from rbdcloner.model import ImageFacts
from rbdcloner.model import Order
from rbdcloner.model import Warrant
from rbdcloner.states import State

LOG = logging.getLogger(__name__)

#: An import of the name may be under way.
_BEGUN = frozenset({State.RESERVED, State.IMPORTING})


@dataclasses.dataclass(frozen=True, slots=True)
class Imports:
    """Disks of one engine that callers write into."""

    engine: Engine
    ceph: Driver

    def begin(self, request: DiskRequest) -> Clone:
        """Make an empty image for its caller to write into; IMPORTING.

        The same for the same call. What another call began under the name,
        for the same instance, is retired.

        :raises CreationOutdated: the name, or the instance, was deleted, or
            begun anew, later than the caller knew.
        :raises DiskExists: the name is a disk that is whole.
        :raises DiskDiffers: the name is a disk of another instance.
        :raises DiskInUse: somebody still writes what was begun before, which
            is retired when he does not.
        :raises NameTaken: the name is an image that nobody asked us for.
        :raises DatabaseOutdated: what was begun before may be a disk by now;
            its row stays as it is.
        """
        self.engine.check_pool(request.pool)
        call = request.call or uuid.uuid4().hex
        request = dataclasses.replace(request, call=call)
        while True:
            clone = self._reserve(request)
            if clone is None:
                clone = self._resume(request)
            if clone is not None and clone.state is State.IMPORTING:
                return clone
            if clone is not None:
                made = self.engine.maker.make(clone, request.after, call)
                if made.state is State.IMPORTING:
                    return made
                # It was made, and written, before its row was restored.
                raise _exists(made)

    def finish(
        self, pool: str, name: str, image_id: str, size_bytes: int
    ) -> Clone:
        """Make the disk whole, which its caller has written: READY.

        The image with that RBD id, grown to *size_bytes* if it is smaller.
        Nothing if that was done.

        :raises DiskNotFound: there is no such disk, or it is being deleted.
        :raises DiskDiffers: another image has the name.
        :raises DiskInUse: somebody still has it open.
        """
        while True:
            clone = self.engine.get_disk(pool, name)
            if clone.image.id != image_id:
                raise matching.differs(
                    clone.image,
                    'RBD image',
                    clone.image.id or '(none)',
                    image_id,
                )
            if clone.state in MADE:
                return clone
            if clone.state is not State.IMPORTING:
                raise errors.DiskNotFound(name=name, pool=pool)
            try:
                return self._finish(self.engine.holder.take(clone), size_bytes)
            except errors.RowMoved:
                LOG.debug('%s moved meanwhile, looking again', clone.image)

    def _reserve(self, request: DiskRequest) -> Clone | None:
        """Return the new row, held; ``None`` when the name has a live one."""
        engine = self.engine
        try:
            return engine.holder.taken(
                engine.lineage.reserve_import,
                request,
                engine.fsid,
                engine.clone_format,
            )
        except errors.DiskExists:
            return None

    def _resume(self, request: DiskRequest) -> Clone | None:
        """Return the call's own row, made or held; ``None`` to look again."""
        pool, name = request.pool, request.name
        clone = self.engine.standing(pool, name)
        if clone is None:
            return None
        matching.check_instance(clone, request)
        if clone.state in MADE:
            raise _exists(clone)
        if clone.parent is not None or clone.state not in _BEGUN:
            raise errors.DiskBusy(name=name, pool=pool, state=clone.state)
        try:
            return self._begun(clone, request)
        except errors.RowMoved:
            return None

    def _begun(self, clone: Clone, request: DiskRequest) -> Clone | None:
        """Return what the call itself has begun; retire what another has.

        What is whole in Ceph is READY, whatever its row says: its commit was
        not recorded, or a backup of before it was restored.

        :raises DiskExists: it is whole.
        """
        if (found := self._find_committed(clone)) is not None:
            held = self.engine.holder.take(clone)
            with self.engine.holder.working_on(held):
                raise _exists(self._ready(held, found))
        if clone.uuid != imports.row_uuid(request.call):
            self.engine.remover.generation.check(clone.image.pool)
            self.engine.lineage.note_import(request, self.engine.fsid)
            deleting = self.engine.holder.held_in(
                clone,
                State.DELETING,
                warrant=Warrant(
                    Order.CALLER, 'another was begun', request.call
                ),
            )
            self.engine.remover.retire(deleting)
            return None
        if clone.state is State.IMPORTING:
            return clone
        return self.engine.holder.take(clone)

    def _finish(self, clone: Clone, size_bytes: int) -> Clone:
        """Grow a held image if need be; the row, READY."""
        image = clone.image
        with self.engine.holder.working_on(clone):
            try:
                when_closed(
                    lambda: self._refuse_open(clone),
                    self.engine.lineage,
                    clone,
                )
            except errors.RbdImageInUse as exc:
                raise errors.DiskInUse(
                    name=image.name,
                    pool=image.pool,
                    watchers=exc.kwargs['watchers'],
                ) from exc
            with self.ceph.open(image) as opened:
                size_bytes = max(size_bytes, opened.facts().size_bytes)
                opened.resize(size_bytes)
                # Before its caller knows: whatever becomes of the row, the
                # image is a disk.
                opened.mark_committed(clone.uuid)
            return self.engine.lineage.move(
                clone, State.READY, size_bytes=size_bytes, reason=''
            )

    def _find_committed(self, clone: Clone) -> ImageFacts | None:
        """Return the image of a row that is begun, if it is whole."""
        facts = self.ceph.find_image(clone.image)
        if facts is None or facts.tag != clone.uuid or not facts.committed:
            return None
        return facts

    def _ready(self, clone: Clone, found: ImageFacts) -> Clone:
        return self.engine.lineage.move(
            clone,
            State.READY,
            image_id=found.image.id,
            size_bytes=found.size_bytes,
            reason='',
        )

    def _refuse_open(self, clone: Clone) -> None:
        watchers = self.ceph.watchers(clone.image)
        if watchers:
            raise errors.RbdImageInUse(
                pool=clone.image.pool,
                image=clone.image.name,
                watchers=watchers,
            )


def _exists(clone: Clone) -> errors.DiskExists:
    return errors.DiskExists(name=clone.image.name, pool=clone.image.pool)

# SPDX-License-Identifier: Apache-2.0
"""Images that cannot be cloned: each is imported once, into a base.

Who asks for a disk of one is told that it is being imported, and asks again:
a client waits longer and cheaper than a worker's thread, and any number of
them wait for one import. A base that is there is a parent like any other.
"""

import dataclasses

from rbdcloner import errors
from rbdcloner.db.lineage import Lineage
from rbdcloner.images import inspection
from rbdcloner.model import Base
from rbdcloner.model import GlanceImage
from rbdcloner.model import Parent
from rbdcloner.model import Way
from rbdcloner.states import BaseState

#: Managers before that know nothing of bases.
RPC_VERSION = (1, 3)

_ENDED = (BaseState.COPIED, BaseState.DROPPED)

#: Who waits asks again after that, sooner when there is little left.
_LONGEST_PAUSE_S = 5.0
_SHORTEST_PAUSE_S = 0.5
#: Of what is left, this part is waited for before the next question.
_PART = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Outlook:
    """What would become of an image that is not cloned as it is.

    ``reason`` says why it would not be imported; ``base`` is the one that
    there is, or that was refused.
    """

    way: Way
    reason: str
    base: Base | None


@dataclasses.dataclass(frozen=True, slots=True)
class Bases:
    """The bases of one cluster, imported as images are asked for.

    *glance_store* is Glance's name of its store here, if it may be asked to
    copy images to it.
    """

    lineage: Lineage
    fsid: str
    limit: int
    glance_store: str

    def parent_of(self, image: GlanceImage) -> Parent:
        """Return the parent to clone *image* from; have it imported before.

        :raises ImageImporting: it is not there yet, and on its way.
        :raises ImageUnfit: what Glance says of it forbids an import.
        :raises ImportRefused: importing it failed for good.
        """
        base = self.want(image)
        if base.state is BaseState.READY:
            parent = self.lineage.parent_of_base(base)
            if parent is not None:
                return parent
        raise self._importing(base)

    def want(self, image: GlanceImage, again: bool = False) -> Base:
        """Have *image* imported; its base, in whatever state that is.

        What was refused is tried *again* only when that is asked for.

        :raises ImageUnfit: what Glance says of it forbids an import.
        :raises ImportRefused: importing it failed for good.
        """
        known = self.lineage.find_base(self.fsid, image.id, image.checksum)
        if known is not None and known.state is BaseState.READY:
            return known
        self._check(image)
        base = self.lineage.want_base(
            self.fsid, image.id, image.checksum, image.size_bytes, again
        )
        if base.state is BaseState.REFUSED:
            raise errors.ImportRefused(image_id=image.id, reason=_why(base))
        return base

    def has_ended(self, image: GlanceImage) -> bool:
        """Tell whether what is remembered of *image* may be from before.

        Glance has copied it here, the last time, or has it no more.
        """
        base = self.lineage.find_base(self.fsid, image.id, image.checksum)
        return base is not None and base.state in _ENDED

    def outlook(self, image: GlanceImage) -> Outlook:
        """Tell what :meth:`want` would do; do nothing."""
        base = self.lineage.find_base(self.fsid, image.id, image.checksum)
        try:
            self._check(image)
        except errors.Error as exc:
            return Outlook(Way.UNDECIDED, str(exc), base)
        refused = base is not None and base.state is BaseState.REFUSED
        return Outlook(
            way(image, self.glance_store),
            _why(base) if base is not None and refused else '',
            base,
        )

    def _check(self, image: GlanceImage) -> None:
        inspection.accept(image)
        reason = ''
        if not self.limit:
            reason = '"limit" in group [imports] is 0'
        elif self.lineage.has_workers_before(RPC_VERSION):
            # They do not know what a base's rows are.
            reason = 'managers of an older release run; see "service list"'
        if reason:
            raise errors.ImportRefused(image_id=image.id, reason=reason)

    def _importing(self, base: Base) -> errors.ImageImporting:
        return errors.ImageImporting(
            image_id=base.glance_image_id,
            done_bytes=base.done_bytes,
            total_bytes=base.total_bytes,
            waits=_waits(base),
            beat=self.lineage.bases_beat(),
            again_s=_pause_s(base),
        )


def way(image: GlanceImage, glance_store: str) -> Way:
    """Return how the data of *image* is to come, the cheapest way there is."""
    if image.disk_format not in inspection.STREAMED:
        return Way.CONVERT
    here_or_failed = image.stores | image.not_copied_to
    if glance_store and image.stores and glance_store not in here_or_failed:
        return Way.COPY
    return Way.STREAM


def _waits(base: Base) -> str:
    if base.state is BaseState.RUNNING:
        return 'ask again'
    if base.reason.startswith(errors.ConfigurationError.__name__):
        # It says what is wrong on the manager's host.
        return 'it waits for an administrator, whom "base list" tells why'
    if base.reason:
        return f'it is tried again: {_why(base)}'
    return 'it waits for others'


def _why(base: Base) -> str:
    """Return the reason as a part of a sentence."""
    return base.reason.rstrip('.')


def _pause_s(base: Base) -> float:
    """Return how long to wait before asking again, by how it went so far."""
    took_s = (base.updated_at - base.created_at).total_seconds()
    if base.state is not BaseState.RUNNING or not base.done_bytes:
        return 2 * _SHORTEST_PAUSE_S
    left = max(0, base.total_bytes - base.done_bytes) / base.done_bytes
    return min(max(_SHORTEST_PAUSE_S, took_s * left / _PART), _LONGEST_PAUSE_S)

# SPDX-License-Identifier: Apache-2.0
"""Which location of an image is cloned, once Ceph has been asked."""

import dataclasses

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning import eligibility
from rbdcloner.cloning.eligibility import Location
from rbdcloner.cloning.eligibility import Refusal
from rbdcloner.model import GlanceImage
from rbdcloner.model import SnapshotFacts

# Classes first to last: the first that fits is the reason.
_REASONS: tuple[tuple[type[errors.CephError], Refusal], ...] = (
    (errors.PoolNotFound, Refusal.POOL_MISSING),
    (errors.RbdImageNotFound, Refusal.IMAGE_MISSING),
    (errors.SnapshotNotFound, Refusal.SNAPSHOT_MISSING),
    (errors.SnapshotTrashed, Refusal.SNAPSHOT_TRASHED),
    (errors.CephForbidden, Refusal.FORBIDDEN),
    (errors.CephRefused, Refusal.REFUSED),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """The snapshot to clone, or ``None``; and why each other location is out.

    ``refusals`` are (location, reason) in the order of the image's locations
    up to the chosen one; their locations are redacted.
    """

    location: str
    snapshot: SnapshotFacts | None
    refusals: tuple[tuple[str, Refusal], ...]

    @property
    def cloneable(self) -> bool:
        """Whether there is a snapshot to clone."""
        return self.snapshot is not None

    @property
    def summary(self) -> str:
        """The verdict on one line, for a log or an error."""
        if self.cloneable:
            return f'{self.location} can be cloned'
        return '; '.join(
            f'{reason} ({url})' if url else str(reason)
            for url, reason in self.refusals
        )


def decide(driver: Driver, image: GlanceImage) -> Verdict:
    """Try *image*'s locations in order until Ceph confirms one.

    Only looks; as many look-ups as there are candidates before a good one.

    :raises CephUnavailable: Ceph did not answer, so nothing is decided.
    :raises CephAuthentication: the key itself is wrong, so nothing is.
    """
    refusals: list[tuple[str, Refusal]] = []
    for url, found in eligibility.judge(image, driver.fsid):
        if isinstance(found, Location):
            looked = _look(driver, found)
            if isinstance(looked, SnapshotFacts):
                return Verdict(url, looked, tuple(refusals))
        else:
            looked = found
        refusals.append((eligibility.redact(url) if url else '', looked))
    return Verdict('', None, tuple(refusals))


def _look(driver: Driver, location: Location) -> SnapshotFacts | Refusal:
    """Return Ceph's facts of *location*, or why it does not give them.

    Glance knows no RBD namespaces: its images lie in the default one.
    """
    try:
        return driver.find_snapshot(
            location.pool, '', location.image, location.snapshot
        )
    except errors.CephError as exc:
        for error, reason in _REASONS:
            if isinstance(exc, error):
                return reason
        raise

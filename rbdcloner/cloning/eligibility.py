# SPDX-License-Identifier: Apache-2.0
"""Whether an image may be used, and which of its locations may be cloned.

Rules without I/O, but for :func:`judge`: it asks Ceph about the locations
that the rules leave.
"""

from collections.abc import Iterator
import dataclasses
import enum
import re
from urllib import parse

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.model import GlanceImage
from rbdcloner.model import SnapshotFacts

_SCHEME = 'rbd://'
_A_SCHEME = re.compile('[A-Za-z][A-Za-z0-9+.-]{0,30}')
_SHOWN_CHARACTERS = 200


class Refusal(enum.StrEnum):
    """Why a location cannot be cloned; ``sentence`` says it to a person."""

    sentence: str

    def __new__(cls, reason: str, sentence: str) -> 'Refusal':
        member = str.__new__(cls, reason)
        member._value_ = reason
        member.sentence = sentence
        return member

    NO_LOCATION = (
        'no-location',
        'Glance tells this service no location of the image',
    )
    NOT_RBD = 'not-rbd', 'The data is not in Ceph RBD'
    MALFORMED = (
        'malformed',
        'The location is not rbd://fsid/pool/image/snapshot',
    )
    NOT_A_SNAPSHOT = (
        'not-a-snapshot',
        'The location names an RBD image without a snapshot',
    )
    OTHER_CLUSTER = 'other-cluster', 'The data is in another Ceph cluster'
    NOT_RAW = 'not-raw', 'Only images of disk format raw can be cloned'
    NOT_BARE = (
        'not-bare',
        'Only images of container format bare can be cloned',
    )
    EMPTY = 'empty', 'The snapshot has a size of 0 bytes'
    POOL_MISSING = 'pool-missing', 'Ceph has no such pool'
    IMAGE_MISSING = 'image-missing', 'The pool has no such RBD image'
    SNAPSHOT_MISSING = (
        'snapshot-missing',
        'The RBD image has no such snapshot',
    )
    SNAPSHOT_TRASHED = 'snapshot-trashed', 'The snapshot is in the trash'
    FORBIDDEN = 'forbidden', "This service's Ceph key may not open it"
    REFUSED = 'refused', 'Ceph refused to open it'


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
class Location:
    """The four parts of a location, as Ceph knows them (unquoted)."""

    fsid: str
    pool: str
    image: str
    snapshot: str


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What Ceph says of the snapshot to clone; ``None`` if there is none.

    ``location`` is its url as Glance has it. ``refusals`` are (redacted url,
    reason) of the locations that were tried before it, in order.
    """

    location: str
    facts: SnapshotFacts | None
    refusals: tuple[tuple[str, Refusal], ...]

    @property
    def cloneable(self) -> bool:
        """Whether there is a snapshot to clone."""
        return self.facts is not None

    @property
    def summary(self) -> str:
        """The verdict on one line, for a log or an error."""
        if self.cloneable:
            return f'{redact(self.location)} can be cloned'
        return '; '.join(
            f'{reason} ({url})' if url else str(reason)
            for url, reason in self.refusals
        )


def parse_location(url: str) -> Location | Refusal:
    """Take *url* apart, or say what is wrong with it; never raises.

    Quoting is glance_store's (``_drivers/rbd.py``, ``StoreLocation``): each
    part is percent-quoted by itself, so that a part may hold any character.
    """
    if not url.startswith(_SCHEME):
        return Refusal.NOT_RBD
    quoted = url.removeprefix(_SCHEME).split('/')
    parts = [_unquote(part) for part in quoted]
    if not all(parts):
        return Refusal.MALFORMED
    if len(parts) == 1:
        return Refusal.NOT_A_SNAPSHOT
    if len(parts) != 4:
        return Refusal.MALFORMED
    return Location(*parts)


def candidates(
    image: GlanceImage, fsid: str
) -> Iterator[tuple[str, Location | Refusal]]:
    """Yield each location's url with its parts, or why it is out, in order.

    *fsid* is the cluster's that clones are made in. Show the urls through
    :func:`redact` only. An image without locations yields one refusal.
    """
    if not image.locations:
        yield '', Refusal.NO_LOCATION
    for location in image.locations:
        found = parse_location(location.url)
        if isinstance(found, Location):
            yield location.url, _suitable(found, image, fsid)
        else:
            yield location.url, found


def judge(image: GlanceImage, ceph: Driver) -> Verdict:
    """Try *image*'s locations in order until Ceph confirms one.

    Only looks; as many look-ups as there are candidates before a good one.

    :raises CephUnavailable: Ceph did not answer, so nothing is decided.
    :raises CephAuthentication: the key itself is wrong, so nothing is.
    """
    refusals: list[tuple[str, Refusal]] = []
    for url, found in candidates(image, ceph.fsid):
        if isinstance(found, Location):
            looked = _look(found, ceph)
            if isinstance(looked, SnapshotFacts):
                return Verdict(url, looked, tuple(refusals))
        else:
            looked = found
        refusals.append((redact(url) if url else '', looked))
    return Verdict('', None, tuple(refusals))


def check_usable(image: GlanceImage, project_id: str | None = None) -> None:
    """Return if *project_id* may make disks of *image* now.

    ``None`` asks only whether anybody may. Members of a shared image may use
    it accepted or not: accepting only changes what Glance lists, and so does
    hiding an image (``os_hidden``), of which servers go on to be rebuilt.

    :raises ImageNotActive: there is no data yet, or no more.
    :raises ImageForbidden: it is another project's and not shared with it.
    """
    if image.status != 'active':
        raise errors.ImageNotActive(image_id=image.id, status=image.status)
    if project_id is not None and not _available(image, project_id):
        raise errors.ImageForbidden(image_id=image.id, project_id=project_id)


def redact(url: str) -> str:
    """Return *url* on one line, short, and without what may be secret.

    Swift's and S3's locations hold a user and a key before an ``@``, and an
    S3 key is not quoted and may hold a ``/``: all up to the last ``@`` goes.
    A signed http location has its secret behind the ``?``.
    """
    scheme, separator, rest = url.partition('://')
    if not separator or not _A_SCHEME.fullmatch(scheme):
        return '***'
    secret, at, shown = rest.rpartition('@')
    if '?' in secret or '#' in secret:
        shown = '***'
    elif at:
        shown = f'***@{shown}'
    for mark in '?#':
        before, found, _query = shown.partition(mark)
        shown = f'{before}{mark}***' if found else shown
    text = f'{scheme}://{shown}'[:_SHOWN_CHARACTERS]
    return ''.join(c if c.isprintable() else '\ufffd' for c in text)


def _unquote(part: str) -> str:
    """Return *part* unquoted; empty where no RBD name can be that."""
    try:
        name = parse.unquote(part, errors='strict')
        # JSON can hold half a surrogate pair, which no name can.
        name.encode()
    except UnicodeError:
        return ''
    return '' if '\0' in name else name


def _suitable(
    location: Location, image: GlanceImage, fsid: str
) -> Location | Refusal:
    if location.fsid != fsid:
        return Refusal.OTHER_CLUSTER
    if image.disk_format != 'raw':
        return Refusal.NOT_RAW
    if image.container_format != 'bare':
        return Refusal.NOT_BARE
    return location


def _available(image: GlanceImage, project_id: str) -> bool:
    if image.visibility in ('public', 'community'):
        return True
    if not project_id:
        return False
    if image.owner == project_id:
        return True
    return image.visibility == 'shared' and project_id in image.members


def _look(location: Location, ceph: Driver) -> SnapshotFacts | Refusal:
    """Return Ceph's facts of *location*, or why it does not give them.

    Glance knows no RBD namespaces: its images lie in the default one.
    """
    try:
        facts = ceph.find_snapshot(
            location.pool, '', location.image, location.snapshot
        )
        return facts if facts.size_bytes else Refusal.EMPTY
    except errors.CephError as exc:
        for error, reason in _REASONS:
            if isinstance(exc, error):
                return reason
        raise

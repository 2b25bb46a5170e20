# SPDX-License-Identifier: Apache-2.0
"""What the managers refuse, as the errors that Nova knows what to do with.

Nova downloads what is unacceptable for cloning, copies what is forbidden for
a direct snapshot, tells its user of a flavor that is too small; of anything
else it wants no more than a sentence.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib

from nova import exception

from rbdcloner import errors

_Novas = Callable[[errors.Error], exception.NovaException]


def _unacceptable(exc: errors.Error) -> exception.NovaException:
    image_id = exc.kwargs.get('image_id', '')
    return exception.ImageUnacceptable(image_id=image_id, reason=str(exc))


def _with_image(kind: type[exception.NovaException]) -> _Novas:
    return lambda exc: kind(image_id=exc.kwargs['image_id'])


def _with_sentence(kind: type[exception.NovaException]) -> _Novas:
    return lambda exc: kind(str(exc))


def _too_big(exc: errors.Error) -> exception.NovaException:
    return exception.FlavorDiskSmallerThanImage(
        flavor_size=exc.kwargs['size_bytes'],
        image_size=exc.kwargs['image_bytes'],
    )


#: The first that fits; one that fits a class fits those below it, too.
_NOVAS: tuple[tuple[type[errors.Error], _Novas], ...] = (
    (errors.ImageNotFound, _with_image(exception.ImageNotFound)),
    (errors.ImageNotActive, _with_image(exception.ImageNotActive)),
    (errors.ImageForbidden, _with_image(exception.ImageNotAuthorized)),
    (errors.ImageTooBig, _too_big),
    (errors.ImageError, _unacceptable),
    (errors.CephForbidden, _with_sentence(exception.Forbidden)),
    (errors.DiskNotFound, _with_sentence(exception.DiskNotFound)),
    (
        errors.DiskSnapshotNotFound,
        lambda exc: exception.SnapshotNotFound(
            snapshot_id=exc.kwargs['snapshot']
        ),
    ),
    (
        errors.ShrinkRefused,
        lambda exc: exception.ResizeError(reason=str(exc)),
    ),
    (errors.Error, _with_sentence(exception.NovaException)),
)


@contextlib.contextmanager
def as_novas() -> Iterator[None]:
    """Let no error of ours out, but Nova's."""
    try:
        yield
    except errors.Error as exc:
        raise novas(exc) from exc


def novas(exc: errors.Error) -> exception.NovaException:
    """Return what Nova calls *exc*."""
    return next(make(exc) for kind, make in _NOVAS if isinstance(exc, kind))

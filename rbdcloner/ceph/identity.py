# SPDX-License-Identifier: Apache-2.0
"""Is an image what its name says, and may this cluster change it.

Rows know images by their ids, callers by their names, and others rename,
migrate and demote images. What is doubtful is told, and nothing is done.
"""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import errno
from typing import Any

import rbd

from rbdcloner import errors
from rbdcloner.model import Image


@contextlib.contextmanager
def told_apart(image: Image, opened: Any) -> Iterator[None]:
    """Tell what cannot be written here from what Ceph does not answer.

    Librbd answers EROFS for an image whose primary is in another cluster, as
    it does where it did not get a lock in time.
    """
    try:
        yield
    except (rbd.Error, errors.CephUnavailable) as exc:
        if errno.EROFS in (_number(exc), _number(exc.__cause__)):
            refuse_demoted(image, opened)
        raise


def refuse_doubtful(image: Image, opened: Any) -> None:
    """Raise if what was opened by its id is not what its name says."""
    if opened.features() & rbd.RBD_FEATURE_MIGRATING:
        raise errors.RbdImageMigrating(pool=image.pool, image=image.name)
    if image.id and image.name:
        refuse_renamed(image, str(opened.get_name()))


def refuse_demoted(image: Image, opened: Any) -> None:
    """Raise if *image* is mirrored and this cluster's is not the primary."""
    mirrored = opened.mirror_image_get_info()
    if (
        mirrored['state'] == rbd.RBD_MIRROR_IMAGE_ENABLED
        and not mirrored['primary']
    ):
        raise errors.RbdImageDemoted(pool=image.pool, image=image.name)


def refuse_renamed(image: Image, name: str) -> None:
    """Raise if the image with *image*'s id has another *name* by now."""
    if name != image.name:
        raise errors.RbdImageRenamed(
            pool=image.pool, image=image.name, id=image.id, found=name
        )


def refuse_replaced(image: Image, found: str) -> None:
    """Raise if what has *image*'s name by now, *found*, is another image."""
    if found not in ('', image.id):
        raise errors.RbdImageReplaced(
            pool=image.pool, image=image.name, id=image.id, found=found
        )


def refuse_migrating(image: Image, entry: Mapping[str, Any]) -> None:
    """Raise when the trash has the image as the source of a migration."""
    if entry['source'] == 'MIGRATION':
        raise errors.RbdImageMigrating(pool=image.pool, image=image.name)


def _number(exc: BaseException | None) -> int:
    return int(getattr(exc, 'errno', None) or 0)

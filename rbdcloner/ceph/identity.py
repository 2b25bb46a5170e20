# SPDX-License-Identifier: Apache-2.0
"""Is an image what its name says.

Rows know images by their ids, callers by their names, and others rename
and migrate images. What is doubtful is told, and nothing is done.
"""

from collections.abc import Mapping
from typing import Any

import rbd

from rbdcloner import errors
from rbdcloner.model import Image


def refuse_doubtful(image: Image, opened: Any) -> None:
    """Raise if what was opened by its id is not what its name says."""
    if opened.features() & rbd.RBD_FEATURE_MIGRATING:
        raise errors.RbdImageMigrating(pool=image.pool, image=image.name)
    if image.id and image.name:
        refuse_renamed(image, str(opened.get_name()))


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

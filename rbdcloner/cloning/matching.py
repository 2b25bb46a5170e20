# SPDX-License-Identifier: Apache-2.0
"""Is the disk that has the name the one that is asked for?"""

from rbdcloner import errors
from rbdcloner.model import Clone
from rbdcloner.model import DiskRequest
from rbdcloner.model import Image


def check_same(clone: Clone, request: DiskRequest) -> None:
    """Return if *clone* is what a request like this one made.

    :raises DiskDiffers: it is not.
    """
    recorded, asked = clone.glance_image_id, request.image_id
    if recorded != asked:
        raise differs(clone.image, 'image', recorded, asked)
    check_instance(clone, request)
    recorded, asked = clone.project_id, request.project_id
    if recorded != asked:
        raise differs(clone.image, 'project', recorded, asked)
    if clone.size_bytes < request.size_bytes:
        raise differs(
            clone.image, 'size_bytes', clone.size_bytes, request.size_bytes
        )


def check_instance(clone: Clone, request: DiskRequest) -> None:
    """Return if *clone* is of the instance that asks.

    :raises DiskDiffers: it is not.
    """
    recorded, asked = clone.instance_uuid, request.instance_uuid
    if recorded != asked:
        raise differs(clone.image, 'instance', recorded, asked)


def differs(
    image: Image, field: str, recorded: object, asked: object
) -> errors.DiskDiffers:
    """Return what is told who asks for another disk than there is."""
    return errors.DiskDiffers(
        name=image.name,
        pool=image.pool,
        field=field,
        recorded=recorded,
        asked=asked,
    )


def missing(
    clone: Clone, found: str, is_trashed: bool
) -> errors.DiskImageMissing:
    """Return what is told of a disk whose image others took from its name.

    *found* is the name that it has, empty if it has none.
    """
    image = clone.image
    if found:
        what = f'was renamed to {found}: rename it back, or delete that image'
    elif is_trashed:
        what = (
            'was moved to the trash; "rbd trash restore '
            f'-p {image.pool} {image.id}" brings it back'
        )
    else:
        what = 'was removed'
    return errors.DiskImageMissing(
        name=image.name, pool=image.pool, image_id=image.id, found=what
    )

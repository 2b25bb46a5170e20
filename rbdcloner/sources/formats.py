# SPDX-License-Identifier: Apache-2.0
"""Which formats of images are imported, by what Glance says of an image."""

from rbdcloner import errors
from rbdcloner.model import GlanceImage

#: What Glance calls the formats that are imported: as they are …
STREAMED = frozenset({'raw'})
#: … and by way of qemu-img.
CONVERTED = frozenset({'qcow2', 'vmdk', 'vdi', 'vhd', 'vhdx', 'iso'})


def accept(image: GlanceImage) -> None:
    """Return if what Glance says of *image* allows to import it.

    :raises FormatUnsupported: its format is none that is imported.
    :raises ContainerUnsupported: its data is inside something else.
    :raises ImageEmpty: it has none.
    """
    if image.disk_format not in STREAMED | CONVERTED:
        raise errors.FormatUnsupported(
            image_id=image.id, format=image.disk_format or 'unknown'
        )
    if image.container_format != 'bare':
        raise errors.ContainerUnsupported(
            image_id=image.id, container=image.container_format or 'unknown'
        )
    if not image.size_bytes:
        raise errors.ImageEmpty(image_id=image.id)

# SPDX-License-Identifier: Apache-2.0
"""A Glance image to a disk: by the image backend, else by a download."""

from typing import Any
from typing import Protocol

from nova import exception
import nova.conf
from nova.virt import images

CONF = nova.conf.CONF


class Backend(Protocol):
    """An image backend that may make its disk without a download."""

    def direct_fetch(
        self, context: Any, image_id: str, max_size: int = 0
    ) -> None:
        """Make the disk of the image.

        :raises ImageUnacceptable: the image is to be downloaded.
        """


def must_be_verified(instance: Any) -> bool:
    """Tell whether a server's user asked for the signature of its image.

    Nova verifies what it downloads, as long as that lasts; never a clone.
    """
    return instance is not None and bool(instance.trusted_certs)


def may_be_imported() -> bool:
    """Tell whether a manager may import what cannot be cloned.

    Not what Nova's own code would verify as it downloads it.
    """
    known = CONF.glance
    by_default = (
        known.enable_certificate_validation
        and known.default_trusted_certificate_ids
    )
    return not (known.verify_glance_signatures or by_default)


def fetch_to_raw(
    context: Any,
    image_href: str,
    path: str,
    trusted_certs: Any = None,
    backend: Backend | None = None,
    max_size: int = 0,
) -> None:
    """Make the disk of an image, or a raw file at *path* to make it from.

    *max_size* is the disk's size in bytes; 0 is the image's own.
    """
    if backend is not None:
        try:
            backend.direct_fetch(context, image_href, max_size)
            return
        except exception.ImageUnacceptable:
            if CONF.workarounds.never_download_image_if_on_rbd:
                raise
    images.fetch_to_raw(context, image_href, path, trusted_certs)

# SPDX-License-Identifier: Apache-2.0
"""What the service needs of Glance."""

from collections.abc import Iterator
import contextlib
from typing import Protocol

from rbdcloner.model import GlanceImage


class Images(Protocol):
    """Images as Glance shows them to the service."""

    def get(self, image_id: str, project_id: str = '') -> GlanceImage:
        """Return the image, with its members if *project_id* may need them."""

    def look(self, image_id: str) -> GlanceImage:
        """Return the image as it is now, without members."""

    def forget(self, image_id: str) -> None:
        """Ask Glance again next time."""

    def confirm_sight(self) -> None:
        """Return if Glance shows every project's images: a 404 counts."""


class Downloads(Protocol):
    """Data of images."""

    def look(self, image_id: str) -> GlanceImage:
        """Return the image as it is now."""

    def download(
        self, image_id: str
    ) -> contextlib.AbstractContextManager[Iterator[bytes]]:
        """Give the image's data in pieces."""

    def copy_to(self, image_id: str, store: str) -> bool:
        """Have Glance copy the image to a store; whether it began."""


class Glances(Images, Downloads, Protocol):
    """Images and their data."""

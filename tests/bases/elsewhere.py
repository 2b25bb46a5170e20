# SPDX-License-Identifier: Apache-2.0
"""Tests of images that Glance has in another store than the cluster."""

import contextlib
import os
from typing import Any
from typing import ClassVar

from glanceclient import exc as glance_errors

from rbdcloner import rpcapi
from tests.bases import test_bases
from tests.bases import two_stores
from tests.bases.test_bases import MIB


class ElsewhereTest(test_bases.BasesTest):
    """A manager of the Glance with two stores; *imports* are its options."""

    imports: ClassVar[dict[str, object]] = {}
    glance: ClassVar[two_stores.TwoStores]

    @classmethod
    def setUpClass(cls) -> None:
        cls.glance = cls.make_glance()
        url = cls.glance.url
        cls.options = {
            'DEFAULT': test_bases.EAGER,
            'glance': {'endpoint': url, 'endpoint_override': url},
            'imports': cls.imports,
            **cls.more_options(),
        }
        super().setUpClass()

    @classmethod
    def make_glance(cls) -> two_stores.TwoStores:
        """Return the Glance, which runs."""
        return two_stores.shared()

    @classmethod
    def more_options(cls) -> dict[str, dict[str, object]]:
        """Return what else the manager is told."""
        return {}

    def far(self, data: bytes, disk_format: str = 'raw') -> str:
        """Return an image whose data is elsewhere; it goes with the test."""
        made = self.glance.upload(
            'far', data, disk_format=disk_format, store=two_stores.FAR
        )
        self.addCleanup(self.delete_image, made.id)
        return str(made.id)

    def delete_image(self, image_id: str) -> None:
        with contextlib.suppress(glance_errors.HTTPNotFound):
            self.glance.delete(image_id)

    def ask(
        self, timeout_s: float, image_id: str, **changes: Any
    ) -> rpcapi.Disk:
        """Make a disk, waiting for no longer than that."""
        asked = self.asked(image_id=image_id, import_='allowed', **changes)
        return self.api.within(timeout_s).create_disk(self.ctxt, **asked)

    def objects(self, rbd_id: str) -> int:
        """Return how many objects have data of an image, by its id."""
        with self.pool() as ioctx:
            return sum(
                each.key.startswith(f'rbd_data.{rbd_id}.')
                for each in ioctx.list_objects()
            )

    def scratch(self) -> list[str]:
        """Return the names of the manager's scratch files."""
        folder = self.manager.folder / 'scratch'
        return [each.name for each in folder.glob('*') if each.name != 'lock']


def sparse(size_bytes: int, *numbers: int) -> bytes:
    """Return zeros with some data in the 4 MiB pieces of these *numbers*."""
    data = bytearray(size_bytes)
    for number in numbers:
        begin = 4 * number * MIB
        end = min(begin + MIB, size_bytes)
        data[begin:end] = os.urandom(end - begin)
    return bytes(data)

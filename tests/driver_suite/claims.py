# SPDX-License-Identifier: Apache-2.0
"""What the parts of the suite have in common."""

import itertools
import os
from typing import Any

from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import Snapshot

MIB = 1 << 20
NOWHERE = 'no-such-pool'

_numbers = itertools.count(1)


class DriverSuite:
    """Mixed into a test case."""

    clone_format: CloneFormat
    cluster: Any

    @property
    def driver(self) -> Any:
        return self.cluster.driver

    def name(self, what: str) -> str:
        return f'{what}-{os.getpid()}-{next(_numbers)}'

    def image(self, name: str, pool: str = '', namespace: str = '') -> Image:
        """A noun: nothing is made."""
        pool = pool or self.cluster.disk_pool
        return Image(self.driver.fsid, pool, namespace, name)

    def parent(self, protected: bool = True, **keywords: Any) -> Snapshot:
        made = self.cluster.add_image(
            self.cluster.image_pool, self.name('parent'), 8 * MIB, **keywords
        )
        self.cluster.write(made, 0, b'parent')
        return self.cluster.add_snapshot(made, 'snap', protected=protected)

    def clone(self, parent: Snapshot, child: Image, order: int = 22) -> Image:
        self.driver.clone(parent, child, self.clone_format, order)
        return self.found(child).image

    def child(self, parent: Snapshot, pool: str = '') -> Image:
        return self.clone(parent, self.image(self.name('child'), pool))

    def found(self, image: Image) -> Any:
        facts = self.driver.find_image(image)
        self.assertIsNotNone(facts, f'{image} is not there')
        return facts

    def remove(self, image: Image) -> None:
        self.driver.trash(image)
        self.driver.purge(image)

    def is_protected(self, snapshot: Snapshot) -> bool:
        image = snapshot.image
        return self.driver.find_snapshot(
            image.pool, image.namespace, image.name, snapshot.name
        ).protected

# SPDX-License-Identifier: Apache-2.0
"""A manager that is told to end leaves its chores to others."""

import os
import time
from typing import Any
from typing import ClassVar

from rbdcloner.db import engine
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Filters
from rbdcloner.model import FlattenReason
from tests.functional import service
from tests.functional.service import MIB
from tests.stack import manager

#: At 1 MiB a second it takes a minute.
SIZE_BYTES = 64 * MIB
ENDS_WITHIN_S = 15


class FlattenTest(service.ServiceTest):
    """A manager flattens slowly; another one does not."""

    options: ClassVar[dict[str, dict[str, object]]] = {
        'flatten': {'mib_per_s': 1}
    }

    def setUp(self) -> None:
        super().setUp()
        self.data = os.urandom(MIB) * (SIZE_BYTES // MIB)
        image = self.servers.glance.upload('long', self.data)
        self.addCleanup(self.servers.glance.delete, image.id)
        self.disk = self.create(image_id=image.id, size_bytes=SIZE_BYTES)

    def want_flatten(self) -> None:
        connected = engine.connect(self.database_url)
        self.addCleanup(connected.dispose)
        lineage = Lineage(connected)
        (clone,) = lineage.page(Filters(uuid=self.disk['uuid']))
        lineage.want_flatten(clone, FlattenReason.RELEASE)

    def flattens(self) -> list[tuple[Any, ...]]:
        return self.select('SELECT state, done_objects > 0 FROM flattens')

    def another(self) -> manager.Manager:
        return manager.Manager(
            self.servers,
            self.database_url,
            name=f'{self.manager.name}-another',
        )

    def test_a_flatten_that_was_stopped_is_finished_by_another(self) -> None:
        self.want_flatten()
        self.assert_becomes([('running', 1)], self.flattens)
        daemon = self.manager.daemons[self.manager.name]
        self.addCleanup(daemon.start)
        began = time.monotonic()
        daemon.stop(timeout_s=4 * ENDS_WITHIN_S)
        self.assertLess(time.monotonic() - began, ENDS_WITHIN_S)
        self.assertEqual(2, self.manager.output.count('has finished'))
        self.assertEqual([('wanted', 1)], self.flattens())
        with self.another():
            self.assert_becomes(
                'done', lambda: self.flattens()[0][0], ENDS_WITHIN_S
            )
        self.assertEqual(self.data, self.read(self.disk, 0, SIZE_BYTES))

# SPDX-License-Identifier: Apache-2.0
"""A manager on the schema of the release before, and its way to the new."""

from typing import Any
from typing import ClassVar
import uuid

from rbdcloner.db import engine
from rbdcloner.db import migration
from tests.functional import service

APPEARS_WITHIN_S = 30


class UpgradeTest(service.ServiceTest):
    """It works before the migration, and needs no restart after it."""

    database: ClassVar[str] = 'mariadb'
    revision: ClassVar[str] = migration.OLDEST

    def workers(self) -> list[tuple[Any, ...]]:
        return self.select(
            'SELECT DISTINCT host, stopped_at IS NULL, clock_offset_ms < 2000'
            ' FROM workers'
        )

    def test_migrated_while_it_works(self) -> None:
        self.use()
        said = self.manager.output
        (line,) = [each for each in said.splitlines() if ' WARNING ' in each]
        self.assertIn('Run "rbdcloner-manage db sync"', line)
        self.assertIn(f'revision {migration.OLDEST}', line)
        connected = engine.connect(self.database_url)
        self.addCleanup(connected.dispose)
        migration.upgrade(connected)
        self.assert_becomes(
            [(self.manager.name, 1, 1)], self.workers, APPEARS_WITHIN_S
        )
        self.assertEqual(2, self.manager.output.count('answers on'))
        self.use()

    def use(self) -> None:
        """Make a disk and an image of it, and remove both."""
        disk = self.create()
        name, pool = disk['name'], disk['pool']
        location = self.api.snapshot_disk(
            self.ctxt, name, pool, str(uuid.uuid4()), 'images'
        )
        self.api.discard_snapshot(self.ctxt, location)
        self.api.delete_disk(self.ctxt, name, pool)
        self.assert_nothing_left()

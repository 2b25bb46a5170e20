# SPDX-License-Identifier: Apache-2.0
"""A manager whose database a next release has migrated."""

import pathlib
import tempfile
from typing import ClassVar
import uuid

from rbdcloner.db.core import engine
from rbdcloner.db.core import upgrade
from tests.functional import service
from tests.migrations import next_release


class UpgradeTest(service.ServiceTest):
    """It works on, and starts, on the newer schema."""

    database: ClassVar[str] = 'mariadb'

    def test_migrated_while_it_works(self) -> None:
        self.use()
        folder = self.enterContext(tempfile.TemporaryDirectory())
        connected = engine.connect(self.database_url)
        self.addCleanup(connected.dispose)
        with next_release.installed(pathlib.Path(folder)):
            upgrade.upgrade(connected)
        self.assertEqual(next_release.REVISION, upgrade.current(connected))
        self.use()
        self.manager.restart()
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

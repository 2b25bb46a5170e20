# SPDX-License-Identifier: Apache-2.0
"""A database that is silent for longer than a lease: a failover of 30 s."""

import contextlib
import time
from typing import ClassVar
import uuid

from rbdcloner import errors
from tests.bases import elsewhere
from tests.bases.test_bases import MIB
from tests.stack import manager
from tests.stack import process

SILENT_S = 30
SIZE = 48 * MIB
_PATIENCE_S = 240


class SilenceTest(elsewhere.ElsewhereTest):
    """Two managers, an import that takes 48 s, and one manager more."""

    database: ClassVar[str] = 'mariadb'
    imports: ClassVar[dict[str, object]] = {'limit': 1, 'mib_per_s': 1}

    def another(self) -> manager.Manager:
        return manager.Manager(
            self.servers,
            self.database_url,
            name=f'{self.manager.name}-{uuid.uuid4().hex[:6]}',
            options=self.options,
            sync=False,
        )

    def test_import_goes_on_after_a_failover_of_the_database(self) -> None:
        self.useFixture(self.another())
        image_id = self.far(elsewhere.sparse(SIZE, 0, 5))
        with contextlib.suppress(errors.Error):
            self.ask(1, image_id, size_bytes=SIZE)
        running = "state = 'running' AND done_bytes > 0"
        process.wait_until(
            lambda: self.select(f'SELECT id FROM bases WHERE {running}'),  # noqa: S608
            'some of the data',
            _PATIENCE_S,
        )
        server = self.servers.databases[self.database]
        server.pause()
        try:
            time.sleep(SILENT_S)
        finally:
            server.resume()
        # A worker that knows of the silence by the database alone.
        self.useFixture(self.another())
        process.wait_until(
            lambda: self.bases(image_id, 'state') == [('ready',)],
            'the end of the import',
            _PATIENCE_S,
        )
        # It was begun once, and its holder was never blocklisted.
        self.assertEqual([(0, 1)], self.bases(image_id, 'attempts, fence'))
        self.assertEqual(
            [], self.select('SELECT owner FROM workers WHERE shut_out_at > 0')
        )
        self.assertEqual([('ready',)], self.select('SELECT state FROM clones'))

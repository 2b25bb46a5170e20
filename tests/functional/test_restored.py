# SPDX-License-Identifier: Apache-2.0
"""A manager whose database is restored under it, and db restored after it."""

import json

import rados
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.model import Mark
from tests.functional import administrator
from tests.functional import service


class RestoredTest(service.ServiceTest):
    database = 'mariadb'

    def execute(self, statement: str) -> None:
        connected = sa.create_engine(self.database_url)
        with connected.begin() as connection:
            connection.execute(sa.text(statement))
        connected.dispose()

    def advance_pool(self) -> None:
        """Let the pool be a generation that the database is not yet."""
        with self.pool() as ioctx, rados.ReadOpCtx() as reading:
            found, _ = ioctx.get_omap_vals_by_keys(reading, ('mark',))
            ioctx.operate_read_op(reading, 'rbdcloner.lineage')
            ((_, text),) = found
            mark = Mark.of_text(text.decode())
            ahead = Mark(mark.lineage, mark.generation + 5, 'newer')
            with rados.WriteOpCtx() as writing:
                ioctx.set_omap(writing, ('mark',), (ahead.as_text(),))
                ioctx.operate_write_op(writing, 'rbdcloner.lineage')

    def stopped(self) -> bool:
        ran = administrator.run(self.manager.conf, 'service', 'list')
        return 'the database is older than pool vms' in ran.err

    def test_disk_of_after_the_backup_is_kept_known_and_deleted(self) -> None:
        disk, kept = self.create(), self.create()
        # As a backup of before the disks leaves the database.
        self.execute('DELETE FROM recreations')
        self.execute('DELETE FROM clones')
        self.advance_pool()
        self.assert_becomes(True, self.stopped)
        self.assertRaises(
            errors.DatabaseOutdated,
            self.api.delete_disk,
            self.ctxt,
            disk['name'],
            'vms',
        )
        other = self.create()
        ran = administrator.run(
            self.manager.conf, 'db', 'restored', '-f', 'json'
        )
        self.assertEqual(administrator.DONE, ran.code, ran.err)
        self.assertEqual(
            {
                f'vms/{disk["name"]}': 'deleting',
                f'vms/{kept["name"]}': 'adopted',
            },
            {row['Image']: row['Result'] for row in json.loads(ran.out)},
        )
        self.assert_becomes(False, self.stopped)
        for each in (kept, other):
            known = self.api.get_disk(self.ctxt, each['name'], 'vms')
            self.assertEqual(each['uuid'], known['uuid'])
            self.assertEqual(service.GOLDEN[:4], self.read(each, 0, 4))
            self.api.delete_disk(self.ctxt, each['name'], 'vms')

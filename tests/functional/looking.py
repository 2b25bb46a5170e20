# SPDX-License-Identifier: Apache-2.0
"""Tests that look at what lies in Ceph, and in the lineage database."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
from typing import Any
from typing import ClassVar

import rbd
import sqlalchemy as sa
import testtools

from rbdcloner import rpcapi
from tests import stack
from tests.stack import process
from tests.stack import reading

#: What is in progress, or in the trash, by the table that it is in.
UNFINISHED = {
    'clones': 'SELECT name, state, reason FROM clones '
    "WHERE state NOT IN ('deleted', 'failed')",
    'parents': 'SELECT image_name, snapshot_name, state FROM parents '
    "WHERE state IN ('planned', 'releasing')",
    'flattens': 'SELECT clone_id, state, reason FROM flattens '
    "WHERE state IN ('wanted', 'running')",
    'bases': 'SELECT glance_image_id, state, reason FROM bases '
    "WHERE state IN ('wanted', 'running')",
}
#: A watch of who was killed lasts for 30 s.
SETTLES_S = 300


class LookingTest(testtools.TestCase):
    """What a test knows of the servers, and how it looks at them."""

    servers: ClassVar[stack.Stack]
    database_url: ClassVar[str]
    before: set[str]
    """What ``in_ceph`` gave when the test began."""

    @contextlib.contextmanager
    def pool(self, name: str = 'vms') -> Iterator[Any]:
        """Yield an ioctx of an administrator's."""
        with self.servers.ceph.connection() as connection:
            ioctx = connection.open_ioctx(name)
            try:
                yield ioctx
            finally:
                ioctx.close()

    def in_ceph(self) -> set[str]:
        """Return what lies in the disks' pool and in the trash."""
        with self.pool() as ioctx:
            names = set(rbd.RBD().list(ioctx))
        return names | self.trash('vms') | self.trash('images')

    def trash(self, pool: str) -> set[str]:
        """Return the names that lie in the trash of a pool, with their ids."""
        with self.pool(pool) as ioctx:
            return {
                f'{each["name"]} ({each["id"]})'
                for each in rbd.RBD().trash_list(ioctx)
            }

    def rows(self, where: str = '1 = 1') -> list[tuple[Any, ...]]:
        """Return (name, state) of the clones that meet *where*."""
        return self.select(f'SELECT name, state FROM clones WHERE {where}')  # noqa: S608

    def select(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows that the lineage database has for *query*."""
        connected = sa.create_engine(self.database_url)
        with connected.connect() as connection:
            found = connection.execute(sa.text(query)).all()
        connected.dispose()
        return [tuple(row) for row in found]

    def assert_becomes(
        self,
        wanted: object,
        look: Callable[[], object],
        within_s: float = SETTLES_S,
    ) -> None:
        """Assert that *look* returns *wanted* before long, once."""
        seen: object = None

        def is_wanted() -> bool:
            nonlocal seen
            seen = look()
            return seen == wanted

        with contextlib.suppress(stack.StackError):
            process.wait_until(is_wanted, '', within_s)
        self.assertEqual(wanted, seen)

    def assert_nothing_left(self) -> None:
        """Assert that Ceph gets as it was, and that every row gets final.

        In this order: a survey may still adopt what lies in the trash.
        """
        self.assert_becomes(self.before, self.in_ceph)
        self.assert_becomes([], self.unfinished)

    def unfinished(self) -> list[tuple[Any, ...]]:
        """Return the rows that something is still to be done for.

        The schema of a release before lacks what came later.
        """
        connected = sa.create_engine(self.database_url)
        tables = sa.inspect(connected).get_table_names()
        connected.dispose()
        return [
            row
            for table, query in UNFINISHED.items()
            if table in tables
            for row in self.select(query)
        ]

    def read(self, disk: rpcapi.Disk, offset: int, length: int) -> bytes:
        """Read a disk with librbd."""
        with (
            self.pool(disk['pool']) as ioctx,
            reading.opened(ioctx, disk['name']) as image,
        ):
            return bytes(image.read(offset, length))

    def write(self, disk: rpcapi.Disk, offset: int, data: bytes) -> None:
        """Write into a disk with librbd."""
        with (
            self.pool(disk['pool']) as ioctx,
            rbd.Image(ioctx, disk['name']) as image,
        ):
            image.write(data, offset)

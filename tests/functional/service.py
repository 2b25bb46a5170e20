# SPDX-License-Identifier: Apache-2.0
"""Tests against a running rbdcloner-manager on the shared servers."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import itertools
import os
from typing import Any
from typing import ClassVar
import uuid

import rbd
import sqlalchemy as sa
import testtools

from rbdcloner import errors
from rbdcloner import rpcapi
from rbdcloner.db import engine
from rbdcloner.db import migration
from tests import stack
from tests.stack import manager
from tests.stack import process

MIB = 2**20
GOLDEN = os.urandom(4 * MIB)
PROJECT = uuid.uuid4().hex

#: What is in progress, or in the trash, in the database.
UNFINISHED = (
    'SELECT name, state, reason FROM clones '
    "WHERE state NOT IN ('deleted', 'failed')",
    'SELECT image_name, snapshot_name, state FROM parents '
    "WHERE state IN ('planned', 'releasing')",
    'SELECT clone_id, state, reason FROM flattens '
    "WHERE state IN ('wanted', 'running')",
)
#: A watch of who was killed lasts for 30 s.
SETTLES_S = 60

_numbers = itertools.count(1)


class ServiceTest(testtools.TestCase):
    """One manager and one golden image for the tests of a class.

    Soon after each test nothing may be in the disks' pool, nor in the trash
    of any pool, but what was there before, and every row must be final.
    """

    kind: ClassVar[type[manager.Manager]] = manager.Manager
    database: ClassVar[str] = 'sqlite'
    options: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    client_timeout_s: ClassVar[float] = 60
    revision: ClassVar[str] = 'head'
    """Of the database's schema, when the manager starts."""

    servers: ClassVar[stack.Stack]
    manager: ClassVar[manager.Manager]
    api: ClassVar[rpcapi.API]
    image_id: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.servers = stack.shared()
        cls.database_url = cls.servers.databases[cls.database].create()
        connected = engine.connect(cls.database_url)
        migration.upgrade(connected, cls.revision)
        connected.dispose()
        cls.manager = cls.kind(
            cls.servers,
            cls.database_url,
            name=f'manager-{os.getpid()}-{next(_numbers)}',
            options=cls.options,
            sync=False,
        )
        cls.manager.setUp()
        cls.addClassCleanup(cls.manager.cleanUp)
        cls.api = cls.manager.client(cls.client_timeout_s)
        cls.image_id = cls.servers.glance.upload('golden', GOLDEN).id

    def setUp(self) -> None:
        super().setUp()
        self.ctxt = manager.caller(PROJECT)
        self.before = self.in_ceph()
        self.addCleanup(self.assert_nothing_left)
        self.addCleanup(self.delete_disks)

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

    def asked(self, **changes: Any) -> dict[str, Any]:
        """Return the arguments of a good ``create_disk``."""
        instance = str(uuid.uuid4())
        return {
            'image_id': self.image_id,
            'name': f'{instance}_disk',
            'size_bytes': 8 * MIB,
            'pool': 'vms',
            'instance_uuid': instance,
            'project_id': PROJECT,
            'host': 'compute-1',
        } | changes

    def create(self, **changes: Any) -> rpcapi.Disk:
        """Make a disk through RabbitMQ."""
        return self.api.create_disk(self.ctxt, **self.asked(**changes))

    def delete_disks(self) -> None:
        """Delete every disk that the tests made."""
        for state in ('ready', 'deleting'):
            page = self.api.list_disks(self.ctxt, state=state, limit=1000)
            for disk in page['disks']:
                # Of one in use, the manager goes on with the deletion.
                with contextlib.suppress(errors.DiskInUse):
                    self.api.delete_disk(self.ctxt, disk['name'], disk['pool'])

    def assert_nothing_left(self) -> None:
        """Assert that Ceph gets as it was, and that every row gets final.

        In this order: a survey may still adopt what lies in the trash.
        """
        self.assert_becomes(self.before, self.in_ceph)
        self.assert_becomes([], self.unfinished)

    def unfinished(self) -> list[tuple[Any, ...]]:
        """Return the rows that something is still to be done for."""
        return [row for query in UNFINISHED for row in self.select(query)]

    def read(self, disk: rpcapi.Disk, offset: int, length: int) -> bytes:
        """Read a disk with librbd."""
        with (
            self.pool(disk['pool']) as ioctx,
            rbd.Image(ioctx, disk['name'], read_only=True) as image,
        ):
            return bytes(image.read(offset, length))

    def write(self, disk: rpcapi.Disk, offset: int, data: bytes) -> None:
        """Write into a disk with librbd."""
        with (
            self.pool(disk['pool']) as ioctx,
            rbd.Image(ioctx, disk['name']) as image,
        ):
            image.write(data, offset)

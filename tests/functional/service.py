# SPDX-License-Identifier: Apache-2.0
"""Tests against a running rbdcloner-manager on the shared servers."""

from collections.abc import Mapping
import contextlib
import itertools
import os
from typing import Any
from typing import ClassVar
import uuid

from rbdcloner import errors
from rbdcloner import rpcapi
from rbdcloner.db import engine
from rbdcloner.db import migration
from tests import stack
from tests.functional import looking
from tests.stack import manager

MIB = 2**20
GOLDEN = os.urandom(4 * MIB)
PROJECT = uuid.uuid4().hex

_numbers = itertools.count(1)


class ServiceTest(looking.LookingTest):
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

# SPDX-License-Identifier: Apache-2.0
"""The rooms on the schema of the release before, until it is migrated."""

import dataclasses
import pathlib
import uuid

import fixtures
import testtools

from rbdcloner.db import engine
from rbdcloner.db import migration
from rbdcloner.states import State
from tests.unit.cloning import service


class ServiceBefore(service.Service):
    """A service whose database is of the release before."""

    def _empty_database(self) -> pathlib.Path:
        path = pathlib.Path(self.useFixture(fixtures.TempDir()).path, 'empty')
        connected = engine.connect(f'sqlite:///{path}')
        migration.upgrade(connected, migration.OLDEST)
        connected.dispose()
        return path


class ReleaseBeforeTest(testtools.TestCase):
    """What disks and images need is there; who works is not recorded."""

    def setUp(self) -> None:
        super().setUp()
        self.service = self.useFixture(ServiceBefore())
        self.process = self.service.process()
        self.lineage = self.process.lineage

    def test_disks_and_images_are_made_and_removed(self) -> None:
        image_id = self.service.add_image()
        process = self.process
        disk = process.engine.create_disk(service.request(image_id))
        location = process.snapshots.snapshot_disk(
            'vms', disk.image.name, str(uuid.uuid4()), 'images'
        )
        process.flattener.run_next()
        process.survey.look()
        process.snapshots.discard_snapshot(location)
        process.engine.remove(disk, service.ASKED)
        process.sweep_until_quiet()
        self.assertEqual(
            [State.DELETED] * 2,
            [state for _name, state in self.service.rows()],
        )

    def test_disks_are_written_by_callers_and_adopted(self) -> None:
        process, ceph = self.process, self.service.ceph
        asked = service.request('', call='a-call', after=0)
        for _ in range(2):
            begun = process.imports.begin(asked)
            asked = dataclasses.replace(asked, call='another')
        ready = process.imports.finish(
            'vms', begun.image.name, begun.image.id, service.MIB
        )
        self.assertIs(State.READY, ready.state)
        ceph.add_image('vms', 'theirs', service.MIB)
        adopted = process.noted.adoption.adopt(
            dataclasses.replace(asked, name='theirs')
        )
        self.assertIs(State.READY, adopted.state)
        process.engine.delete_disks(asked.instance_uuid, '')
        process.sweep_until_quiet()
        self.assertEqual([], ceph.inventory())

    def test_what_a_dead_process_left_is_taken_over(self) -> None:
        process = self.process
        request = service.request(self.service.add_image())
        disk = process.engine.create_disk(request)
        held = self.lineage.hold(disk, 'the dead', -1)
        self.lineage.move(held, State.DELETING)
        process.sweep_until_quiet()
        self.assertEqual(
            [State.DELETED], [state for _name, state in self.service.rows()]
        )

    def test_workers_appear_once_it_is_migrated(self) -> None:
        """The process is not started again."""
        worker = ('me', 'a-host', 42, '2.0', '1.2')
        self.lineage.register_worker(*worker)
        self.assertEqual([], self.lineage.workers())
        migration.upgrade(self.lineage.writer)
        self.assertFalse(self.lineage.beat('me', 0))
        self.lineage.register_worker(*worker)
        self.assertTrue(self.lineage.beat('me', 0))
        (known,) = self.lineage.workers()
        self.assertEqual('a-host', known.host)

# SPDX-License-Identifier: Apache-2.0
"""What Glance deletes without a word to Ceph, and what was answered twice."""

import datetime
import uuid

import fixtures
import testtools

from rbdcloner import errors
from rbdcloner.model import CloneFormat
from rbdcloner.model import Filters
from rbdcloner.model import FlattenReason
from rbdcloner.model import GlanceImage
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.states import BaseState
from rbdcloner.states import FlattenState
from rbdcloner.states import State
from tests.unit.cloning import bases
from tests.unit.cloning import service
from tests.unit.cloning import tree


class SurveyTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.service = self.useFixture(service.Service(CloneFormat.V2))
        self.ceph = self.service.ceph
        self.process = self.service.process()
        self.image_id = self.service.add_image()
        request = service.request(self.image_id)
        self.disk = self.process.engine.create_disk(request)

    def snapshot(self) -> Image:
        """Make an image of the disk that Glance never gets to know."""
        snapshots = self.process.snapshots
        image_id = str(uuid.uuid4())
        snapshots.snapshot_disk(
            'vms', self.disk.image.name, image_id, 'images'
        )
        return self.row(image_id).image

    def row(self, image_id: str):
        made = Filters(glance_image_id=image_id, kind=Kind.IMAGE)
        (clone,) = self.process.lineage.page(made)
        return clone

    def waive_patience(self) -> None:
        self.useFixture(
            fixtures.MonkeyPatch(
                'rbdcloner.cloning.survey._REGISTERED_WITHIN',
                -datetime.timedelta(minutes=1),
            )
        )

    def test_an_image_that_glance_deleted_unregistered_is_removed(self):
        image = self.snapshot()
        self.waive_patience()
        self.process.survey.look()
        self.process.sweep_until_quiet()
        self.assertIs(State.DELETED, self.row(image.name).state)
        self.assertNotIn(image.name, self.ceph.named('images'))

    def test_a_notification_says_so_at_once(self):
        image = self.snapshot()
        self.process.absent_images.image_deleted(image.name)
        self.assertIs(State.RETIRED, self.row(image.name).state)

    def test_an_image_that_is_being_registered_stays(self):
        image = self.snapshot()
        self.process.survey.look()
        self.assertIs(State.READY, self.row(image.name).state)
        self.waive_patience()
        self.service.glance.images[image.name] = GlanceImage(
            id=image.name,
            status='queued',
            disk_format='raw',
            size_bytes=0,
            hidden=False,
            visibility='private',
            owner=service.PROJECT,
            members=frozenset(),
            locations=(),
        )
        self.process.survey.look()
        self.process.absent_images.image_deleted(image.name)
        self.assertIs(State.READY, self.row(image.name).state)

    def test_an_image_that_is_destroyed_is_not_adopted(self):
        image = self.snapshot()
        snap = self.ceph.find_snapshot('images', '', image.name, 'snap')
        parent = self.process.lineage.find_parent(snap.snapshot)
        self.process.absent_images.image_deleted(image.name)
        self.process.sweep_until_quiet()
        adopter = self.process.reaper.adopter
        self.assertIsNone(adopter.adopt_if_gone(parent))
        adopted = self.process.lineage.page(Filters(kind=Kind.ADOPTED))
        self.assertEqual([], adopted)

    def read_one_by_one(self) -> None:
        for limit in ('_ROWS_AT_ONCE', '_PARENTS_AT_ONCE'):
            self.useFixture(
                fixtures.MonkeyPatch(f'rbdcloner.cloning.survey.{limit}', 1)
            )

    def test_every_image_that_glance_deleted_is_noticed(self):
        self.read_one_by_one()
        deleted = [self.service.add_image() for _ in range(3)]
        for image_id in deleted:
            self.process.engine.create_disk(service.request(image_id))
            self.service.delete_image(image_id)
        self.process.survey.look()
        adopted = self.process.lineage.page(Filters(kind=Kind.ADOPTED))
        self.assertEqual(deleted, [each.glance_image_id for each in adopted])

    def test_images_are_looked_at_closely_in_turn(self):
        self.read_one_by_one()
        images = [self.snapshot() for _ in range(3)]
        for _ in images:
            self.process.survey.look()
        self.waive_patience()
        for left in (2, 1, 0):
            self.process.survey.look()
            states = [self.row(image.name).state for image in images]
            self.assertEqual(left, states.count(State.READY))

    def test_another_snapshots_location_discards_nothing(self):
        image = self.snapshot()
        self.assertRaises(
            errors.InvalidArgument,
            self.process.snapshots.discard_snapshot,
            f'rbd://{self.ceph.fsid}/images/{image.name}/other',
        )
        self.assertIs(State.READY, self.row(image.name).state)


class DepthTest(testtools.TestCase):
    def test_whom_a_flatten_waits_for_nobody_else_is_flattened(self) -> None:
        world = self.useFixture(service.Service(soft_depth=1))
        process = world.process()
        disk = process.engine.create_disk(service.request(world.add_image()))
        images = []
        for _ in range(2):
            image_id = str(uuid.uuid4())
            location = process.snapshots.snapshot_disk(
                'vms', disk.image.name, image_id, 'images'
            )
            world.register_image(image_id, location, disk.size_bytes)
            images.append(image_id)
            disk = process.engine.create_disk(service.request(image_id))
        wanted = process.lineage.flattens((FlattenState.WANTED,))
        self.assertEqual(
            [(images[0], FlattenReason.DEPTH)],
            [(each.clone.image.name, each.why) for each in wanted],
        )


class BaseTest(testtools.TestCase):
    """Of an image that the service imported, and Glance still has."""

    def setUp(self) -> None:
        super().setUp()
        self.service = self.useFixture(service.Service())
        self.importer = bases.Importer(self.service)
        self.base = self.importer.make()
        self.disk = self.importer.disk_of(self.base)

    def image(self) -> Image:
        return self.base.clone.image

    def test_a_base_that_others_trash_is_imported_anew(self) -> None:
        self.service.ceph.trash(self.image())
        process = self.importer.process
        process.survey.look()
        self.assertIsNone(process.lineage.parent_of_base(self.base))
        now = process.lineage.base(self.base.uuid)
        self.assertIs(BaseState.DROPPED, now.state)
        self.assertIs(State.RETIRED, now.clone.state)
        self.importer.disk_of(self.importer.make())
        process.engine.remove(self.disk, service.ASKED)
        process.sweep_until_quiet()
        self.assertNotIn(self.image().id, self.service.ceph.trashed('vms'))

    def test_what_is_retired_of_an_image_is_not_its_base(self) -> None:
        release = tree.release(self.importer.process)
        self.assertEqual([], release.retire(self.importer.image_id))
        now = self.importer.lineage.base(self.base.uuid)
        self.assertEqual(self.base, now)

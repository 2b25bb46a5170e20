# SPDX-License-Identifier: Apache-2.0
"""A Glance image that lost its snapshot to a failed deletion gets it back."""

import testtools

from rbdcloner import errors
from rbdcloner.cloning import survey
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import Purpose
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.unit.cloning import service


class RepairTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.service = self.useFixture(service.Service(CloneFormat.V2))
        self.ceph = self.service.ceph
        self.process = self.service.process()
        self.image_id = self.service.add_image()
        self.image = self.ceph.find_image(
            Image(self.ceph.fsid, 'images', '', self.image_id)
        ).image

    def create(self):
        request = service.request(self.image_id)
        return self.service.process().engine.create_disk(request)

    def fail_to_delete(self) -> None:
        """Delete the image as a Glance does that dies half-way."""
        snapshot = self.service.parent_of(self.image_id)
        self.ceph.unprotect(snapshot)
        self.ceph.drop_snapshot(snapshot)

    def lost_and_repaired(self) -> None:
        self.fail_to_delete()
        snapshots = self.ceph.snapshots(self.image)
        self.assertEqual(
            [True] * len(snapshots), [s.trashed for s in snapshots]
        )
        clone = self.create()
        self.assertIs(State.READY, clone.state)
        self.assertIs(Purpose.GLANCE, clone.parent.purpose)
        self.assertEqual(b'golden', self.ceph.read(clone.image, 0, 6))
        last = self.ceph.snapshots(self.image)[-1]
        self.assertEqual(
            ('snap', True, False),
            (last.snapshot.name, last.protected, last.trashed),
        )

    def test_disks_are_made_of_it_again(self) -> None:
        first = self.create()
        self.lost_and_repaired()
        self.assertEqual(b'golden', self.ceph.read(first.image, 0, 6))

    def test_it_is_repaired_again_when_it_is_damaged_again(self) -> None:
        self.create()
        self.lost_and_repaired()
        self.lost_and_repaired()

    def test_the_survey_repairs_it_too(self) -> None:
        self.create()
        self.fail_to_delete()
        self.process.survey.look()
        last = self.ceph.snapshots(self.image)[-1]
        self.assertEqual(('snap', False), (last.snapshot.name, last.trashed))

    def test_the_survey_leaves_alone_what_glance_is_deleting(self) -> None:
        self.create()
        self.fail_to_delete()
        self.patch(survey, '_GLANCE_DELETES_WITHIN_S', 60)
        self.process.survey.look()
        self.process.survey.look()
        self.assertTrue(self.ceph.snapshots(self.image)[-1].trashed)

    def test_whoever_repairs_it_too_is_nobody_who_changes_it(self) -> None:
        self.create()
        self.fail_to_delete()
        other = self.service.process()

        def meet(act: str, when: str) -> None:
            if (act, when) == ('take_snapshot', 'before'):
                self.ceph.on_act = lambda act, when: None
                with self.ceph.watch(self.image):
                    other.engine.create_disk(service.request(self.image_id))

        self.ceph.on_act = meet
        self.assertIs(State.READY, self.create().state)
        names = [
            each.snapshot.name for each in self.ceph.snapshots(self.image)
        ]
        self.assertEqual(2, names.count('snap'))

    def test_what_somebody_has_open_is_not_repaired(self) -> None:
        self.create()
        self.fail_to_delete()
        with self.ceph.watch(self.image):
            self.assertRaises(errors.ImageDamaged, self.create)

    def test_what_was_written_since_is_not_repaired(self) -> None:
        self.create()
        self.fail_to_delete()
        self.ceph.write(self.image, 0, b'other!')
        self.assertRaises(errors.ImageDamaged, self.create)

    def test_afterwards_everything_goes(self) -> None:
        clones = [self.create()]
        self.lost_and_repaired()
        for clone in self.process.engine.page(service.Filters(), 0, 100):
            clones.append(clone)
            self.process.engine.remove(clone, service.ASKED)
        self.ceph.glance_delete(self.image)
        del self.service.glance.images[self.image_id]
        self.process.survey.look()
        self.process.sweep_until_quiet()
        self.process.survey.look()
        self.process.sweep_until_quiet()
        self.assertEqual([], self.ceph.inventory())

    def test_what_is_deleted_while_it_is_repaired_leaves_no_plan(
        self,
    ) -> None:
        disk = self.create()
        self.fail_to_delete()

        def delete(act: str, when: str) -> None:
            if (act, when) == ('take_snapshot', 'before'):
                self.ceph.on_act = lambda act, when: None
                self.service.delete_image(self.image_id)

        self.ceph.on_act = delete
        self.process.survey.look()
        self.service.pass_time()
        self.process.sweep_until_quiet(State.RETIRED)
        left = self.process.lineage.snapshots_of(self.image)
        self.assertNotIn(ParentState.PLANNED, [each.state for each in left])
        self.assertEqual(b'golden', self.ceph.read(disk.image, 0, 6))

# SPDX-License-Identifier: Apache-2.0
"""Disks that others made, recorded as they are."""

import dataclasses
import json
import logging
import threading
import typing
import uuid

import fixtures
import testtools

from rbdcloner import errors
from rbdcloner.db.reservation import EDGE_PREFIX
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import Protector
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.unit.cloning import service
from tests.unit.cloning import tree
from tests.unit.cloning.service import MIB


class AdoptionCase(testtools.TestCase):
    """A disk that Nova cloned alone, and one that it imported alone."""

    clone_format = CloneFormat.V2

    def setUp(self) -> None:
        super().setUp()
        self.service = self.useFixture(service.Service(self.clone_format))
        self.ceph = self.service.ceph
        self.process = self.service.process()
        self.image_id = self.service.add_image()
        self.request = service.request(
            '', size_bytes=0, after=0, instance_uuid=str(uuid.uuid4())
        )

    def cloned(self, name: str = '') -> Image:
        child = self.service.child(name or self.request.name)
        parent = self.service.parent_of(self.image_id)
        self.ceph.clone(parent, child, self.clone_format, 22)
        return self.ceph.find_image(child).image

    def imported(self, name: str = '', size_bytes: int = 3 * MIB) -> Image:
        return self.ceph.add_image(
            'vms', name or self.request.name, size_bytes
        )

    def adopt(self, **changes: object) -> Clone:
        request = dataclasses.replace(self.request, **changes)
        return self.process.noted.adoption.adopt(request)

    def refused(self, error: type, act: typing.Any, *given: object) -> None:
        with testtools.ExpectedException(error):
            act(*given)

    def assert_deleted(self) -> None:
        self.process.engine.delete_disks(self.request.instance_uuid, '')
        tree.settle(self.process)
        self.assertEqual({}, self.ceph.named('vms'))
        self.assertEqual({}, self.ceph.trashed('vms'))


class AdoptTest(AdoptionCase):
    def test_the_row_is_what_ceph_says(self) -> None:
        image = self.imported()
        clone = self.adopt()
        self.assertIs(State.READY, clone.state)
        self.assertEqual(image, clone.image)
        self.assertEqual(3 * MIB, clone.size_bytes)
        self.assertIsNone(clone.parent)
        self.assertFalse(clone.attached)
        self.assertEqual('', clone.glance_image_id)
        self.assertIsNone(clone.lease_expires_at)
        self.assertEqual(clone.uuid, self.ceph.find_image(image).tag)
        self.assert_deleted()

    def test_bridge_snapshot_goes_with_the_disk(self) -> None:
        """As a migration leaves it, which gives the disk another id."""
        image = self.imported()
        self.ceph.add_snapshot(image, f'{EDGE_PREFIX}{uuid.uuid4()}')
        self.adopt()
        self.assert_deleted()

    def test_bridge_snapshot_with_a_child_stays_with_the_disk(self) -> None:
        image = self.imported()
        bridge = f'{EDGE_PREFIX}{uuid.uuid4()}'
        held = self.ceph.add_snapshot(image, bridge, True)
        child = self.service.child('a-child')
        self.ceph.clone(held, child, self.clone_format, 22)
        self.adopt()
        self.process.engine.delete_disks(self.request.instance_uuid, '')
        for _ in range(2):
            self.service.pass_time()
            self.process.reaper.sweep()
        (facts,) = self.ceph.snapshots(image)
        self.assertEqual((bridge, False), (facts.snapshot.name, facts.trashed))
        self.ceph.remove_image(self.ceph.find_image(child).image)
        self.service.pass_time()
        self.assert_deleted()

    def test_a_childs_parent_is_recorded(self) -> None:
        self.cloned()
        clone = self.adopt()
        self.assertEqual(
            self.service.parent_of(self.image_id), clone.parent.snapshot
        )
        self.assertTrue(clone.attached)
        self.assertEqual(self.image_id, clone.glance_image_id)
        self.assertEqual(self.image_id, clone.parent.glance_image_id)
        self.assertIs(self.clone_format, clone.clone_format)
        self.assertIs(Protector.OTHERS, clone.parent.protector)
        self.assert_deleted()

    def test_others_protection_stays_when_the_disk_goes(self) -> None:
        self.cloned()
        self.adopt()
        self.assert_deleted()
        facts = self.ceph.find_snapshot('images', '', self.image_id, 'snap')
        self.assertTrue(facts.protected)

    def test_repeated_it_gives_the_same_answer(self) -> None:
        self.cloned()
        self.assertEqual(self.adopt(), self.adopt())
        self.assertEqual(1, len(self.service.rows()))

    def test_repeated_by_who_grew_the_disk_it_has_the_new_size(self) -> None:
        image = self.cloned()
        self.adopt()
        with self.ceph.open(image) as opened:
            opened.resize(5 * MIB)
        self.assertEqual(5 * MIB, self.adopt().size_bytes)

    def test_many_at_once_make_one_row(self) -> None:
        self.cloned()
        found: list[Clone] = []
        threads = [
            threading.Thread(target=lambda: found.append(self.adopt()))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(1, len({clone.uuid for clone in found}))
        self.assertEqual(4, len(found))

    def test_one_that_another_call_recorded_first_is_the_answer(self) -> None:
        self.cloned()
        lineage = self.process.noted.adoption.engine.lineage
        find, first = lineage.find_by_image, list[Clone]()

        def late(image: Image) -> Clone | None:
            lineage.find_by_image = find
            first.append(self.adopt())
            return find(image)

        lineage.find_by_image = late
        self.assertEqual(first, [self.adopt()])

    def test_a_disk_in_use_is_adopted_and_not_deleted(self) -> None:
        image = self.cloned()
        with self.ceph.watch(image):
            self.adopt()
            self.refused(
                errors.DiskInUse,
                self.process.engine.delete_disk,
                'vms',
                image.name,
            )
        tree.make_due(self.process)
        self.assert_deleted()

    def test_creation_of_the_same_disk_finds_it(self) -> None:
        self.cloned()
        clone = self.adopt()
        asked = dataclasses.replace(
            self.request, image_id=self.image_id, size_bytes=MIB
        )
        self.assertEqual(clone, self.process.engine.create_disk(asked))

    def test_a_name_without_an_image_is_not_found(self) -> None:
        self.refused(errors.DiskNotFound, self.adopt)
        self.assertEqual([], self.service.rows())

    def test_another_instances_disk_is_another(self) -> None:
        self.imported()
        self.adopt()
        with testtools.ExpectedException(errors.DiskDiffers):
            self.adopt(instance_uuid=str(uuid.uuid4()))

    def test_an_image_that_was_renamed_keeps_its_row(self) -> None:
        image = self.imported()
        self.adopt()
        self.ceph.trash(image)
        self.ceph.restore(dataclasses.replace(image, name='renamed'))
        with testtools.ExpectedException(errors.DiskDiffers):
            self.adopt(name='renamed')

    def test_a_disk_that_is_written_is_not_adopted(self) -> None:
        asked = dataclasses.replace(self.request, size_bytes=MIB)
        self.process.imports.begin(asked)
        self.refused(errors.DiskBusy, self.adopt)

    def test_a_glance_image_of_ours_is_no_disk(self) -> None:
        self.imported()
        self.adopt()
        name = str(uuid.uuid4())
        self.process.snapshots.snapshot_disk(
            'vms', self.request.name, name, 'images'
        )
        adoption = self.process.noted.adoption
        both = dataclasses.replace(
            adoption.engine, disk_pools=frozenset({'images', 'vms'})
        )
        adoption = dataclasses.replace(adoption, engine=both)
        asked = dataclasses.replace(self.request, name=name, pool='images')
        self.refused(errors.NameTaken, adoption.adopt, asked)

    def test_the_next_image_of_the_name_takes_the_row_of_the_last(
        self,
    ) -> None:
        first = self.imported()
        self.adopt()
        self.ceph.remove_image(first)
        second = self.cloned()
        clone = self.adopt()
        self.assertEqual(second, clone.image)
        self.assert_deleted()

    def test_it_is_refused_after_a_deletion(self) -> None:
        self.process.engine.delete_disks(self.request.instance_uuid, '')
        image = self.imported()
        self.refused(errors.CreationOutdated, self.adopt)
        self.assertEqual(image, self.ceph.find_image(image).image)
        self.adopt(after=2**62)

    def test_a_deletion_that_came_with_it_deletes_it(self) -> None:
        self.imported()
        adopt_disk = self.process.lineage.adopt_disk

        def adopted_late(*given: typing.Any) -> Clone:
            clone = adopt_disk(*given)
            # It looked for a row before ours was committed.
            self.process.lineage.note_deletion('', clone.image)
            return clone

        self.useFixture(
            fixtures.MonkeyPatch(
                'rbdcloner.db.adoption.Adoption.adopt_disk',
                lambda _, *given: adopted_late(*given),
            )
        )
        self.refused(errors.CreationOutdated, self.adopt)
        tree.settle(self.process)
        self.assertEqual({}, self.ceph.named('vms'))

    def test_a_parent_that_is_being_released_is_taken_again(self) -> None:
        facts = self.ceph.find_snapshot('images', '', self.image_id, 'snap')
        lineage = self.process.lineage
        known = lineage.adopt(facts, self.image_id, Protector.SERVICE)
        lineage.releasing(known)
        self.cloned()
        parent = self.adopt().parent
        self.assertEqual(known.id, parent.id)
        self.assertIs(ParentState.ACTIVE, parent.state)

    def test_a_parent_of_ours_is_the_one_that_is_recorded(self) -> None:
        golden = tree.grow(self.service, 1)
        location = tree.snapshot(self.process, golden)
        image_id = tree.next_id(golden)
        tree.register(self.service, image_id, location)
        self.image_id = image_id
        self.cloned()
        clone = self.adopt()
        row = self.process.lineage.find_by_image(clone.parent.snapshot.image)
        self.assertEqual(image_id, row.glance_image_id)

    def test_the_parent_outlives_its_glance_image(self) -> None:
        image = self.cloned()
        self.adopt()
        if self.clone_format is CloneFormat.V1:
            self.refused(
                errors.RbdImageInUse, self.service.delete_image, self.image_id
            )
            return
        self.service.delete_image(self.image_id)
        self.process.survey.look()
        tree.settle(self.process)
        self.assertEqual(b'golden', self.ceph.read(image, 0, 6))
        self.assert_deleted()
        self.assertEqual({}, self.ceph.trashed('images'))


class AdoptV1Test(AdoptTest):
    clone_format = CloneFormat.V1


class OthersParentTest(AdoptionCase):
    """A parent that is none of Glance's is its owner's, in the trash too."""

    def test_it_stays_when_the_disk_goes(self) -> None:
        made = self.ceph.add_image('images', 'a-template', MIB)
        snapshot = self.ceph.add_snapshot(made, 'base', protected=True)
        child = self.service.child(self.request.name)
        self.ceph.clone(snapshot, child, self.clone_format, 22)
        clone = self.adopt()
        self.assertEqual('', clone.glance_image_id)
        self.ceph.trash_image(made)
        self.process.survey.look()
        self.assert_deleted()
        self.process.survey.look()
        self.assertIn(made.id, self.ceph.trashed('images'))


class NotedTest(AdoptionCase):
    def note(self, name: str = '', text: str = '', **facts: object) -> None:
        whose = {
            'instance_uuid': self.request.instance_uuid,
            'project_id': service.PROJECT,
            'host': 'compute-1',
            'image_id': None,
        }
        self.ceph.note(
            'vms',
            name or self.request.name,
            text or json.dumps(whose | facts),
        )

    def look(self) -> int:
        return self.process.noted.look()

    def rows(self) -> list[tuple[str, str]]:
        return sorted(self.service.rows())

    def test_what_is_noted_is_adopted_and_struck_out(self) -> None:
        self.cloned()
        self.note()
        self.assertEqual(1, self.look())
        self.assertEqual([(self.request.name, 'ready')], self.rows())
        self.assertEqual({}, self.ceph.notes('vms'))
        self.assertEqual(0, self.look())

    def test_what_is_gone_is_struck_out(self) -> None:
        self.note()
        self.assertEqual(0, self.look())
        self.assertEqual({}, self.ceph.notes('vms'))

    def test_what_makes_no_sense_is_told_once_and_struck_out(self) -> None:
        log = self.useFixture(fixtures.FakeLogger(level=logging.WARNING))
        self.imported()
        for text in (
            'no JSON', '[]', '1', '{}', '{"instance_uuid": 5}',
            json.dumps({'instance_uuid': str(uuid.uuid4()), 'host': [1]}),
            json.dumps({'instance_uuid': str(uuid.uuid4()), 'image_id': 'x'}),
            '{"unwanted": "yes"}',
        ):  # fmt: skip
            self.note(text=text)
            self.assertEqual(0, self.look())
            self.assertEqual({}, self.ceph.notes('vms'), text)
        self.assertEqual(8, len(log.output.splitlines()))
        self.assertEqual([], self.rows())

    def test_what_cannot_be_adopted_now_stays_and_is_told_once(self) -> None:
        log = self.useFixture(fixtures.FakeLogger(level=logging.WARNING))
        self.imported()
        self.note()
        error = errors.CephRefused(act='look', reason='busy')
        self.ceph.fail('find_image', error, times=2)
        for _ in range(2):
            self.assertEqual(0, self.look())
        self.assertEqual(1, len(log.output.splitlines()))
        self.assertEqual(1, self.look())

    def test_one_that_fails_does_not_keep_others_waiting(self) -> None:
        self.useFixture(
            fixtures.MonkeyPatch('rbdcloner.cloning.noted._AT_ONCE', 2)
        )
        asked = dataclasses.replace(self.request, size_bytes=MIB, name='a')
        self.process.imports.begin(asked)
        names = list('abcde')
        for name in names:
            self.note(name)
        for name in names[1:]:
            self.imported(name)
        self.assertEqual([1, 2, 1, 0], [self.look() for _ in range(4)])
        self.assertEqual(['a'], list(self.ceph.notes('vms')))

    def test_a_note_that_changed_meanwhile_stays(self) -> None:
        self.imported()
        self.note()

        def change(act: str, when: str) -> None:
            if (act, when) == ('mark_delivered', 'before'):
                self.note(host='compute-2')

        self.ceph.on_act = change
        self.look()
        self.assertEqual([self.request.name], list(self.ceph.notes('vms')))

    def test_what_is_in_the_making_is_adopted_to_be_deleted_only(self) -> None:
        name = f'{self.request.instance_uuid}_disk'
        self.imported(name)
        self.note(name, making='yes')
        self.assertEqual(0, self.look())
        self.assertEqual([name], list(self.ceph.notes('vms')))
        self.process.noted.adopt_of(self.request.instance_uuid)
        self.assertEqual({}, self.ceph.notes('vms'))

    def test_note_of_a_making_is_struck_once_a_row_has_the_disk(self) -> None:
        image_id = self.service.add_image()
        asked = service.request(image_id, name=self.request.name)
        self.note(making='yes')
        self.process.engine.create_disk(asked)
        self.assertEqual(0, self.look())
        self.assertEqual({}, self.ceph.notes('vms'))

    def test_note_of_a_making_stays_where_the_row_has_no_disk(self) -> None:
        """What has the name of a row's disk may be another image."""
        image_id = self.service.add_image()
        asked = service.request(image_id, name=self.request.name)
        disk = self.process.engine.create_disk(asked)
        self.ceph.remove_image(disk.image)
        self.imported()
        self.note(making='yes')
        self.look()
        self.assertEqual([self.request.name], list(self.ceph.notes('vms')))

    def abandon_makers(self) -> None:
        """Let each nova-compute that makes a disk be dead by now."""
        self.process.noted.abandoned_after_s = 0

    def test_note_of_an_image_that_was_never_made_is_struck(self) -> None:
        log = self.useFixture(fixtures.FakeLogger(level=logging.WARNING))
        self.note(making='yes')
        for _twice in range(2):
            self.look()
            self.assertEqual([self.request.name], list(self.ceph.notes('vms')))
        self.abandon_makers()
        self.look()
        self.assertEqual({}, self.ceph.notes('vms'))
        self.assertIn(self.request.name, log.output)

    def test_note_of_a_making_begins_anew_with_its_text(self) -> None:
        self.process.noted.abandoned_after_s = 3600
        self.note(making='yes')
        self.look()
        (known,) = self.process.noted._making_since
        self.note(making='yes', host='another')
        self.look()
        self.assertNotIn(known, self.process.noted._making_since)

    def test_image_that_nova_may_have_made_stays_with_its_note(self) -> None:
        log = self.useFixture(fixtures.FakeLogger(level=logging.WARNING))
        image = self.imported()
        self.note(making='yes')
        self.abandon_makers()
        for _twice in range(2):
            self.look()
        self.assertEqual([self.request.name], list(self.ceph.notes('vms')))
        self.assertEqual(image, self.ceph.find_image(image).image)
        (line,) = log.output.splitlines()
        self.assertIn('rbdcloner-manage disk adopt', line)

    def test_note_of_a_dead_maker_does_not_shield_a_workers_remains(
        self,
    ) -> None:
        def die(name: str, when: str) -> None:
            if (name, when) == ('resize', 'before'):
                raise service.Died(name)

        image_id = self.service.add_image()
        asked = service.request(image_id, name=self.request.name)
        self.note(making='yes')
        self.abandon_makers()
        self.look()
        self.ceph.on_act = die
        with testtools.ExpectedException(service.Died):
            self.process.engine.create_disk(asked)
        self.ceph.on_act = lambda name, when: None
        self.ceph.expire_watches()
        self.service.end_leases()
        process = self.service.process()
        self.assertIs(State.READY, process.engine.create_disk(asked).state)

    def test_deletion_by_instance_finds_what_is_noted(self) -> None:
        self.imported(f'{self.request.instance_uuid}_disk')
        self.note(f'{self.request.instance_uuid}_disk')
        self.process.noted.adopt_of(self.request.instance_uuid)
        self.assert_deleted()
        self.assertEqual({}, self.ceph.notes('vms'))

    def unwanted(self) -> str:
        """Note that all disks of the instance are to go; the note's name."""
        name = f'{self.request.instance_uuid}_unwanted'
        self.note(name, unwanted='yes')
        return name

    def test_disks_of_an_unwanted_instance_go(self) -> None:
        uuid = self.request.instance_uuid
        whole, half, alone = (f'{uuid}_disk{end}' for end in ('', '.a', '.b'))
        self.process.imports.finish('vms', *self.begun(whole))
        self.begun(half)
        self.imported(alone)
        self.note(alone)
        self.unwanted()
        self.assertEqual(1, self.look())
        self.assertEqual({}, self.ceph.notes('vms'))
        self.process.sweep_until_quiet()
        tree.settle(self.process)
        self.assertEqual(
            {(whole, 'deleted'), (half, 'deleted'), (alone, 'deleted')},
            set(self.rows()),
        )
        self.assertEqual({}, self.ceph.named('vms'))
        self.assertEqual({}, self.ceph.trashed('vms'))
        self.assertEqual(0, self.look())

    def begun(self, name: str) -> tuple[str, str, int]:
        """Begin an import; its name, its RBD id and its size."""
        asked = dataclasses.replace(self.request, size_bytes=MIB, name=name)
        image = self.process.imports.begin(asked).image
        return image.name, image.id, MIB

    def test_unwanted_disks_that_cannot_go_now_go_later(self) -> None:
        name = f'{self.request.instance_uuid}_disk'
        self.begun(name)
        note = self.unwanted()
        error = errors.CephRefused(act='trash', reason='busy')
        self.ceph.fail('trash', error, times=1)
        self.assertEqual(0, self.look())
        self.assertEqual([note], list(self.ceph.notes('vms')))
        self.process.sweep_until_quiet()
        self.look()
        self.assertEqual({}, self.ceph.notes('vms'))
        self.assert_deleted()

    def test_deletion_by_instance_adopts_nothing_that_is_unwanted(
        self,
    ) -> None:
        note = self.unwanted()
        self.process.noted.adopt_of(self.request.instance_uuid)
        self.assertEqual([], self.rows())
        self.assertEqual([note], list(self.ceph.notes('vms')))

    def test_what_nova_made_is_not_taken_for_a_makers_remains(self) -> None:
        def die(name: str, when: str) -> None:
            if name == 'create':
                raise service.Died(name)

        asked = dataclasses.replace(self.request, size_bytes=MIB)
        self.ceph.on_act = die
        with testtools.ExpectedException(service.Died):
            self.process.imports.begin(asked)
        self.ceph.on_act = lambda name, when: None
        self.note()
        image = self.imported(size_bytes=MIB)
        self.assertEqual(0, self.look())
        self.service.end_leases()
        process = self.service.process()
        process.sweep_until_quiet()
        self.assertEqual(image, self.ceph.find_image(image).image)
        self.assertEqual(1, process.noted.look())
        self.assertEqual(
            [(image.name, 'failed'), (image.name, 'ready')], self.rows()
        )

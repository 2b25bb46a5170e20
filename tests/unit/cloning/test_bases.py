# SPDX-License-Identifier: Apache-2.0
"""Images that cannot be cloned: imported once, cloned by everybody."""

import dataclasses
import datetime
import threading
import time

import testtools
from testtools import matchers

from rbdcloner import errors
from rbdcloner.model import Filters
from rbdcloner.model import Kind
from rbdcloner.model import Way
from rbdcloner.states import BaseState
from rbdcloner.states import State
from tests.unit.cloning import service
from tests.unit.cloning.service import MIB

DATA = b'elsewhere' + bytes(MIB - 9)


class BasesTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.service = self.useFixture(service.Service())
        self.process = self.service.process()
        self.engine = self.process.engine
        self.image_id = self.service.add_elsewhere(DATA)
        self.request = service.request(self.image_id, imports=True)

    def base(self) -> object:
        """Return the newest row of the image."""
        return self.process.lineage.bases(glance_image_id=self.image_id)[-1]

    def create(self) -> object:
        """Make a disk, whose base is imported meanwhile."""
        self.assertRaises(
            errors.ImageImporting, self.engine.create_disk, self.request
        )
        self.assertTrue(self.process.importer.run_next())
        return self.engine.create_disk(self.request)


class ImportTest(BasesTest):
    def test_disk_is_a_clone_of_the_imported_base(self) -> None:
        disk = self.create()
        self.assertIs(State.READY, disk.state)
        base = self.base()
        self.assertEqual(
            (BaseState.READY, Way.STREAM, MIB, MIB),
            (base.state, base.way, base.done_bytes, base.total_bytes),
        )
        self.assertEqual(Kind.BASE, base.clone.kind)
        self.assertEqual(base.clone.image.id, disk.parent.snapshot.image.id)
        self.assertTrue(
            self.service.ceph.find_snapshot(
                'vms', '', base.clone.image.name, 'snap'
            ).protected
        )
        self.assertEqual(DATA[:9], self.service.ceph.read(disk.image, 0, 9))

    def test_base_that_is_there_is_cloned_though_none_is_imported(
        self,
    ) -> None:
        first = self.create()
        process = self.service.process(limit=0)
        other = service.request(self.image_id, imports=True)
        second = process.engine.create_disk(other)
        self.assertEqual(first.parent.id, second.parent.id)

    def test_next_disk_needs_no_import(self) -> None:
        first = self.create()
        other = service.request(self.image_id, imports=True)
        for process in (self.process, self.service.process()):
            again = dataclasses.replace(other, name=f'{id(process)}_disk')
            second = process.engine.create_disk(again)
            self.assertEqual(first.parent.id, second.parent.id)
        self.assertFalse(self.process.importer.run_next())

    def test_who_does_not_want_an_import_is_refused(self) -> None:
        asked = dataclasses.replace(self.request, imports=False)
        self.assertRaises(
            errors.ImageNotCloneable, self.engine.create_disk, asked
        )
        self.assertEqual([], self.process.lineage.bases())

    def test_many_who_ask_at_once_get_one_import(self) -> None:
        def ask(number: int) -> None:
            asked = dataclasses.replace(self.request, name=f'{number}_disk')
            try:
                self.service.process().engine.create_disk(asked)
            except errors.ImageImporting as exc:
                told.append(exc)

        told: list[errors.ImageImporting] = []
        threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertThat(told, matchers.HasLength(8))
        self.assertThat(self.process.lineage.bases(), matchers.HasLength(1))

    def test_beat_changes_when_something_comes_on(self) -> None:
        def beat() -> str:
            refused = self.assertRaises(
                errors.ImageImporting, self.engine.create_disk, self.request
            )
            return str(refused.kwargs['beat'])

        before = beat()
        self.assertEqual(before, beat())
        other = self.service.add_elsewhere(b'other')
        self.assertRaises(
            errors.ImageImporting,
            self.engine.create_disk,
            service.request(other, imports=True),
        )
        self.assertNotEqual(before, beat())

    def test_project_without_the_image_gets_no_import(self) -> None:
        self.service.change_image(
            self.image_id, visibility='private', owner='other'
        )
        self.assertRaises(
            errors.ImageForbidden, self.engine.create_disk, self.request
        )
        self.assertEqual([], self.process.lineage.bases())

    def test_outlook_tells_the_way_and_the_base(self) -> None:
        verdict, outlook = self.engine.is_cloneable(self.image_id)
        self.assertFalse(verdict.cloneable)
        self.assertEqual(
            (Way.STREAM, '', None),
            (outlook.way, outlook.reason, outlook.base),
        )
        self.create()
        _verdict, outlook = self.engine.is_cloneable(self.image_id)
        self.assertIs(BaseState.READY, outlook.base.state)


class RefusalTest(BasesTest):
    def run_import(self) -> None:
        self.assertRaises(
            errors.ImageImporting, self.engine.create_disk, self.request
        )
        self.process.importer.run_next()

    def assert_nothing_left(self) -> None:
        self.process.sweep_until_quiet()
        self.assertEqual({}, self.service.ceph.named('vms'))
        self.assertEqual({}, self.service.ceph.trashed('vms'))

    def test_what_glance_does_not_vouch_for_is_refused(self) -> None:
        self.service.change_image(self.image_id, checksum='md5:' + '0' * 32)
        self.run_import()
        self.assertIs(BaseState.REFUSED, self.base().state)
        self.assert_nothing_left()
        refused = self.assertRaises(
            errors.ImportRefused, self.engine.create_disk, self.request
        )
        self.assertIn('ChecksumDiffers', refused.kwargs['reason'])
        self.assertFalse(self.process.importer.run_next())

    def test_another_format_than_glance_says_is_refused(self) -> None:
        self.service.change_data(self.image_id, b'QFI\xfb\0\0\0\3' + DATA)
        self.run_import()
        self.assertIn('FormatDiffers', self.base().reason)
        self.assert_nothing_left()

    def test_what_is_cut_short_is_tried_again_and_then_refused(self) -> None:
        self.service.change_data(self.image_id, DATA, size_bytes=2 * MIB)
        self.run_import()
        states = [self.base().state]
        while self.base().state is BaseState.WANTED:
            self.service.pass_time()
            self.process.importer.run_next()
            states.append(self.base().state)
        self.assertEqual(
            [BaseState.WANTED, BaseState.WANTED, BaseState.REFUSED], states
        )
        self.assertIn('DataTruncated', self.base().reason)
        self.assert_nothing_left()

    def test_what_is_cut_elsewhere_each_time_is_refused_in_the_end(
        self,
    ) -> None:
        self.service.change_data(self.image_id, DATA, size_bytes=2 * MIB)
        self.run_import()
        tries = 1
        while self.base().state is BaseState.WANTED and tries < 50:
            self.service.glance.data[self.image_id] = DATA[:-tries]
            self.service.pass_time()
            self.process.importer.run_next()
            tries += 1
        self.assertEqual((BaseState.REFUSED, 10), (self.base().state, tries))
        self.assert_nothing_left()

    def test_what_breaks_off_after_an_outage_is_not_given_up(self) -> None:
        def is_down() -> None:
            raise errors.GlanceUnavailable(reason='it is down')

        self.service.change_data(self.image_id, DATA, size_bytes=2 * MIB)
        self.assertRaises(
            errors.ImageImporting, self.engine.create_disk, self.request
        )
        self.service.glance.on_look = is_down
        for _ in range(15):
            self.service.pass_time()
            self.process.importer.run_next()
        self.assertEqual(15, self.base().attempts)
        self.service.glance.on_look = lambda: None
        states = []
        for _ in range(3):
            self.service.pass_time()
            self.process.importer.run_next()
            states.append(self.base().state)
        self.assertEqual(
            [BaseState.WANTED, BaseState.WANTED, BaseState.REFUSED], states
        )

    def test_glance_that_goes_now_and_then_is_waited_for(self) -> None:
        def go_away() -> None:
            pieces.append(len(pieces))
            if len(pieces) in (1, 3, 6):
                raise errors.GlanceUnavailable(reason='it went away')

        pieces: list[int] = []
        self.service.glance.on_piece = go_away
        self.run_import()
        for _ in range(3):
            self.assertIs(BaseState.WANTED, self.base().state)
            self.service.pass_time()
            self.process.importer.run_next()
        self.assertIs(BaseState.READY, self.base().state)

    def test_container_and_format_are_refused_by_name(self) -> None:
        for facts, error in (
            ({'container_format': 'compressed'}, errors.ContainerUnsupported),
            ({'disk_format': 'ploop'}, errors.FormatUnsupported),
        ):
            image_id = self.service.add_elsewhere(DATA)
            self.service.change_image(image_id, **facts)
            asked = service.request(image_id, imports=True)
            self.assertRaises(error, self.engine.create_disk, asked)
        self.assertEqual([], self.process.lineage.bases())

    def test_nothing_is_imported_beside_managers_that_know_no_bases(
        self,
    ) -> None:
        self.process.lineage.register_worker('old', 'host', 1, '1', '1.2')
        refused = self.assertRaises(
            errors.ImportRefused, self.engine.create_disk, self.request
        )
        self.assertIn('older release', str(refused))
        self.assertEqual([], self.process.lineage.bases())
        self.process.lineage.register_worker('new', 'host', 1, '2', '1.3')
        self.process.lineage.worker_stopped('old')
        self.run_import()

    def test_full_pool_is_waited_for(self) -> None:
        self.service.ceph.add_pool('vms', full=True)
        self.run_import()
        self.service.ceph.add_pool('vms')
        self.assertIs(BaseState.WANTED, self.base().state)
        self.assertIn('OutOfSpace', self.base().reason)
        self.service.pass_time()
        self.process.importer.run_next()
        self.assertIs(BaseState.READY, self.base().state)

    def test_image_that_goes_meanwhile_is_dropped(self) -> None:
        self.assertRaises(
            errors.ImageImporting, self.engine.create_disk, self.request
        )
        del self.service.glance.images[self.image_id]
        self.process.importer.run_next()
        self.assertIs(BaseState.DROPPED, self.base().state)
        self.assert_nothing_left()

    def test_dropped_import_ends_and_leaves_nothing(self) -> None:
        self.service.glance.on_piece = lambda: self.process.lineage.drop_base(
            self.base(), 'enough'
        )
        self.run_import()
        self.assertIs(BaseState.DROPPED, self.base().state)
        self.assert_nothing_left()

    def test_image_deleted_during_its_import_is_not_found(self) -> None:
        before = self.service.glance.images[self.image_id]
        pieces = self.service.glance.on_piece
        self.service.glance.on_piece = lambda: self.service.glance.images.pop(
            self.image_id, None
        )
        self.run_import()
        self.service.glance.on_piece = pieces
        self.assertIs(BaseState.DROPPED, self.base().state)
        self.assertIn('ImageNotFound', self.base().reason)
        self.assert_nothing_left()
        # Callers are told so, whatever is remembered of the image.
        self.service.glance.remembered[self.image_id] = before
        self.assertRaises(
            errors.ImageNotFound, self.engine.create_disk, self.request
        )
        self.assertThat(self.process.lineage.bases(), matchers.HasLength(1))

    def test_image_deactivated_or_replaced_during_its_import_is_dropped(
        self,
    ) -> None:
        for facts in ({'status': 'deactivated'}, {'checksum': 'md5:other'}):
            self.image_id = self.service.add_elsewhere(DATA)
            self.request = service.request(self.image_id, imports=True)
            self.service.glance.on_piece = lambda facts=facts: (
                self.service.change_image(self.image_id, **facts)
            )
            self.run_import()
            self.assertIs(BaseState.DROPPED, self.base().state)
        self.assert_nothing_left()

    def test_whole_import_is_kept_while_glance_does_not_answer(self) -> None:
        def is_down() -> None:
            raise errors.GlanceUnavailable(reason='it is down')

        def go_down() -> None:
            self.service.glance.on_look = is_down

        self.service.glance.on_piece = go_down
        self.run_import()
        self.assertIs(BaseState.READY, self.base().state)

    def test_image_without_data_is_refused_and_leaves_no_row(self) -> None:
        def has_none() -> None:
            raise errors.ImageDataMissing(image_id=self.image_id)

        self.service.glance.on_download = has_none
        states = self.tries()
        self.assertEqual([*[BaseState.WANTED] * 2, BaseState.REFUSED], states)
        self.assertIn('ImageDataMissing', self.base().reason)
        self.assertEqual([], self.images_of_bases())

    def test_download_that_does_not_begin_leaves_no_row(self) -> None:
        def break_off() -> None:
            raise errors.GlanceUnavailable(reason='the connection broke')

        self.service.glance.on_download = break_off
        self.run_import()
        self.assertIs(BaseState.WANTED, self.base().state)
        self.assertEqual([], self.images_of_bases())

    def test_data_that_begins_wrong_leaves_no_row(self) -> None:
        self.service.change_data(self.image_id, b'QFI\xfb\0\0\0\3' + DATA)
        self.assertEqual([BaseState.REFUSED], self.tries())
        self.assertEqual([], self.images_of_bases())

    def tries(self) -> list[BaseState]:
        """Import until that ends; the states after each attempt."""
        self.run_import()
        states = [self.base().state]
        while self.base().state is BaseState.WANTED:
            self.service.pass_time()
            self.process.importer.run_next()
            states.append(self.base().state)
        return states

    def images_of_bases(self) -> list[object]:
        """Return the rows of RBD images that were to be bases."""
        return list(self.process.lineage.page(Filters(kind=Kind.BASE)))

    def test_import_that_nobody_waits_for_ends_and_gives_its_slot_back(
        self,
    ) -> None:
        def wait() -> None:
            pieces.append(len(pieces))
            self.service.pass_time_without_callers()
            # Longer than the progress is kept to itself.
            time.sleep(1.5)

        pieces: list[int] = []
        self.service.glance.on_piece = wait
        self.run_import()
        self.service.glance.on_piece = None
        self.assert_abandoned()
        self.assertThat(pieces, matchers.HasLength(1))
        self.assert_nothing_left()
        self.assertIs(State.READY, self.create().state)

    def test_import_that_fails_and_that_nobody_waits_for_ends(self) -> None:
        def is_down() -> None:
            raise errors.GlanceUnavailable(reason='it is down')

        self.service.glance.on_download = is_down
        self.run_import()
        self.assertIs(BaseState.WANTED, self.base().state)
        self.service.pass_time_without_callers()
        self.service.pass_time()
        self.process.importer.run_next()
        self.assert_abandoned()

    def assert_abandoned(self) -> None:
        base = self.base()
        self.assertEqual((BaseState.DROPPED, None), (base.state, base.slot))
        self.assertIn('no caller has asked for it', base.reason)

    def test_import_that_callers_ask_for_or_an_administrator_goes_on(
        self,
    ) -> None:
        for again in (False, True):
            image_id = self.service.add_elsewhere(DATA)
            self.request = service.request(image_id, imports=True)
            self.assertRaises(
                errors.ImageImporting, self.engine.create_disk, self.request
            )
            self.service.pass_time_without_callers()
            image = self.service.glance.images[image_id]
            self.process.lineage.want_base(
                self.service.ceph.fsid, image_id, image.checksum, MIB, again
            )
            self.service.pass_time_without_callers() if again else None
            self.process.importer.run_next()
            (base,) = self.process.lineage.bases(glance_image_id=image_id)
            self.assertIs(BaseState.READY, base.state)

    def test_stopped_process_puts_the_import_back(self) -> None:
        stopping = threading.Event()
        self.service.glance.on_piece = stopping.set
        self.assertRaises(
            errors.ImageImporting, self.engine.create_disk, self.request
        )
        self.process.importer.run_next(stopping)
        self.assertIs(BaseState.WANTED, self.base().state)
        self.service.glance.on_piece = None
        self.service.pass_time()
        self.assertTrue(self.service.process().importer.run_next())
        self.assertIs(BaseState.READY, self.base().state)


class CopyTest(BasesTest):
    def setUp(self) -> None:
        super().setUp()
        self.process = self.service.process(glance_store='here')
        self.engine = self.process.engine
        self.service.change_image(self.image_id, stores=frozenset({'there'}))

    def test_glance_copies_what_it_has_elsewhere(self) -> None:
        def copy(image_id: str) -> None:
            copied = self.service.add_image(data=DATA[:9])
            location = self.service.glance.images[copied].locations
            self.service.change_image(
                image_id,
                locations=location,
                stores=frozenset({'there', 'here'}),
            )

        self.service.glance.on_copy = copy
        disk = self.create()
        self.assertIs(BaseState.COPIED, self.base().state)
        self.assertEqual('images', disk.parent.snapshot.image.pool)
        self.assertEqual(
            [disk.image.name], list(self.service.ceph.named('vms'))
        )

    def test_what_is_remembered_of_a_copied_image_is_forgotten(self) -> None:
        before = self.service.glance.images[self.image_id]
        self.test_glance_copies_what_it_has_elsewhere()
        self.service.glance.remembered[self.image_id] = before
        other = service.request(self.image_id, imports=True)
        disk = self.service.process().engine.create_disk(other)
        self.assertEqual('images', disk.parent.snapshot.image.pool)
        self.assertThat(self.process.lineage.bases(), matchers.HasLength(1))

    def test_image_that_is_here_by_then_is_not_imported(self) -> None:
        self.assertRaises(
            errors.ImageImporting, self.engine.create_disk, self.request
        )
        copied = self.service.add_image(data=DATA[:9])
        self.service.change_image(
            self.image_id,
            locations=self.service.glance.images[copied].locations,
            stores=frozenset({'there', 'here'}),
        )
        self.process.importer.run_next()
        self.assertIs(BaseState.COPIED, self.base().state)
        disk = self.engine.create_disk(self.request)
        self.assertEqual('images', disk.parent.snapshot.image.pool)

    def test_what_glance_does_not_copy_is_streamed(self) -> None:
        self.service.glance.on_copy = lambda image_id: (
            self.service.change_image(
                image_id, not_copied_to=frozenset({'here'})
            )
        )
        self.create()
        self.assertEqual(Way.STREAM, self.base().way)


class UpkeepTest(BasesTest):
    def setUp(self) -> None:
        super().setUp()
        self.disk = self.create()

    def look(self) -> int:
        dropped = self.process.upkeep.look()
        self.process.sweep_until_quiet()
        return dropped

    def test_base_goes_after_its_image_and_its_last_disk(self) -> None:
        del self.service.glance.images[self.image_id]
        self.assertEqual(0, self.look())
        self.assertEqual(
            DATA[:9], self.service.ceph.read(self.disk.image, 0, 9)
        )
        self.engine.delete_disk('vms', self.disk.image.name)
        self.process.sweep_until_quiet()
        self.assertEqual(1, self.look())
        self.assertIs(BaseState.DROPPED, self.base().state)
        self.assertEqual({}, self.service.ceph.named('vms'))
        self.assertEqual({}, self.service.ceph.trashed('vms'))

    def test_base_without_a_disk_stays_while_glance_has_its_image(
        self,
    ) -> None:
        self.engine.delete_disk('vms', self.disk.image.name)
        self.process.sweep_until_quiet()
        self.assertEqual(0, self.look())
        self.assertIs(BaseState.READY, self.base().state)

    def test_idle_base_goes_and_comes_back_when_it_is_wanted(self) -> None:
        self.engine.delete_disk('vms', self.disk.image.name)
        self.process.sweep_until_quiet()
        self.service.pass_time()
        idle = dataclasses.replace(
            self.process.upkeep,
            idle_s=datetime.timedelta(days=1).total_seconds(),
        )
        self.assertEqual(1, idle.look())
        self.process.sweep_until_quiet()
        self.assertEqual({}, self.service.ceph.trashed('vms'))
        self.assertIs(State.READY, self.create().state)

    def test_another_checksum_is_another_base(self) -> None:
        self.service.change_data(self.image_id, b'changed' + DATA)
        self.service.process()
        other = service.request(
            self.image_id, size_bytes=4 * MIB, imports=True
        )
        process = self.service.process()
        self.assertRaises(
            errors.ImageImporting, process.engine.create_disk, other
        )
        process.importer.run_next()
        disk = process.engine.create_disk(other)
        self.assertNotEqual(self.disk.parent.id, disk.parent.id)
        self.assertEqual(b'changed', self.service.ceph.read(disk.image, 0, 7))

    def test_base_that_others_removed_is_imported_again(self) -> None:
        self.engine.delete_disk('vms', self.disk.image.name)
        self.process.sweep_until_quiet()
        self.service.ceph.remove_image(self.base().clone.image)
        self.process.survey.look()
        self.process.sweep_until_quiet()
        self.assertIs(State.READY, self.create().state)

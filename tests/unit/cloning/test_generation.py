# SPDX-License-Identifier: Apache-2.0
"""A database that is older than its pools, or not theirs, destroys nothing."""

import dataclasses
import logging
from typing import Any
from unittest import mock

import fixtures
import sqlalchemy as sa
import testtools

from rbdcloner import errors
from rbdcloner.db import tables
from rbdcloner.model import Mark
from rbdcloner.states import State
from tests.unit.cloning import service


class GenerationTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        self.world = self.useFixture(service.Service())
        self.process = self.world.process()
        self.generation = self.process.generation
        self.image_id = self.world.add_image()

    def create(self) -> object:
        return self.process.engine.create_disk(service.request(self.image_id))

    def pool_mark(self) -> Mark:
        return Mark.of_text(self.world.ceph.lineage_mark('vms'))

    def database_mark(self) -> Mark:
        age = self.process.lineage.age()
        assert age is not None
        return age.mark

    def mark_pool(self, **changes: object) -> None:
        """Let the pool's mark be another than this database's."""
        text = self.world.ceph.lineage_mark('vms')
        mark = dataclasses.replace(Mark.of_text(text), **changes)
        self.world.ceph.mark_lineage('vms', text, mark.as_text())

    def assert_stopped(self, because: str) -> None:
        refused = self.assertRaises(
            errors.DatabaseOutdated,
            self.world.process().generation.check,
            'vms',
        )
        self.assertIn(because, str(refused))
        self.assertIn('rbdcloner-manage db restored', str(refused))


class MarkTest(GenerationTest):
    def test_pool_without_a_mark_is_taken(self) -> None:
        new = self.useFixture(service.Service())
        self.assertEqual('', new.ceph.lineage_mark('vms'))
        age = new.process().lineage.age()
        assert age is not None
        self.assertEqual(age.mark.as_text(), new.ceph.lineage_mark('vms'))

    def test_advance_brings_database_and_pool_to_the_next_generation(
        self,
    ) -> None:
        self.generation.advance()
        first = self.database_mark()
        self.generation.advance()
        self.assertEqual(first.generation + 1, self.pool_mark().generation)
        self.assertEqual(self.database_mark(), self.pool_mark())
        self.generation.check('vms')

    def test_advance_beside_a_look_is_not_a_database_that_went_back(
        self,
    ) -> None:
        """The look has read the database; then this worker advances it."""
        age = type(self.process.lineage).age

        def age_of_before(lineage: Any) -> Any:
            found = age(lineage)
            after = lineage.advance(found.mark)
            self.generation._remember_newest(after)
            return found

        with mock.patch.object(
            type(self.process.lineage), 'age', age_of_before
        ):
            self.assertEqual('', self.generation.look().reason)
        self.generation.check('vms')

    def test_older_look_does_not_hide_that_the_database_went_back(
        self,
    ) -> None:
        before = self.database_mark()
        self.generation.advance()
        self.generation._remember_newest(before)
        with self.process.lineage.writer.begin() as connection:
            connection.execute(
                sa.update(tables.lineages).values(
                    generation=before.generation, stamp=before.stamp
                )
            )
        self.world.ceph.mark_lineage(
            'vms', self.world.ceph.lineage_mark('vms'), before.as_text()
        )
        self.assertIn('went back', self.generation.look().reason)

    def test_advance_that_reaches_no_pool_stops_nobody(self) -> None:
        self.generation.advance()
        full = errors.OutOfSpace(pool='vms')
        self.world.ceph.fail('mark_lineage', full)
        self.generation.advance()
        self.assertEqual(
            self.pool_mark().generation + 1, self.database_mark().generation
        )
        self.world.process().generation.check('vms')
        self.world.process().generation.advance()
        self.assertEqual(self.database_mark(), self.pool_mark())

    def test_death_at_any_point_of_an_advance_stops_nobody(self) -> None:
        self.generation.advance()
        for step in range(1, 9):
            left = [step]

            def die(*_: object, left: list[int] = left) -> None:
                left[0] -= 1
                if not left[0]:
                    raise service.Died

            dying = self.world.process(on_commit=die)
            self.world.ceph.on_act = die
            try:
                dying.generation.advance()
            except service.Died:
                pass
            finally:
                self.world.ceph.on_act = lambda *_: None
            after = self.world.process().generation
            after.check('vms')
            after.advance()
            self.assertEqual(self.database_mark(), self.pool_mark())

    def test_of_two_workers_at_once_one_advances(self) -> None:
        other = self.world.process().generation
        seen = other.look()
        self.generation.advance()
        assert seen.database is not None
        self.assertRaises(
            errors.RowMoved, self.process.lineage.advance, seen.database
        )
        other.advance()
        self.assertEqual(self.database_mark(), self.pool_mark())


class StoppedTest(GenerationTest):
    def setUp(self) -> None:
        super().setUp()
        self.generation.advance()

    def test_generation_behind_a_pool_s_stops_destruction(self) -> None:
        ahead = self.database_mark().generation + 1
        self.mark_pool(generation=ahead)
        self.assert_stopped('the database is older than pool vms')

    def test_pool_of_another_lineage_stops_destruction(self) -> None:
        self.mark_pool(lineage='another')
        self.assert_stopped('pool vms belongs to lineage another')

    def test_copy_of_the_database_in_use_stops_destruction(self) -> None:
        self.mark_pool(stamp='of a copy')
        self.assert_stopped('another copy of the database is in use')

    def test_mark_that_makes_no_sense_stops_destruction(self) -> None:
        text = self.world.ceph.lineage_mark('vms')
        self.world.ceph.mark_lineage('vms', text, '[]')
        self.assert_stopped('the mark of pool vms cannot be read')

    def test_pool_that_lost_its_mark_is_another_pool(self) -> None:
        self.world.ceph.unmark_lineage('vms')
        self.assert_stopped('pool vms lost its mark')
        self.assertEqual('', self.world.ceph.lineage_mark('vms'))

    def test_ceph_that_does_not_answer_allows_nothing(self) -> None:
        down = errors.CephUnavailable(act='look')
        self.world.ceph.fail('lineage_mark', down, times=2)
        self.assertRaises(errors.CephUnavailable, self.generation.look)
        # What was seen before does not count any more.
        self.assertRaises(errors.CephUnavailable, self.generation.check, 'vms')
        self.generation.check('vms')

    def test_worker_that_stays_up_finds_the_database_restored(self) -> None:
        self.world.back_up()
        self.generation.advance()
        # Nor does it help that the pools cannot be written.
        self.world.ceph.unmark_lineage('vms')
        newest = self.database_mark()
        self.world.restore()
        self.assertFalse(self.generation.is_current())
        self.generation.advance()
        self.assertLess(self.database_mark().generation, newest.generation)

    def test_reason_is_logged_once_and_recorded_until_it_is_over(self) -> None:
        behind = self.database_mark()
        self.mark_pool(generation=behind.generation + 1)
        for _ in range(3):
            self.assertFalse(self.generation.is_current())
        self.assertEqual(1, self.log.output.count('the database is older'))
        age = self.process.lineage.age()
        self.assertIn('the database is older', age.stopped)
        self.process.lineage.advance(behind, behind.generation + 9)
        self.assertTrue(self.generation.is_current())
        self.assertEqual('', self.process.lineage.age().stopped)


class OutdatedTest(GenerationTest):
    """What the service does while its database is older than its pools."""

    def setUp(self) -> None:
        super().setUp()
        self.disk = self.create()
        self.generation.advance()
        self.mark_pool(generation=self.database_mark().generation + 1)
        self.process = self.world.process()
        self.inventory = self.world.ceph.inventory()

    def sweep(self) -> None:
        self.world.pass_time()
        self.process.recovery.sweep()
        self.process.recovery.take_over()
        self.process.recovery.retire_begun()
        self.process.survey.look()
        self.process.upkeep.look()
        self.process.reaper.sweep()

    def states(self) -> list[str]:
        return [state for _name, state in self.world.rows()]

    def test_disk_is_made(self) -> None:
        self.create()
        self.assertEqual([State.READY] * 2, self.states())

    def test_deletion_is_recorded_and_waits(self) -> None:
        name = self.disk.image.name
        for _ in range(2):
            self.assertRaises(
                errors.DatabaseOutdated,
                self.process.engine.delete_disk,
                'vms',
                name,
            )
            self.sweep()
        self.assertEqual([State.DELETING], self.states())
        self.assertEqual(self.inventory, self.world.ceph.inventory())
        mark = self.database_mark()
        self.process.lineage.advance(mark, mark.generation + 9)
        self.world.pass_time()
        self.process.sweep_until_quiet()
        self.assertEqual([State.DELETED], self.states())

    def test_deletion_of_a_disk_without_a_row_is_not_answered_as_done(
        self,
    ) -> None:
        self.assertRaises(
            errors.DatabaseOutdated,
            self.process.engine.delete_disk,
            'vms',
            'made-after-the-backup',
        )

    def test_row_that_says_reserved_is_not_undone(self) -> None:
        self.world.execute("UPDATE clones SET state = 'reserved'")
        self.sweep()
        self.assertEqual([State.RESERVED], self.states())
        self.assertEqual(self.inventory, self.world.ceph.inventory())

    def test_image_that_is_gone_ends_no_row(self) -> None:
        self.world.ceph.remove_image(self.disk.image)
        self.sweep()
        self.assertEqual([State.READY], self.states())

    def test_rollback_that_was_interrupted_is_not_repeated(self) -> None:
        self.process.snapshots.create_snapshot(
            'vms', self.disk.image.name, 'before'
        )
        self.assertRaises(
            errors.DatabaseOutdated,
            self.process.snapshots.rollback_disk,
            'vms',
            self.disk.image.name,
            'before',
        )
        self.assertEqual([State.READY], self.states())
        self.world.execute(
            "UPDATE clones SET state = 'rolling-back', rollback_to = "
            '(SELECT max(id) FROM parents)'
        )
        self.world.ceph.write(self.disk.image, 0, b'later')
        self.sweep()
        self.assertEqual(b'later', self.world.ceph.read(self.disk.image, 0, 5))

# SPDX-License-Identifier: Apache-2.0
"""A restored database, brought up to what is in Ceph by its tags."""

from collections.abc import Callable
import dataclasses
import datetime
import itertools
from typing import Any
import uuid

import fixtures
import testtools

from rbdcloner import errors
from rbdcloner.cloning.findings import Outcome
from rbdcloner.cloning.reconciliation import Reconciliation
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Filters
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import Purpose
from rbdcloner.model import Request
from rbdcloner.states import State
from tests.unit.cloning import service

MIB = service.MIB
UNDO_DELAY_S = 3600


class ReconciliationTest(testtools.TestCase):
    world_type: type[service.Service] = service.Service

    def setUp(self) -> None:
        super().setUp()
        self.world = self.useFixture(self.world_type())
        self.process = self.world.process()
        self.image_id = self.world.add_image()
        self.process.generation.advance()

    def create(self, **changes: Any) -> Clone:
        asked = service.request(self.image_id, **changes)
        return self.process.engine.create_disk(asked)

    def in_ceph(self) -> list[dict[str, str]]:
        """Return the images of each pool, and of its trash."""
        return [
            look(pool)
            for pool in ('images', 'vms')
            for look in (self.world.ceph.named, self.world.ceph.trashed)
        ]

    def back_up(self) -> None:
        self.world.back_up()
        self.process.generation.advance()

    def restore(self) -> None:
        """Restore the backup; the managers are started anew."""
        self.before = self.in_ceph()
        self.world.restore()
        self.process = self.world.process()
        self.assertFalse(self.process.generation.is_current())

    def reconcile(
        self, backup_at: datetime.datetime | None = None, **how: bool
    ) -> list[tuple[str, str]]:
        """Return what came of which image, by name."""
        lineage = self.process.lineage
        work = Reconciliation(
            self.world.ceph, lineage, CloneFormat.V2, ['vms'],
            backup_at or lineage.now(),
            UNDO_DELAY_S,
            **how,
        )  # fmt: skip
        found = [
            each for pool in ('images', 'vms') for each in work.look_at(pool)
        ]
        self.assertEqual(self.before, self.in_ceph())
        return sorted((each.image.name, str(each.outcome)) for each in found)

    def reconcile_interrupted(self) -> None:
        """Die before the first COMMIT, then before the second, and so on."""
        for step in itertools.count(1):
            left = [step]

            def die(left: list[int] = left) -> None:
                left[0] -= 1
                if not left[0]:
                    raise service.Died

            self.process = self.world.process(on_commit=die)
            try:
                self.reconcile()
            except service.Died:
                continue
            break
        self.process = self.world.process()
        self.assertEqual([], self.reconcile())

    def back_up_before(self, verb: str) -> Callable[[str, str], None]:
        """Return what backs up once, before Ceph does *verb*."""

        def on_act(act: str, when: str) -> None:
            if (act, when) == (verb, 'before'):
                self.world.ceph.on_act = lambda *_: None
                self.back_up()

        return on_act

    def go_on(self, *but: State) -> None:
        """End the command, and let the managers work for long.

        Until each row is final, ready or in one of *but*.
        """
        generation = self.process.generation
        generation.renew(generation.see())
        self.world.pass_time()
        self.process.survey.look()
        self.process.sweep_until_quiet(*but)

    def glance_image(self, disk: Clone) -> str:
        image_id = str(uuid.uuid4())
        location = self.process.snapshots.snapshot_disk(
            'vms', disk.image.name, image_id, 'images'
        )
        self.world.register_image(image_id, location, 2 * MIB)
        return image_id

    def create_of(self, image_id: str) -> Clone:
        asked = service.request(image_id, size_bytes=4 * MIB)
        return self.process.engine.create_disk(asked)

    def delete_all(self, image_id: str, *disks: Clone) -> None:
        """Delete what a user has, and the image; nothing is left."""
        self.world.delete_image(image_id)
        self.process.absent_images.image_deleted(image_id)
        self.assert_deletable(*disks)
        self.assertEqual({self.image_id}, set(self.world.ceph.named('images')))
        self.assertEqual({}, self.world.ceph.trashed('images'))

    def delete(self, disk: Clone) -> None:
        self.process.engine.delete_disk('vms', disk.image.name)

    def create_anew(self, old: Clone) -> Clone:
        """Create another disk under the name of one that was deleted."""
        return self.create(
            name=old.image.name, instance_uuid=old.instance_uuid
        )

    def row_of(self, disk: Clone) -> Clone:
        (found,) = self.process.lineage.page(Filters(uuid=disk.uuid))
        return found

    def row(self, name: str) -> Clone:
        return self.process.lineage.find(self.world.ceph.fsid, 'vms', '', name)

    def assert_deletable(self, *disks: Clone) -> None:
        """Assert that each disk is known, and goes with all that it has."""
        for disk in disks:
            found = self.row(disk.image.name)
            self.assertEqual(State.READY, found.state)
            self.assertEqual(disk.image.id, found.image.id)
            self.assertEqual(disk.uuid, found.uuid)
            self.process.engine.delete_disk('vms', disk.image.name)
        self.process.sweep_until_quiet()
        self.assertEqual({}, self.world.ceph.named('vms'))
        self.assertEqual({}, self.world.ceph.trashed('vms'))


class DiskTest(ReconciliationTest):
    def test_disk_made_after_the_backup_is_adopted(self) -> None:
        old = self.create()
        self.back_up()
        disk = self.create()
        self.restore()
        self.assertEqual(
            [(disk.image.name, Outcome.ADOPTED)], self.reconcile()
        )
        self.assertEqual([], self.reconcile())
        found = self.row(disk.image.name)
        self.assertEqual(disk.instance_uuid, found.instance_uuid)
        self.assertEqual(disk.glance_image_id, found.glance_image_id)
        self.go_on()
        self.assert_deletable(old, disk)

    def test_disk_in_the_making_at_the_backup_is_ready(self) -> None:
        disk = self.create()
        self.world.execute(
            "UPDATE clones SET state = 'reserved', image_id = ''"
        )
        self.back_up()
        self.world.execute(
            f"UPDATE clones SET state = 'ready', image_id = '{disk.image.id}'"  # noqa: S608
        )
        self.world.ceph.write(disk.image, 0, b'delivered')
        self.restore()
        self.assertEqual([(disk.image.name, Outcome.READY)], self.reconcile())
        self.go_on()
        self.assertEqual(b'delivered', self.world.ceph.read(disk.image, 0, 9))
        self.assert_deletable(disk)

    def test_disk_deleted_after_the_backup_is_gone(self) -> None:
        disk = self.create()
        self.back_up()
        self.process.engine.delete_disk('vms', disk.image.name)
        self.process.sweep_until_quiet()
        self.restore()
        self.assertEqual([(disk.image.name, Outcome.GONE)], self.reconcile())
        self.go_on()
        self.assertEqual(State.DELETED, self.row(disk.image.name).state)

    def test_disk_made_anew_under_its_name_is_adopted(self) -> None:
        old = self.create()
        self.back_up()
        self.process.engine.delete_disk('vms', old.image.name)
        self.process.sweep_until_quiet()
        new = self.create_anew(old)
        self.restore()
        self.assertEqual(
            sorted(
                [
                    (old.image.name, Outcome.GONE),
                    (new.image.name, Outcome.ADOPTED),
                ]
            ),
            self.reconcile(),
        )
        self.go_on()
        self.assert_deletable(new)

    def test_disk_that_went_back_at_the_backup_does_not_again(self) -> None:
        disk = self.create()
        self.process.snapshots.create_snapshot('vms', disk.image.name, 'old')
        self.world.execute("UPDATE clones SET state = 'rolling-back'")
        self.back_up()
        self.world.execute("UPDATE clones SET state = 'ready'")
        self.world.ceph.write(disk.image, 0, b'later')
        self.restore()
        self.assertEqual([(disk.image.name, Outcome.READY)], self.reconcile())
        self.go_on()
        self.assertEqual(b'later', self.world.ceph.read(disk.image, 0, 5))

    def test_image_that_others_made_is_told_and_left(self) -> None:
        self.back_up()
        name = f'{uuid.uuid4()}_disk'
        self.world.ceph.add_image('vms', name, MIB)
        self.world.ceph.add_image('vms', 'a-volume', MIB)
        self.restore()
        self.assertEqual([(name, Outcome.UNEXPLAINED)], self.reconcile())
        self.go_on()
        self.assertEqual({name, 'a-volume'}, set(self.world.ceph.named('vms')))

    def test_rehearsal_changes_nothing(self) -> None:
        gone = self.create()
        self.back_up()
        self.process.engine.delete_disk('vms', gone.image.name)
        self.process.sweep_until_quiet()
        self.create()
        self.restore()
        rows = self.world.rows()
        told = self.reconcile(rehearsed=True)
        self.assertEqual(2, len(told))
        self.assertEqual(rows, self.world.rows())
        self.assertEqual(told, self.reconcile())

    def test_interrupted_it_goes_on_with_what_is_left(self) -> None:
        kept = self.create()
        self.back_up()
        made = [self.create() for _ in range(2)]
        self.restore()
        self.reconcile_interrupted()
        self.go_on()
        self.assert_deletable(kept, *made)


class SizeTest(ReconciliationTest):
    """Ceph says how long a disk is, whatever the backup says."""

    def resize(self, disk: Clone, size_bytes: int = 4 * MIB) -> None:
        self.process.engine.resize_disk('vms', disk.image.name, size_bytes)

    def assert_grown(self, disk: Clone, outcome: Outcome) -> None:
        self.assertEqual([(disk.image.name, outcome)], self.reconcile())
        self.assertEqual([], self.reconcile())
        self.assert_size(disk, 4 * MIB)
        self.go_on()
        self.assert_size(disk, 4 * MIB)
        self.resize(disk, 8 * MIB)
        self.assert_deletable(disk)

    def assert_size(self, disk: Clone, size_bytes: int) -> None:
        found = self.row(disk.image.name)
        self.assertEqual(State.READY, found.state)
        self.assertEqual(size_bytes, found.size_bytes)

    def test_disk_resized_after_the_backup_has_the_size_of_ceph(self) -> None:
        disk = self.create()
        self.back_up()
        self.resize(disk)
        self.restore()
        self.assert_grown(disk, Outcome.RESIZED)

    def test_disk_resizing_at_the_backup_is_ready(self) -> None:
        disk = self.create()
        self.world.execute("UPDATE clones SET state = 'resizing'")
        self.back_up()
        self.world.execute("UPDATE clones SET state = 'ready'")
        self.resize(disk)
        self.restore()
        self.assert_grown(disk, Outcome.READY)

    def test_disk_that_shrank_in_a_rollback_has_the_size_of_ceph(self) -> None:
        disk = self.create()
        self.process.snapshots.create_snapshot('vms', disk.image.name, 'old')
        self.resize(disk)
        self.back_up()
        self.process.snapshots.rollback_disk('vms', disk.image.name, 'old')
        self.restore()
        self.assertEqual(
            [(disk.image.name, Outcome.RESIZED)], self.reconcile()
        )
        self.assert_size(disk, 2 * MIB)

    def test_disk_back_out_of_the_trash_has_the_size_of_ceph(self) -> None:
        disk = self.create()
        self.world.execute("UPDATE clones SET state = 'retired', live = NULL")
        self.back_up()
        self.world.execute("UPDATE clones SET state = 'ready', live = 1")
        self.resize(disk)
        self.restore()
        self.assert_grown(disk, Outcome.READY)

    def test_rehearsal_tells_the_size_and_changes_nothing(self) -> None:
        disk = self.create()
        self.back_up()
        self.resize(disk)
        self.restore()
        self.assertEqual(
            [(disk.image.name, Outcome.RESIZED)],
            self.reconcile(rehearsed=True),
        )
        self.assert_size(disk, 2 * MIB)

    def test_interrupted_it_gives_every_disk_its_size(self) -> None:
        disks = [self.create() for _ in range(2)]
        self.back_up()
        for disk in disks:
            self.resize(disk)
        self.restore()
        self.reconcile_interrupted()
        for disk in disks:
            self.assert_size(disk, 4 * MIB)

    def test_request_that_was_open_at_the_backup_is_done(self) -> None:
        disk = self.create()
        self.process.snapshots.create_snapshot('vms', disk.image.name, 'old')
        asked = Request('a rollback')
        self.world.ceph.on_act = self.back_up_before('rollback')
        self.process.snapshots.rollback_disk(
            'vms', disk.image.name, 'old', asked
        )
        self.world.ceph.write(disk.image, 0, b'later')
        self.restore()
        self.world.end_leases()
        self.assertEqual([(disk.image.name, Outcome.READY)], self.reconcile())
        self.go_on()
        # It was sent twice.
        self.process.snapshots.rollback_disk(
            'vms', disk.image.name, 'old', asked
        )
        self.assertEqual(b'later', self.world.ceph.read(disk.image, 0, 5))

    def test_rollback_refused_after_the_restore_is_not_done_later(
        self,
    ) -> None:
        disk = self.create()
        self.process.snapshots.create_snapshot('vms', disk.image.name, 'old')
        self.world.execute("UPDATE clones SET state = 'rolling-back'")
        self.back_up()
        backup_at = self.process.lineage.now()
        self.world.execute("UPDATE clones SET state = 'ready'")
        self.world.ceph.write(disk.image, 0, b'later')
        self.restore()
        self.assertRaises(
            errors.Error, self.process.snapshots.rollback_disk,
            'vms', disk.image.name, 'old',
        )  # fmt: skip
        self.assertEqual(
            [(disk.image.name, Outcome.READY)],
            self.reconcile(backup_at=backup_at),
        )
        self.go_on()
        self.assertEqual(b'later', self.world.ceph.read(disk.image, 0, 5))


class TrashTest(ReconciliationTest):
    """What was deleted after the backup, and waits in the trash."""

    def assert_purged_late(self, *disks: Clone) -> None:
        """Assert that each disk is purged, after its time."""
        for disk in disks:
            self.assertEqual(State.RETIRED, self.row_of(disk).state)
        generation = self.process.generation
        generation.renew(generation.see())
        before = self.in_ceph()
        self.process.recovery.sweep()
        self.process.reaper.sweep()
        self.assertEqual(before, self.in_ceph())
        self.go_on()
        for disk in disks:
            self.assertEqual(State.DELETED, self.row_of(disk).state)
        self.assertEqual({}, self.world.ceph.trashed('vms'))

    def test_disk_made_and_deleted_after_the_backup_is_purged(self) -> None:
        self.back_up()
        disk = self.create()
        self.delete(disk)
        self.restore()
        self.assertEqual(
            [(disk.image.name, Outcome.RETIRED)],
            self.reconcile(rehearsed=True),
        )
        self.assertEqual(
            [(disk.image.name, Outcome.RETIRED)], self.reconcile()
        )
        self.assertEqual([], self.reconcile())
        self.assert_purged_late(disk)

    def test_disk_in_the_trash_can_be_brought_back(self) -> None:
        self.back_up()
        disk = self.create()
        self.delete(disk)
        self.restore()
        self.reconcile()
        engine = self.process.engine
        engine.remover.restore(
            engine.holder.held_in(self.row_of(disk), State.RESTORING)
        )
        self.go_on()
        self.assert_deletable(disk)

    def test_interrupted_it_records_all_of_the_trash(self) -> None:
        self.back_up()
        disk = self.create()
        image_id = self.glance_image(disk)
        below = self.create_of(image_id)
        self.delete(disk)
        other = self.create()
        self.delete(other)
        self.restore()
        self.reconcile_interrupted()
        self.go_on(State.RETIRED)
        self.assertEqual(State.RETIRED, self.row_of(disk).state)
        self.assertEqual(State.DELETED, self.row_of(other).state)
        self.delete_all(image_id, below)

    def test_disk_in_the_making_at_the_backup_and_deleted_is_purged(
        self,
    ) -> None:
        self.world.ceph.on_act = self.back_up_before('mark_delivered')
        disk = self.create()
        self.delete(disk)
        self.restore()
        self.world.end_leases()
        self.assertEqual(
            [(disk.image.name, Outcome.RETIRED)], self.reconcile()
        )
        self.assert_purged_late(disk)

    def test_name_of_what_was_deleted_may_be_another_s(self) -> None:
        self.world.ceph.on_act = self.back_up_before('mark_delivered')
        disk = self.create()
        self.delete(disk)
        new = self.create_anew(disk)
        self.restore()
        self.world.end_leases()
        self.reconcile_interrupted()
        self.assertEqual(new.uuid, self.row(disk.image.name).uuid)
        self.assert_purged_late(disk)
        self.assert_deletable(new)

    def test_disk_undone_or_deleted_at_the_backup_is_purged(self) -> None:
        for state in (State.UNDOING, State.DELETING):
            disk = self.create()
            self.world.execute(
                f"UPDATE clones SET state = '{state}', image_id = '' "  # noqa: S608
                f"WHERE uuid = '{disk.uuid}'"
            )
            self.back_up()
            self.world.execute(
                f"UPDATE clones SET state = 'ready', "  # noqa: S608
                f"image_id = '{disk.image.id}' WHERE uuid = '{disk.uuid}'"
            )
            self.delete(disk)
            self.restore()
            self.reconcile()
            self.assertEqual(State.RETIRED, self.row_of(disk).state)
            self.go_on()
            self.assertEqual(State.DELETED, self.row_of(disk).state)
            self.assertEqual({}, self.world.ceph.trashed('vms'))

    def test_deleted_disk_whose_name_was_used_again_waits_for_its_child(
        self,
    ) -> None:
        old = self.create()
        self.back_up()
        image_id = self.glance_image(old)
        below = self.create_of(image_id)
        self.delete(old)
        new = self.create_anew(old)
        self.restore()
        self.assertEqual(
            sorted(
                [
                    (old.image.name, Outcome.RETIRED),
                    (new.image.name, Outcome.ADOPTED),
                    (image_id, Outcome.ADOPTED),
                    (below.image.name, Outcome.ADOPTED),
                ]
            ),
            self.reconcile(),
        )
        self.go_on(State.RETIRED)
        self.assertEqual(State.RETIRED, self.row_of(old).state)
        self.delete_all(image_id, new, below)

    def test_interrupted_it_retires_a_disk_whose_name_was_used_again(
        self,
    ) -> None:
        old = self.create()
        self.back_up()
        image_id = self.glance_image(old)
        below = self.create_of(image_id)
        self.delete(old)
        new = self.create_anew(old)
        self.restore()
        self.reconcile_interrupted()
        self.go_on(State.RETIRED)
        self.assertEqual(State.RETIRED, self.row_of(old).state)
        self.delete_all(image_id, new, below)

    def test_disk_whose_name_others_took_is_told_and_left(self) -> None:
        disk = self.create()
        self.back_up()
        self.world.ceph.trash_image(disk.image)
        self.world.ceph.add_image('vms', disk.image.name, MIB)
        self.restore()
        self.assertEqual(
            [(disk.image.name, Outcome.UNEXPLAINED)] * 2, self.reconcile()
        )
        self.assertEqual(State.READY, self.row_of(disk).state)
        self.go_on()
        self.assertEqual(
            {disk.image.id: disk.image.name}, self.world.ceph.trashed('vms')
        )

    def test_image_that_others_trashed_is_left(self) -> None:
        self.back_up()
        name = f'{uuid.uuid4()}_disk'
        image = self.world.ceph.add_image('vms', name, MIB)
        self.world.ceph.trash_image(image)
        self.restore()
        self.assertEqual([], self.reconcile())
        self.go_on()
        self.assertEqual({image.id: name}, self.world.ceph.trashed('vms'))

    def test_image_in_a_trash_that_is_not_marked_is_told_and_left(
        self,
    ) -> None:
        image = self.world.ceph.add_image('images', 'x', MIB)
        with self.world.ceph.open(image) as opened:
            opened.mark_delivered(str(uuid.uuid4()))
        self.world.ceph.trash_image(image)
        self.back_up()
        self.restore()
        self.assertEqual([('x', Outcome.UNEXPLAINED)], self.reconcile())
        self.go_on()
        self.assertEqual({image.id: 'x'}, self.world.ceph.trashed('images'))

    def test_image_in_the_trash_of_a_final_row_is_told_and_left(self) -> None:
        disk = self.create()
        self.world.execute(
            "UPDATE clones SET state = 'deleted', live = NULL, attached = NULL"
        )
        self.back_up()
        self.world.ceph.trash_image(disk.image)
        self.restore()
        self.assertEqual(
            [(disk.image.name, Outcome.UNEXPLAINED)], self.reconcile()
        )
        self.go_on()
        self.assertEqual([disk.image.id], list(self.world.ceph.trashed('vms')))

    def test_disk_that_is_migrated_is_told_and_left(self) -> None:
        disk = self.create()
        self.back_up()
        unknown = self.create()
        for each in (disk, unknown):
            self.world.ceph.migrate(each.image, 'prepare')
        self.restore()
        found = self.reconcile()
        self.assertNotIn(Outcome.FAILED, [outcome for _, outcome in found])
        self.assertIn((disk.image.name, Outcome.UNEXPLAINED), found)
        self.assertEqual(State.READY, self.row_of(disk).state)
        before = self.in_ceph()
        self.go_on()
        self.assertEqual(before, self.in_ceph())


class DeferredDeletionTest(ReconciliationTest):
    """A disk that is deleted while the database does not know it."""

    def setUp(self) -> None:
        super().setUp()
        self.back_up()
        self.disk = self.create()
        self.restore()

    def delete_of_instance(self, suffix: str = '', wait: bool = True) -> None:
        self.assertRaises(
            errors.DatabaseOutdated,
            self.process.engine.delete_disks,
            self.disk.instance_uuid,
            suffix,
            wait=wait,
        )

    def delete_by_name(self) -> None:
        self.assertRaises(errors.DatabaseOutdated, self.delete, self.disk)

    def assert_carried_out(self) -> None:
        name = self.disk.image.name
        told = [(name, Outcome.DELETING)]
        self.assertEqual(told, self.reconcile(rehearsed=True))
        self.assertEqual(told, self.reconcile())
        self.assertEqual([], self.reconcile())
        self.assertEqual(State.DELETING, self.row(name).state)
        warrant = self.process.lineage.warrant_of(self.row(name))
        self.assertEqual(Order.CALLER, warrant.order)
        self.go_on()
        self.process.recovery.retire_begun()
        self.process.sweep_until_quiet()
        self.assertEqual(State.DELETED, self.row(name).state)
        self.assertEqual({}, self.world.ceph.named('vms'))
        self.assertEqual({}, self.world.ceph.trashed('vms'))

    def assert_kept(self, outcome: Outcome = Outcome.ADOPTED) -> None:
        self.assertEqual([(self.disk.image.name, outcome)], self.reconcile())
        self.go_on()
        self.assert_deletable(self.disk)

    def test_deletion_of_the_instance_is_carried_out(self) -> None:
        self.delete_of_instance()
        self.assert_carried_out()

    def test_deletion_that_nobody_waits_for_is_carried_out(self) -> None:
        self.delete_of_instance(wait=False)
        self.assert_carried_out()

    def test_deletion_by_its_name_is_carried_out(self) -> None:
        self.delete_by_name()
        self.assert_carried_out()

    def test_interrupted_command_carries_it_out(self) -> None:
        self.delete_by_name()
        self.reconcile_interrupted()
        self.assertEqual(State.DELETING, self.row(self.disk.image.name).state)

    def test_deletion_of_other_disks_of_the_instance_spares_it(self) -> None:
        self.delete_of_instance('.rescue')
        self.assert_kept()

    def test_deletion_of_another_instance_spares_it(self) -> None:
        self.assertRaises(
            errors.DatabaseOutdated,
            self.process.engine.delete_disks,
            str(uuid.uuid4()),
            '',
        )
        self.assert_kept()

    def test_import_that_is_begun_under_its_name_spares_it(self) -> None:
        request = service.request(
            '',
            name=self.disk.image.name,
            instance_uuid=self.disk.instance_uuid,
            call='a-call',
        )
        self.assertRaises(
            errors.NameTaken, self.process.imports.begin, request
        )
        self.assert_kept()

    def test_deletion_before_it_was_made_spares_it(self) -> None:
        """The backup was made of a database that was older itself."""
        self.delete_by_name()
        self.world.execute(
            "UPDATE deletions SET created_at = '2000-01-01 00:00:00.000000'"
        )
        self.assert_kept()

    def test_disk_made_anew_after_the_command_is_spared(self) -> None:
        self.delete_of_instance()
        self.delete_by_name()
        self.assert_carried_out()
        self.disk = self.create_anew(self.disk)
        self.back_up()
        self.restore()
        self.assertEqual([], self.reconcile())
        self.go_on()
        self.assert_deletable(self.disk)

    def test_deletion_that_waits_is_not_forgotten(self) -> None:
        self.delete_by_name()
        self.process.lineage.forget_deletions(-60)
        self.assert_carried_out()

    def test_deletion_that_comes_meanwhile_is_carried_out(self) -> None:
        """It is committed after the disk's row was written."""
        look = self.process.lineage.deferred_order
        noted = self.process.lineage.note_deletion(
            'a-call', self.world.child(self.disk.image.name)
        )

        def defer(*given: Any) -> Any:
            self.process.lineage.defer_deletion(noted)
            return look(*given)

        # No caller comes between two statements by itself.
        self.useFixture(
            fixtures.MonkeyPatch(
                'rbdcloner.db.lineage.Lineage.deferred_order',
                lambda _, *given: defer(*given),
            )
        )
        self.reconcile()
        self.assertEqual(State.DELETING, self.row(self.disk.image.name).state)

    def test_deletion_of_what_left_the_trash_is_carried_out(self) -> None:
        self.reconcile()
        self.go_on()
        self.world.execute("UPDATE clones SET state = 'retired', live = NULL")
        self.back_up()
        self.world.execute("UPDATE clones SET state = 'ready', live = 1")
        self.restore()
        self.delete_by_name()
        self.assert_carried_out()


class BlankDiskTest(ReconciliationTest):
    """A disk that its caller writes, and commits after the backup."""

    def setUp(self) -> None:
        super().setUp()
        self.request = service.request('', call='a-call', after=0)

    def begin(self, call: str = 'a-call') -> Clone:
        request = dataclasses.replace(self.request, call=call, after=None)
        return self.process.imports.begin(request)

    def write(self, disk: Clone) -> None:
        self.world.ceph.write(disk.image, 0, b'whole')

    def commit(self, disk: Clone) -> None:
        self.write(disk)
        self.process.imports.finish(
            'vms', disk.image.name, disk.image.id, 4 * MIB
        )

    def assert_whole(self, disk: Clone) -> None:
        found = self.row(disk.image.name)
        self.assertEqual(
            (State.READY, disk.uuid, disk.image.id),
            (found.state, found.uuid, found.image.id),
        )
        self.assertEqual(b'whole', self.world.ceph.read(disk.image, 0, 5))

    def assert_kept(self, disk: Clone) -> None:
        """Assert that the disk outlives the command and the managers."""
        self.reconcile()
        self.go_on()
        self.assert_whole(disk)
        self.assertEqual(4 * MIB, self.row(disk.image.name).size_bytes)
        self.assert_deletable(disk)

    def test_committed_disk_is_ready_whoever_touched_its_row(self) -> None:
        disk = self.begin()
        self.back_up()
        backup_at = disk.created_at - datetime.timedelta(hours=1)
        self.commit(disk)
        self.restore()
        self.assertEqual(
            [(disk.image.name, Outcome.READY)],
            self.reconcile(backup_at=backup_at),
        )
        self.assert_kept(disk)

    def test_begun_anew_before_the_command_a_committed_disk_is_kept(
        self,
    ) -> None:
        for call in ('a-call', 'another-call'):
            self.request = dataclasses.replace(
                self.request, name=f'{uuid.uuid4()}_disk'
            )
            disk = self.begin(call)
            self.back_up()
            self.commit(disk)
            self.restore()
            self.assertRaises(errors.DiskExists, self.begin, 'another-call')
            self.assert_whole(disk)
            self.assert_kept(disk)

    def test_disk_in_the_making_at_the_backup_is_kept(self) -> None:
        for call in ('a-call', 'another-call'):
            self.request = dataclasses.replace(
                self.request, name=f'{uuid.uuid4()}_disk'
            )
            self.world.ceph.on_act = self.back_up_before('mark_delivered')
            disk = self.begin('a-call')
            self.commit(disk)
            self.restore()
            self.world.end_leases()
            self.assertRaises(errors.DiskExists, self.begin, call)
            self.assert_kept(disk)

    def test_disk_that_no_mark_tells_is_not_replaced_before_the_command(
        self,
    ) -> None:
        disk = self.begin()
        self.as_of_an_earlier_release(disk)
        self.back_up()
        self.write(disk)
        self.restore()
        self.assertRaises(errors.DatabaseOutdated, self.begin, 'another-call')
        self.assertEqual(State.IMPORTING, self.row(disk.image.name).state)
        self.assertEqual([(disk.image.name, Outcome.READY)], self.reconcile())
        self.go_on()
        self.assert_whole(disk)

    def as_of_an_earlier_release(self, disk: Clone) -> None:
        """Take the mark away that says that the disk is being written."""
        with self.world.ceph.open(disk.image) as opened:
            opened.mark_delivered(disk.uuid)

    def assert_importing(self, disk: Clone) -> None:
        """Assert that the disk is not taken for whole, and can be committed.

        By the caller that has begun it.
        """
        self.assertEqual([], self.reconcile())
        found = self.row(disk.image.name)
        self.assertEqual(
            (State.IMPORTING, disk.uuid, disk.image.id),
            (found.state, found.uuid, found.image.id),
        )
        self.go_on(State.IMPORTING)
        self.assertEqual(found, self.begin())
        self.commit(disk)
        self.assert_whole(disk)
        self.assert_deletable(disk)

    def test_disk_being_written_at_the_backup_is_not_whole(self) -> None:
        disk = self.begin()
        self.back_up()
        self.write(disk)
        self.restore()
        self.assert_importing(disk)

    def test_disk_being_written_since_the_backup_is_adopted_so(self) -> None:
        self.back_up()
        disk = self.begin()
        self.write(disk)
        self.restore()
        told = [(disk.image.name, Outcome.ADOPTED)]
        self.assertEqual(told, self.reconcile())
        self.assert_importing(disk)

    def test_disk_in_the_making_at_the_backup_and_written_is_not_whole(
        self,
    ) -> None:
        self.world.ceph.on_act = self.back_up_before('mark_delivered')
        disk = self.begin()
        self.write(disk)
        self.restore()
        self.world.end_leases()
        self.reconcile()
        self.assert_importing(disk)

    def test_committed_disk_that_is_not_known_is_adopted(self) -> None:
        self.back_up()
        disk = self.begin()
        self.commit(disk)
        self.restore()
        self.assert_kept(disk)

    def test_disk_that_an_earlier_release_finished_is_adopted(self) -> None:
        self.back_up()
        disk = self.begin()
        self.commit(disk)
        self.as_of_an_earlier_release(disk)
        self.restore()
        self.assert_kept(disk)

    def test_image_that_was_never_delivered_is_told_and_left(self) -> None:
        self.back_up()
        names = {
            'vms': f'{uuid.uuid4()}_disk',
            'images': f'{uuid.uuid4()}.1a2b3c4d',
        }
        for pool, name in names.items():
            image = self.world.ceph.add_image(pool, name, MIB)
            with self.world.ceph.open(image) as opened:
                opened.tag(str(uuid.uuid4()))
        self.restore()
        before = self.world.rows()
        self.assertEqual(
            sorted((name, Outcome.UNEXPLAINED) for name in names.values()),
            self.reconcile(),
        )
        self.assertEqual(before, self.world.rows())
        self.go_on()
        self.assertEqual({names['vms']}, set(self.world.ceph.named('vms')))

    def test_disk_begun_after_the_restore_is_not_taken_for_whole(
        self,
    ) -> None:
        self.back_up()
        backup_at = self.process.lineage.now()
        self.restore()
        disk = self.begin()
        self.before = self.in_ceph()
        self.assertEqual([], self.reconcile(backup_at=backup_at))
        self.assertEqual(State.IMPORTING, self.row(disk.image.name).state)


class StoryTest(ReconciliationTest):
    """A busy database is backed up, goes on, and is restored."""

    def setUp(self) -> None:
        super().setUp()
        self.disks: list[Clone] = []
        self.create_all(2)
        self.unwanted = self.disks.pop()
        # One is in the making when the backup is made: its row is reserved.
        self.world.ceph.on_act = self.back_up_before('mark_delivered')
        self.create_all(1)
        self.create_all(2)
        self.process.engine.delete_disk('vms', self.unwanted.image.name)
        self.process.sweep_until_quiet()
        self.restore()

    def create_all(self, number: int) -> None:
        for _ in range(number):
            disk = self.create()
            self.world.ceph.write(disk.image, MIB, disk.uuid.encode())
            self.disks.append(disk)

    def work(self) -> None:
        """Let the managers look for what they can do, in vain."""
        self.world.pass_time()
        self.process.recovery.sweep()
        self.process.recovery.take_over()
        self.process.recovery.retire_begun()
        self.process.survey.look()
        self.process.upkeep.look()
        self.process.reaper.sweep()
        self.assertEqual(self.before, self.in_ceph())

    def assert_data(self) -> None:
        for disk in self.disks:
            data = self.world.ceph.read(disk.image, MIB, len(disk.uuid))
            self.assertEqual(disk.uuid, data.decode())

    def test_nothing_is_destroyed_and_every_disk_is_known_again(self) -> None:
        self.work()
        self.interrupt()
        self.work()
        self.reconcile()
        self.assertEqual([], self.reconcile())
        self.work()
        self.assert_data()
        self.go_on()
        self.assert_data()
        self.assertEqual(
            State.DELETED, self.row(self.unwanted.image.name).state
        )
        self.assert_deletable(*self.disks)

    def interrupt(self) -> None:
        """Begin to reconcile, and die in the middle."""
        left = [3]

        def die() -> None:
            left[0] -= 1
            if not left[0]:
                raise service.Died

        process = self.process
        self.process = self.world.process(on_commit=die)
        self.assertRaises(service.Died, self.reconcile)
        self.process = process


class TreeTest(ReconciliationTest):
    def test_image_of_a_disk_is_adopted_with_its_edge(self) -> None:
        disk = self.create()
        self.back_up()
        image_id = self.glance_image(disk)
        below = self.create_of(image_id)
        self.restore()
        self.assertEqual(
            sorted(
                [
                    (image_id, Outcome.ADOPTED),
                    (below.image.name, Outcome.ADOPTED),
                ]
            ),
            self.reconcile(),
        )
        (image,) = self.process.lineage.page(Filters(kind=Kind.IMAGE))
        self.assertEqual(Purpose.EDGE, image.parent.purpose)
        self.assertEqual(
            Purpose.GLANCE, self.row(below.image.name).parent.purpose
        )
        self.go_on()
        self.delete_all(image_id, disk, below)

    def test_ancestor_in_the_trash_is_adopted_before_its_child(self) -> None:
        self.back_up()
        disk = self.create()
        image_id = self.glance_image(disk)
        below = self.create_of(image_id)
        self.process.engine.delete_disk('vms', disk.image.name)
        self.restore()
        self.reconcile()
        self.assertEqual(State.RETIRED, self.row(disk.image.name).state)
        self.go_on(State.RETIRED)
        self.assertEqual(State.RETIRED, self.row(disk.image.name).state)
        self.delete_all(image_id, below)

    def test_pool_that_is_not_marked_ends_no_row(self) -> None:
        image_id = self.glance_image(self.create())
        self.back_up()
        self.restore()
        (image,) = self.process.lineage.page(Filters(kind=Kind.IMAGE))
        self.world.ceph.glance_delete(image.image)
        self.before = self.in_ceph()
        self.assertEqual([(image_id, Outcome.UNEXPLAINED)], self.reconcile())
        self.assertEqual(
            State.READY,
            self.process.lineage.page(Filters(kind=Kind.IMAGE))[0].state,
        )


class StrangerTest(ReconciliationTest):
    def test_pool_of_another_lineage_is_refused_unless_it_is_taken(
        self,
    ) -> None:
        text = self.world.ceph.lineage_mark('vms')
        other = text.replace(self.process.lineage.age().mark.lineage, 'other')
        self.world.ceph.mark_lineage('vms', text, other)
        generation = self.world.process().generation
        (why,) = generation.strangers(generation.see(), [])
        self.assertIn('belongs to lineage other', why)
        self.assertEqual([], generation.strangers(generation.see(), ['vms']))
        generation.renew(generation.see())
        generation.look()
        generation.check('vms')

    def test_pool_that_lost_its_mark_is_refused_unless_it_is_taken(
        self,
    ) -> None:
        self.world.ceph.unmark_lineage('vms')
        generation = self.world.process().generation
        (why,) = generation.strangers(generation.see(), [])
        self.assertIn('lost its mark', why)
        self.assertRaises(errors.DatabaseOutdated, generation.check, 'vms')
        generation.renew(generation.see())
        generation.look()
        generation.check('vms')

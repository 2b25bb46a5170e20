# SPDX-License-Identifier: Apache-2.0
"""Who lost its lease stops; who is late is shut out."""

import contextlib
import threading
import time
from unittest import mock

import fixtures
import testtools

from rbdcloner import errors
from rbdcloner.cloning import holding
from rbdcloner.cloning import permits
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Flatten
from rbdcloner.model import FlattenReason
from rbdcloner.states import State
from tests.unit.cloning import service
from tests.unit.cloning.service import MIB
from tests.unit.cloning.service import Process
from tests.unit.cloning.service import Service

ADDRESS = '192.0.2.9:0/42'
#: Long enough to be at work, short enough to wait for.
LEASE_S = 0.3
PATIENCE_S = 30


class Clock(fixtures.Fixture):
    """The host's clock, which a test sets forward: it need not wait.

    In place of ``time`` where leases are held and asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0.0

    def _setUp(self) -> None:
        for room in ('holding', 'permits'):
            name = f'rbdcloner.cloning.{room}.time'
            self.useFixture(fixtures.MonkeyPatch(name, self))

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


class LostLeaseTest(testtools.TestCase):
    """Another takes the row before an act: neither that nor any other is
    done, whichever it is."""

    def each_loss(self, prepare, act) -> list[str]:
        """Lose the rows before each act in turn; the acts that were."""
        for clone_format in CloneFormat:
            number = 0
            while True:
                with Service(clone_format, LEASE_S) as world:
                    what = prepare(world)
                    loss = _Loss(world, number)
                    process = world.process()
                    world.ceph.on_act = loss.on_act
                    with loss.clock, contextlib.suppress(errors.Error):
                        act(process, what)
                    world.ceph.on_act = lambda name, when: None
                    if not loss.happened:
                        break
                    self.assertEqual(loss.before, loss.done)
                    if loss.rows:
                        self.assertEqual(loss.rows, loss.now())
                number = len(loss.before) + 1
        return loss.begun

    def test_create(self) -> None:
        acts = self.each_loss(_image, _create)
        self.assertEqual(['clone', 'resize', 'mark_delivered'], acts[-3:])

    def test_resize(self) -> None:
        acts = self.each_loss(
            _disk,
            lambda process, name: process.engine.resize_disk(
                'vms', name, 8 * MIB
            ),
        )
        self.assertEqual(['resize'], acts)

    def test_snapshot(self) -> None:
        acts = self.each_loss(
            _disk,
            lambda process, name: process.snapshots.snapshot_disk(
                'vms', name, 'an-image', 'images'
            ),
        )
        self.assertEqual(
            [
                *('take_snapshot', 'clone', 'tag'),
                *('take_snapshot', 'protect', 'mark_delivered'),
            ],
            acts,
        )

    def test_delete(self) -> None:
        acts = self.each_loss(
            _disk,
            lambda process, name: process.engine.delete_disk('vms', name),
        )
        self.assertEqual(['trash'], acts)

    def test_reap(self) -> None:
        acts = self.each_loss(_retired, lambda process, _: _reap(process))
        self.assertEqual('purge', acts[-1])
        self.assertIn('remove_snapshot', acts)

    def test_roll_back(self) -> None:
        acts = self.each_loss(
            _snapshotted,
            lambda process, name: process.snapshots.rollback_disk(
                'vms', name, 'own'
            ),
        )
        self.assertEqual(['rollback'], acts)

    def test_flatten(self) -> None:
        acts = self.each_loss(
            _to_flatten, lambda process, _: process.flattener.run_next()
        )
        self.assertEqual('flatten', acts[0])

    def test_recovery(self) -> None:
        acts = self.each_loss(
            _half_made, lambda process, _: process.recovery.sweep()
        )
        self.assertEqual(['trash', 'purge'], acts[:2])


class _Loss:
    """Before the act with a number all leases run out and another has all."""

    def __init__(self, world: Service, number: int) -> None:
        self.begun: list[str] = []
        self.before: list[str] = []
        self.done: list[str] = []
        self.happened = False
        self.rows: list[tuple[int, int]] = []
        self.clock = Clock()
        self._world = world
        self._number = number
        self._thief = world.process().lineage

    def on_act(self, name: str, when: str) -> None:
        if when == 'after':
            self.done.append(name)
            return
        if len(self.begun) == self._number and not self.happened:
            self._lose()
        self.begun.append(name)

    def now(self) -> list[tuple[int, int]]:
        """Return whose rows are held, as they are now."""
        return [(row.id, row.fence) for row in self._thief.held()]

    def _lose(self) -> None:
        held = self._thief.held()
        stolen = [self._steal(row) for row in held]
        fences = {row.id: row.fence for row in stolen}
        self._thief.renew_all(fences, 'thief', 600)
        flatten = None if held else self._steal_flatten()
        if held or flatten:
            self.happened = True
            self.before = list(self.begun)
            self.rows = self.now()
            self.clock.ahead_s += 60
        else:
            # An act for no row.
            self._number += 1

    def _steal_flatten(self) -> Flatten | None:
        for _ in range(20):
            self._world.end_leases()
            flatten = self._thief.next_flatten('thief', 600, 9, shut_out=())
            if flatten is not None:
                return flatten
        return None

    def _steal(self, row: Clone) -> Clone:
        while True:
            self._world.end_leases()
            # The row's holder may renew its lease in between.
            with contextlib.suppress(errors.DiskBusy):
                return self._thief.hold(row, 'thief', 600, shut_out=())


class HolderTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.world = self.useFixture(Service(lease_s=LEASE_S))
        self.process = self.world.process()
        self.holder = self.process.engine.holder
        self.lineage = self.process.lineage
        name = _disk(self.world)
        disk = self.process.engine.get_disk('vms', name)
        self.disk = self.holder.taken(self.lineage.move, disk, State.RESIZING)

    def expires_at(self):
        (row,) = self.lineage.held()
        return row.lease_expires_at

    def wait_until(self, done, what: str) -> None:
        until = time.monotonic() + PATIENCE_S
        pause = threading.Event()
        while not done():
            self.assertLess(time.monotonic(), until, what)
            pause.wait(0.01)

    def test_what_works_on_no_row_is_permitted(self) -> None:
        permits.permit()

    def test_a_lease_is_renewed_while_it_is_worked_on(self) -> None:
        before = self.expires_at()
        with self.holder.working_on(self.disk):
            self.wait_until(
                lambda: self.expires_at() > before, 'it is not renewed'
            )
            permits.permit()

    def test_renewing_outlives_the_database(self) -> None:
        renew_all = self.lineage.renew_all
        down = errors.DatabaseUnavailable(reason='down')
        # A database cannot be stopped under SQLite.
        with (
            mock.patch.object(
                type(self.lineage), 'renew_all', side_effect=[down, down]
            ) as failing,
            self.holder.working_on(self.disk),
        ):
            self.wait_until(lambda: failing.call_count > 1, 'not tried')
            failing.side_effect = renew_all
            before = self.expires_at()
            self.wait_until(lambda: self.expires_at() > before, 'it gave up')

    def test_while_the_lease_is_certain_nobody_is_asked(self) -> None:
        holder = holding.Holder(self.lineage, 'me', 60)
        disk = holder.taken(self._taken_over)
        with (
            holder.working_on(disk),
            # That nothing is asked can be seen in no row.
            mock.patch.object(type(self.lineage), 'renew_all') as asked,
        ):
            permits.permit()
        asked.assert_not_called()

    def test_a_permit_does_not_outlive_its_connection(self) -> None:
        """The clock stood still with the machine; another took the row."""
        with self.holder.working_on(self.disk):
            permits.permit(time.monotonic() - LEASE_S)
            self.world.end_leases()
            held = self.world.process().lineage.hold(
                self.disk, 'other', 600, shut_out=()
            )
            self.world.ceph.connected_at = time.monotonic()
            self.assertRaises(
                errors.LeaseLost, self.world.ceph.trash, self.disk.image
            )
        self.assertIn(self.disk.image.name, self.world.ceph.named('vms'))
        self.assertEqual([held.fence], [r.fence for r in self.lineage.held()])

    def test_a_permit_is_confirmed_for_a_connection_once(self) -> None:
        holder = holding.Holder(self.lineage, 'me', 60)
        disk = holder.taken(self._taken_over)
        with holder.working_on(disk):
            connected_at = time.monotonic()
            permits.permit(connected_at)
            # That nothing is asked can be seen in no row.
            with mock.patch.object(type(self.lineage), 'renew_all') as asked:
                permits.permit(connected_at)
        asked.assert_not_called()

    def test_without_a_database_nothing_uncertain_is_permitted(self) -> None:
        down = errors.DatabaseUnavailable(reason='down')
        hold = self.holder.hold_on(
            self.disk, lambda: self.lineage.renew_all({}, 'me', LEASE_S)
        )
        hold.patience_s = 0
        # A database cannot be stopped under SQLite.
        with (
            mock.patch.object(
                type(self.lineage), 'renew_all', side_effect=down
            ),
            permits.acting(hold),
        ):
            self.wait_until(self._is_refused, 'it is permitted')

    def test_work_that_hangs_is_not_renewed_for_ever(self) -> None:
        clock = self.useFixture(Clock())
        with self.holder.working_on(self.disk, long=True):
            clock.ahead_s = 3600
            permits.permit()
        with (
            testtools.ExpectedException(errors.LeaseLost),
            self.holder.working_on(self.disk),
        ):
            clock.ahead_s = 7200
            permits.permit()

    def test_a_late_holder_is_shut_out_first(self) -> None:
        self.lineage.note_addresses(self.disk.owner, [ADDRESS])
        self.world.end_leases()
        other = self.world.process()
        self.assertRaises(
            errors.CephUnavailable, self._hold_without_ceph, other
        )
        self.assertEqual(self.disk.owner, self.lineage.held()[0].owner)
        held = other.engine.holder.hold(self.disk)
        self.assertEqual({ADDRESS}, self.world.ceph.refused)
        self.assertEqual((), self.lineage.addresses_of(self.disk.owner))
        self.assertEqual(self.disk.fence + 1, held.fence)

    def test_no_holder_is_blocklisted_after_a_silent_database(self) -> None:
        self.lineage.note_addresses(self.disk.owner, [ADDRESS])
        self.world.end_leases()
        self.world.silence_database()
        other = self.world.process().engine.holder
        self.assertRaises(errors.DiskBusy, other.hold, self.disk)
        self.assertEqual(set(), self.world.ceph.refused)
        # The holder lives, and renews its lease by then.
        self.lineage.renew(self.disk, 60)
        self.wait_until(self._leases_are_trusted, 'leases are not trusted')
        self.assertRaises(errors.DiskBusy, other.hold, self.disk)
        self.assertEqual(set(), self.world.ceph.refused)

    def test_a_lease_after_a_silence_its_row_is_taken_over(self) -> None:
        self.lineage.note_addresses(self.disk.owner, [ADDRESS])
        self.world.end_leases()
        self.world.silence_database()
        other = self.world.process().engine.holder
        self.assertRaises(errors.DiskBusy, other.hold, self.disk)
        self.wait_until(self._leases_are_trusted, 'leases are not trusted')
        self.assertEqual(self.disk.fence + 1, other.hold(self.disk).fence)
        self.assertEqual({ADDRESS}, self.world.ceph.refused)

    def test_long_work_waits_for_the_database(self) -> None:
        renew_all = self.lineage.renew_all
        down = errors.DatabaseUnavailable(reason='down')
        with (
            self.holder.working_on(self.disk, long=True),
            # A database cannot be stopped under SQLite.
            mock.patch.object(
                type(self.lineage), 'renew_all', side_effect=down
            ) as failing,
        ):
            time.sleep(LEASE_S)
            answers = threading.Timer(
                LEASE_S, lambda: setattr(failing, 'side_effect', renew_all)
            )
            answers.start()
            permits.permit()
            answers.join()

    def test_who_let_go_is_not_shut_out(self) -> None:
        self.lineage.note_addresses(self.disk.owner, [ADDRESS])
        self.lineage.let_go(self.disk, 'why')
        self.world.process().engine.holder.hold(self.disk)
        self.assertEqual(set(), self.world.ceph.refused)

    def test_a_key_that_may_shut_nobody_out_leaves_it_to_the_lease(
        self,
    ) -> None:
        log = self.useFixture(fixtures.FakeLogger())
        self.lineage.note_addresses(self.disk.owner, [ADDRESS])
        self.world.end_leases()
        self.world.ceph.fail(
            'shut_out', errors.CephForbidden(act='shut out', pool='')
        )
        held = self.world.process().engine.holder.hold(self.disk)
        self.assertEqual(self.disk.fence + 1, held.fence)
        self.assertIn('profile rbd', log.output)

    def test_a_thread_that_is_late_keeps_its_row_from_its_process(
        self,
    ) -> None:
        self.lineage.note_addresses(self.disk.owner, [ADDRESS])
        with self.holder.working_on(self.disk):
            self.world.end_leases()
            self.assertRaises(errors.DiskBusy, self.holder.hold, self.disk)
            permits.permit()
        self.assertEqual(set(), self.world.ceph.refused)

    def test_a_thread_that_hangs_is_shut_out_with_its_process(self) -> None:
        clock = self.useFixture(Clock())
        self.lineage.note_addresses(self.disk.owner, [ADDRESS])
        with (
            testtools.ExpectedException(errors.LeaseLost),
            self.holder.working_on(self.disk),
        ):
            clock.ahead_s = 3600
            self.world.end_leases()
            self.holder.hold(self.disk)
            self.assertEqual({ADDRESS}, self.world.ceph.refused)
            permits.permit()

    def _leases_are_trusted(self) -> bool:
        return self.lineage.may_take_over('me', LEASE_S)

    def _taken_over(self, owner: str, lease_s: float):
        self.lineage.let_go(self.disk, 'why')
        return self.lineage.hold(self.disk, owner, lease_s)

    def _hold_without_ceph(self, other: Process) -> None:
        self.world.ceph.fail(
            'shut_out', errors.CephUnavailable(act='shut out')
        )
        other.engine.holder.hold(self.disk)

    def _is_refused(self) -> bool:
        try:
            permits.permit()
        except errors.DatabaseUnavailable:
            return True
        return False


class TakeOverTest(testtools.TestCase):
    """A killed worker's row is finished by its caller, or else undone."""

    def setUp(self) -> None:
        super().setUp()
        self.world = self.useFixture(Service(lease_s=LEASE_S))
        self.image_id = self.world.add_image()
        self.request = service.request(self.image_id)

    def die(self) -> None:
        self.world.ceph.fail('resize', service.Died('killed'))
        self.assertRaises(
            service.Died,
            self.world.process().engine.create_disk,
            self.request,
        )
        self.world.ceph.expire_watches()

    def test_a_caller_that_calls_again_waits_for_a_lease(self) -> None:
        self.die()
        clone = self.world.process().engine.create_disk(self.request)
        self.assertIs(State.READY, clone.state)

    def test_who_is_not_called_for_is_undone(self) -> None:
        self.die()
        self.world.end_leases()
        self.assertEqual(1, self.world.process().recovery.take_over())
        self.assertEqual([(self.request.name, 'failed')], self.world.rows())
        self.assertEqual({}, self.world.ceph.named('vms'))

    def test_what_is_at_work_or_was_let_go_is_left_alone(self) -> None:
        process = self.world.process()
        self.world.ceph.fail('resize', errors.CephUnavailable(act='resize'))
        self.assertRaises(
            errors.CephUnavailable, process.engine.create_disk, self.request
        )
        self.world.end_leases()
        self.assertEqual(0, process.recovery.take_over())


def _image(world: Service) -> str:
    return world.add_image(protected=False)


def _create(process: Process, image_id: str) -> str:
    request = service.request(image_id, name=f'{image_id}_disk')
    return process.engine.create_disk(request).image.name


def _disk(world: Service) -> str:
    return _create(world.process(), _image(world))


def _snapshotted(world: Service) -> str:
    name = _disk(world)
    world.process().snapshots.create_snapshot('vms', name, 'own')
    return name


def _retired(world: Service) -> str:
    name = _snapshotted(world)
    world.process().engine.delete_disk('vms', name)
    return name


def _reap(process: Process) -> None:
    process.reaper.sweep()


def _to_flatten(world: Service) -> str:
    name = _disk(world)
    process = world.process()
    disk = process.engine.get_disk('vms', name)
    process.lineage.want_flatten(disk, FlattenReason.RELEASE)
    return name


def _half_made(world: Service) -> str:
    image_id = _image(world)
    world.ceph.fail('resize', service.Died('killed'))
    with contextlib.suppress(service.Died):
        _create(world.process(), image_id)
    world.ceph.expire_watches()
    world.end_leases()
    return image_id

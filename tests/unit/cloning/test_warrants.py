# SPDX-License-Identifier: Apache-2.0
"""What is destroyed by whose order, and what is not."""

import dataclasses

import fixtures
import testtools

from rbdcloner import errors
from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.model import Order
from rbdcloner.model import Warrant
from rbdcloner.states import State
from tests.unit.cloning import service


class GateTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.world = self.useFixture(service.Service())
        self.process = self.world.process()
        self.ceph = self.world.ceph
        self.gate = self.process.engine.remover.gate
        self.log = self.useFixture(fixtures.FakeLogger('rbdcloner'))
        self.image_id = self.world.add_image()
        self.request = service.request(self.image_id, after=0)
        self.disk = self.process.engine.create_disk(self.request)

    def delete(self, call: str = '') -> Clone:
        return self.process.engine.delete_disk(
            'vms', self.disk.image.name, call
        )

    def now(self) -> Clone:
        (row,) = self.process.lineage.page(Filters(uuid=self.disk.uuid))
        return row

    def assert_there(self) -> None:
        self.assertEqual(
            {self.disk.image.name: self.disk.image.id},
            self.ceph.named('vms'),
        )

    def destructions(self) -> list[str]:
        return [
            line
            for line in self.log.output.splitlines()
            if line.startswith('Destruction:')
        ]


class OrderTest(GateTest):
    def test_deletion_is_logged_and_recorded_with_its_request(self) -> None:
        self.delete('req-1')
        self.process.sweep_until_quiet()
        self.assertEqual(
            Warrant(Order.CALLER, 'its deletion', 'req-1'),
            self.process.lineage.warrant_of(self.disk),
        )
        what = f'vms/{self.disk.image.name} ({self.disk.image.id})'
        by = 'ordered by caller (request req-1): its deletion'
        self.assertEqual(
            [
                f'Destruction: move to the trash {what}, {by}',
                f'Destruction: purge {what}, {by}',
            ],
            self.destructions(),
        )

    def test_deletion_by_instance_is_recorded_with_its_request(self) -> None:
        self.process.engine.delete_disks(
            self.request.instance_uuid, '', 'req-2'
        )
        warrant = self.process.lineage.warrant_of(self.disk)
        self.assertEqual(
            (Order.CALLER, 'req-2'), (warrant.order, warrant.request)
        )

    def test_undoing_is_recorded_with_its_cause(self) -> None:
        self.ceph.fail('resize', errors.OutOfSpace(pool='vms'))
        other = service.request(self.image_id)
        self.assertRaises(
            errors.OutOfSpace, self.process.engine.create_disk, other
        )
        (row,) = self.process.lineage.page(Filters(name=other.name))
        warrant = self.process.lineage.warrant_of(row)
        self.assertIs(Order.UNDO, warrant.order)
        self.assertIn('OutOfSpace', warrant.evidence)
        self.assertIn('never delivered', self.destructions()[-1])

    def test_order_of_a_caller_without_a_request_is_refused(self) -> None:
        nameless = Warrant(Order.CALLER, 'its deletion')
        self.assertRaises(
            errors.DestructionRefused, self.gate.trash, self.disk, nameless
        )
        self.assert_there()

    def test_order_without_evidence_is_refused(self) -> None:
        for order in (Order.ABSENCE, Order.OPERATOR, Order.UNNEEDED):
            self.assertRaises(
                errors.DestructionRefused,
                *(self.gate.trash, self.disk, Warrant(order, '')),
            )
        self.assert_there()

    def test_marked_image_is_not_purged_to_undo_it(self) -> None:
        undoing = dataclasses.replace(self.disk, state=State.UNDOING)
        self.ceph.trash_image(self.disk.image)
        self.assertRaises(
            errors.DestructionRefused,
            *(self.gate.purge, undoing, Warrant(Order.UNDO, 'a test')),
        )
        self.assertIn(self.disk.image.id, self.ceph.trashed('vms'))

    def test_image_that_others_removed_is_not_touched(self) -> None:
        removed = Warrant(Order.OTHERS, 'its pool has no such image')
        self.process.engine.remove(self.disk, removed)
        self.process.sweep_until_quiet()
        self.assert_there()
        self.assertIs(State.DELETED, self.now().state)
        self.assertEqual([], self.destructions())

    def test_row_of_the_release_before_goes_all_the_same(self) -> None:
        held = self.process.lineage.hold(self.disk, 'the one before', 30)
        self.process.lineage.move(held, State.DELETING)
        self.process.sweep_until_quiet()
        self.assertIs(State.DELETED, self.now().state)
        self.assertIn('a manager of the release before', self.log.output)


class NameTest(GateTest):
    """A maker died in its first act, and left a name without an image."""

    def setUp(self) -> None:
        super().setUp()
        self.other = service.request(self.image_id)
        self.name = self.world.child(self.other.name)
        self.ceph.fail('clone', service.Died('killed'))
        self.assertRaises(
            service.Died, self.process.engine.create_disk, self.other
        )
        self.ceph.half_clone(
            self.world.parent_of(self.image_id), self.name, 'name'
        )
        self.world.end_leases()
        self.process = self.world.process()

    def state(self) -> State:
        (row,) = self.process.lineage.page(Filters(name=self.other.name))
        return row.state

    def test_freed_name_is_logged(self) -> None:
        self.process.sweep_until_quiet()
        self.assertNotIn(self.other.name, self.ceph.named('vms'))
        (line,) = self.destructions()
        self.assertIn(
            f'free the name vms/{self.other.name} (no image), ordered by undo',
            line,
        )

    def test_name_that_nova_is_about_to_use_is_not_freed(self) -> None:
        """What it makes after the look would be removed by the name."""
        self.ceph.note('vms', self.other.name, '{"making": "yes"}')
        self.process.recovery.sweep()
        self.assertIn(self.other.name, self.ceph.named('vms'))
        self.assertIs(State.UNDOING, self.state())
        self.assertEqual([], self.destructions())
        self.ceph.strike_note('vms', self.other.name, '{"making": "yes"}')
        self.world.pass_time()
        self.process.sweep_until_quiet()
        self.assertIs(State.FAILED, self.state())
        self.assertNotIn(self.other.name, self.ceph.named('vms'))


class OutdatedTest(GateTest):
    """The gate asks once more, whatever its callers have asked before."""

    def setUp(self) -> None:
        super().setUp()
        mark = self.ceph.lineage_mark('vms')
        self.ceph.mark_lineage('vms', mark, 'of another lineage')
        self.process.generation.look()

    def test_nothing_passes_the_gate(self) -> None:
        for act in (self.gate.trash, self.gate.purge, self.gate.free_name):
            self.assertRaises(
                errors.DatabaseOutdated, act, self.disk, service.ASKED
            )
        self.assert_there()
        self.assertEqual([], self.destructions())

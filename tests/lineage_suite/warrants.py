# SPDX-License-Identifier: Apache-2.0
"""What is claimed of orders to destroy, and of images that are in doubt."""

import pytest

from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import Warrant
from rbdcloner.states import State
from tests.lineage_suite.claims import FSID
from tests.lineage_suite.claims import Claims

DISK = Image(FSID, 'vms', '', 'a_disk')


class TestWarrant(Claims):
    def test_a_row_that_nobody_orders_away_has_none(self, lineage, ready):
        assert lineage.warrant_of(ready()) is None

    def test_a_deletion_is_ordered_by_its_call(self, lineage, ready):
        ready()
        begun = lineage.begin_deletion('a-call', DISK, Kind.DISK, 'me', 30)
        warrant = lineage.warrant_of(begun)
        assert (warrant.order, warrant.request) == (Order.CALLER, 'a-call')

    def test_an_undoing_is_ordered_by_its_reason(self, lineage, reserve):
        undoing = lineage.move(reserve(), State.UNDOING, reason='a reason')
        warrant = lineage.warrant_of(undoing)
        assert warrant == Warrant(Order.UNDO, 'a reason')

    def test_the_last_order_counts(self, lineage, reserve):
        undoing = lineage.move(reserve(), State.UNDOING)
        retired = lineage.move(undoing, State.RETIRED)
        restoring = lineage.move(retired, State.RESTORING)
        last = Warrant(Order.OPERATOR, 'x' * 2000)
        deleting = lineage.move(restoring, State.DELETING, warrant=last)
        warrant = lineage.warrant_of(deleting)
        assert warrant.order is Order.OPERATOR
        assert last.evidence.startswith(warrant.evidence)


class TestDoubt(Claims):
    @pytest.fixture
    def doubtful(self, lineage, reserve):
        def call(delay_s):
            undoing = lineage.move(reserve(), State.UNDOING, image_id='an-id')
            return lineage.move(undoing, State.RETIRED, retry_after_s=delay_s)

        return call

    def test_an_image_in_doubt_waits_for_its_time(self, lineage, doubtful):
        retired = doubtful(3600)
        assert retired.retry_at > retired.updated_at
        assert lineage.reapable(10) == []
        assert not lineage.is_reapable(retired)

    def test_an_image_in_doubt_goes_after_its_time(self, lineage, doubtful):
        retired = doubtful(-1)
        assert lineage.reapable(10) == [retired]
        assert lineage.is_reapable(retired)

    def test_a_creation_knows_of_the_deletions_before_it(
        self, lineage, reserve
    ):
        before = lineage.note_deletion('before', DISK)
        made = reserve()
        lineage.note_deletion('after', DISK)
        assert lineage.known_deletion(made) == before

    def test_a_creation_without_deletions_knows_of_none(
        self, lineage, reserve
    ):
        assert lineage.known_deletion(reserve()) == 0

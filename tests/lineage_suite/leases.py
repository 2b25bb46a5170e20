# SPDX-License-Identifier: Apache-2.0
"""Who is late, and what it takes to have its row."""

import pytest

from rbdcloner import errors
from rbdcloner.model import FlattenReason
from rbdcloner.states import State
from tests.lineage_suite.claims import EXPIRED
from tests.lineage_suite.claims import Claims
from tests.lineage_suite.claims import found


class TestLease(Claims):
    def test_the_leases_of_an_owner_are_renewed_at_once(
        self, lineage, reserve
    ):
        late, kept = reserve(lease_s=EXPIRED), reserve(name='kept')
        lost, ended = reserve(name='lost'), reserve(name='ended')
        lineage.leases.let_go(lost, 'why')
        lineage.leases.hold(lost, 'me', 30)
        lineage.leases.let_go(ended, 'why')
        others = reserve(owner='other', name='others')
        fences = {
            row.id: row.fence for row in (late, kept, lost, ended, others)
        }
        assert lineage.leases.renew_all(fences, 'me', 60) == {late.id, kept.id}
        after = found(lineage)
        assert after.lease_expires_at > late.lease_expires_at
        assert after.updated_at == late.updated_at
        assert lineage.leases.renew_all({}, 'me', 60) == set()

    def test_who_is_late_is_shut_out_before_its_row_is_taken(
        self, lineage, reserve
    ):
        clone = reserve(owner='other', lease_s=EXPIRED)
        lineage.workers.note_addresses('other', ['a', 'b'])
        for shut_out in (None, (), ('a',), ('b', 'c')):
            with pytest.raises(errors.LeaseExpired) as late:
                lineage.leases.hold(clone, 'me', 30, shut_out=shut_out)
            assert late.value.kwargs['owner'] == 'other'
            assert sorted(late.value.kwargs['addresses']) == ['a', 'b']
        assert found(lineage) == clone
        held = lineage.leases.hold(clone, 'me', 30, shut_out=('a', 'b', 'c'))
        assert (held.owner, held.fence) == ('me', 2)

    def test_who_let_go_or_is_the_same_is_not_late(self, lineage, reserve):
        lineage.workers.note_addresses('other', ['a'])
        lineage.workers.note_addresses('me', ['b'])
        clone = reserve(owner='other')
        lineage.leases.let_go(clone, 'why')
        assert lineage.leases.hold(clone, 'me', EXPIRED).fence == 2
        assert lineage.leases.hold(clone, 'me', 30).fence == 3

    def test_a_late_runner_is_shut_out_before_its_flatten_is_taken(
        self, lineage, ready
    ):
        lineage.flattens.want_flatten(ready(), FlattenReason.DEPTH)
        lineage.workers.note_addresses('late', ['a'])
        first = lineage.flattens.next_flatten('late', EXPIRED, 1)
        for shut_out in (None, ()):
            with pytest.raises(errors.LeaseExpired):
                lineage.flattens.next_flatten('me', 30, 1, shut_out)
        again = lineage.flattens.next_flatten('late', EXPIRED, 1)
        taken = lineage.flattens.next_flatten('me', 30, 1, ['a'])
        assert (again.fence, taken.fence) == (first.fence + 1, first.fence + 2)

    def test_only_what_was_at_work_is_late(self, lineage, reserve):
        reserve(name='held')
        lineage.leases.let_go(reserve(name='let-go', lease_s=EXPIRED), 'why')
        lineage.clones.transition(
            reserve(name='made', lease_s=EXPIRED), State.READY
        )
        later = reserve(name='later', lease_s=EXPIRED)
        late = reserve(name='late', lease_s=2 * EXPIRED)
        assert lineage.pending.late(0.5, 10) == [late, later]
        assert lineage.pending.late(0.5, 1) == [late]
        assert lineage.pending.late(60, 10) == []

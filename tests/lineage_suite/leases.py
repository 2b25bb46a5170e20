# SPDX-License-Identifier: Apache-2.0
"""Who is late, and what it takes to have its row."""

import pytest

from rbdcloner import errors
from rbdcloner.db import tables
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
        lineage.let_go(lost, 'why')
        lineage.hold(lost, 'me', 30)
        lineage.let_go(ended, 'why')
        others = reserve(owner='other', name='others')
        fences = {
            row.id: row.fence for row in (late, kept, lost, ended, others)
        }
        assert lineage.renew_all(fences, 'me', 60) == {late.id, kept.id}
        after = found(lineage)
        assert after.lease_expires_at > late.lease_expires_at
        assert after.updated_at == late.updated_at
        assert lineage.renew_all({}, 'me', 60) == set()

    def test_who_is_late_is_shut_out_before_its_row_is_taken(
        self, lineage, reserve
    ):
        clone = reserve(owner='other', lease_s=EXPIRED)
        lineage.note_addresses('other', ['a', 'b'])
        for shut_out in (None, (), ('a',), ('b', 'c')):
            with pytest.raises(errors.HolderLate) as late:
                lineage.hold(clone, 'me', 30, shut_out=shut_out)  # fmt: skip
            assert late.value.kwargs['owner'] == 'other'
            assert sorted(late.value.kwargs['addresses']) == ['a', 'b']
        assert found(lineage) == clone
        held = lineage.hold(clone, 'me', 30, shut_out=('a', 'b', 'c'))
        assert (held.owner, held.fence) == ('me', 2)

    def test_who_let_go_or_is_the_same_is_not_late(self, lineage, reserve):
        lineage.note_addresses('other', ['a'])
        lineage.note_addresses('me', ['b'])
        clone = reserve(owner='other')
        lineage.let_go(clone, 'why')
        assert lineage.hold(clone, 'me', EXPIRED).fence == 2
        assert lineage.hold(clone, 'me', 30).fence == 3

    def test_a_late_runner_is_shut_out_before_its_flatten_is_taken(
        self, lineage, ready
    ):
        lineage.want_flatten(ready(), FlattenReason.DEPTH)
        lineage.note_addresses('late', ['a'])
        first = lineage.next_flatten('late', EXPIRED, 1)
        for shut_out in (None, ()):
            with pytest.raises(errors.HolderLate):
                lineage.next_flatten('me', 30, 1, shut_out)
        again = lineage.next_flatten('late', EXPIRED, 1)
        taken = lineage.next_flatten('me', 30, 1, ['a'])
        assert (again.fence, taken.fence) == (first.fence + 1, first.fence + 2)

    def test_only_what_was_at_work_is_late(self, lineage, reserve):
        reserve(name='held')
        lineage.let_go(reserve(name='let-go', lease_s=EXPIRED), 'why')
        lineage.move(reserve(name='made', lease_s=EXPIRED), State.READY)
        later = reserve(name='later', lease_s=EXPIRED)
        late = reserve(name='late', lease_s=2 * EXPIRED)
        assert lineage.late(0.5, 10) == [late, later]
        assert lineage.late(0.5, 1) == [late]
        assert lineage.late(60, 10) == []

    def test_without_a_record_of_workers_nobody_is_shut_out(
        self, engine, lineage, reserve
    ):
        clone = reserve(owner='other', lease_s=EXPIRED)
        tables.workers.drop(engine)
        try:
            assert lineage.hold(clone, 'me', 30, ()).owner == 'me'
        finally:
            tables.workers.create(engine)

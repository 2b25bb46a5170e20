# SPDX-License-Identifier: Apache-2.0
"""What is claimed of requests that change disks."""

import dataclasses

import pytest

from rbdcloner import errors
from rbdcloner.model import Request
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.lineage_suite.claims import Claims
from tests.lineage_suite.claims import seen
from tests.lineage_suite.claims import together

FIRST = Request('first', 0)


class TestChange(Claims):
    @pytest.fixture
    def resize(self, lineage):
        def begin(disk, request=FIRST):
            return lineage.begin_change(
                disk, State.RESIZING, request, owner='me', lease_s=30
            )

        return begin

    def test_it_is_noted_with_the_rows_move(self, lineage, ready, resize):
        disk = ready()
        assert lineage.find_change(FIRST) is None
        resizing = resize(disk)
        noted = lineage.find_change(FIRST)
        assert (noted.clone_id, noted.open) == (disk.id, True)
        assert (resizing.state, resizing.owner) == (State.RESIZING, 'me')

    def test_it_is_not_noted_where_the_row_moved(self, lineage, ready, resize):
        disk = ready()
        resize(disk)
        other = Request('other', 2**40)
        with pytest.raises(errors.RowMoved):
            resize(disk, other)
        assert lineage.find_change(other) is None

    def test_done_it_is_not_begun_again(self, lineage, ready, resize):
        done = lineage.move(resize(ready()), State.READY, done=True)
        assert not lineage.find_change(FIRST).open
        with pytest.raises(errors.RowMoved):
            resize(done)

    def test_not_done_it_is_forgotten(self, lineage, ready, resize):
        again = lineage.move(resize(ready()), State.READY, done=False)
        assert lineage.find_change(FIRST) is None
        assert resize(again).state is State.RESIZING

    def test_a_later_request_than_is_known_refuses_it(
        self, lineage, ready, resize
    ):
        disk = lineage.move(resize(ready()), State.READY, done=True)
        late = Request('late', 0)
        with pytest.raises(errors.RequestOutdated) as refused:
            resize(disk, late)
        known = dataclasses.replace(late, after=refused.value.kwargs['later'])
        assert resize(disk, known).state is State.RESIZING

    def test_a_deletion_of_the_name_refuses_it(self, lineage, ready, resize):
        disk = ready()
        number = lineage.note_deletion('deletion', disk.image)
        with pytest.raises(errors.RequestOutdated) as refused:
            resize(disk)
        assert refused.value.kwargs['later'] == number

    def test_it_refuses_no_creation(self, lineage, ready, resize):
        disk = lineage.move(resize(ready()), State.READY, done=True)
        lineage.refuse_outdated(disk.image, disk.instance_uuid, 0)

    def test_it_goes_on_in_a_row_that_is_held(self, lineage, ready, resize):
        resizing = resize(ready())
        assert resize(resizing).fence == resizing.fence

    def test_it_is_forgotten_with_the_deletions(self, lineage, ready, resize):
        resize(ready())
        assert lineage.forget_deletions(-1) == 1
        assert lineage.find_change(FIRST) is None

    def test_executed_twice_at_once_it_is_begun_once(
        self, lineage, ready, resize, rounds
    ):
        for number in range(rounds):
            disk = ready(f'disk{number}')
            request = Request(f'call{number}', 0)
            answers = together(*[lambda: resize(disk, request)] * 2)  # noqa: B023
            begun = [one for one in answers if not isinstance(one, Exception)]
            assert len(begun) == 1
            assert all(
                isinstance(one, errors.RowMoved)
                for one in answers
                if one not in begun
            )

    def test_a_snapshot_is_planned_for_one_request(self, lineage, ready):
        disk = ready()
        planned = lineage.begin_snapshot(disk, 'then', FIRST)
        assert planned.state is ParentState.PLANNED
        assert lineage.find_change(FIRST).parent_id == planned.id
        other = Request('other', 2**40)
        with pytest.raises(errors.DiskSnapshotExists):
            lineage.begin_snapshot(disk, 'then', other)
        assert lineage.find_change(other) is None

    def test_a_removal_concerns_one_snapshot(self, lineage, ready):
        disk = ready()
        gone = Request('gone', 2**40)
        first = lineage.begin_snapshot(disk, 'then', FIRST)
        releasing = lineage.begin_removal(disk, first, gone)
        assert releasing.state is ParentState.RELEASING
        lineage.released(releasing)
        again = Request('again', 2**40)
        second = lineage.begin_snapshot(disk, 'then', again)
        assert lineage.begin_removal(disk, second, gone) is None
        assert lineage.snapshots_of(disk.image) == [second]

    def test_a_snapshot_of_others_is_removed_by_its_id(self, lineage, ready):
        disk = ready()
        facts = seen(disk.image, 'theirs', 7)
        releasing = lineage.begin_removal(disk, facts, FIRST)
        assert releasing.snapshot.id == 7
        assert lineage.restored(releasing).state is ParentState.ACTIVE

    def test_a_refused_removal_leaves_no_row(self, lineage, ready):
        disk = ready()
        lineage.note_deletion('deletion', disk.image)
        facts = seen(disk.image, 'theirs', 7)
        with pytest.raises(errors.RequestOutdated):
            lineage.begin_removal(disk, facts, FIRST)
        assert lineage.snapshots_of(disk.image) == []

# SPDX-License-Identifier: Apache-2.0
"""What is claimed of flattens and of periodic work."""

import dataclasses
import time

import pytest
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import tables
from rbdcloner.model import FlattenReason
from rbdcloner.states import FlattenState
from rbdcloner.states import State
from tests.lineage_suite.claims import EXPIRED
from tests.lineage_suite.claims import THREADS
from tests.lineage_suite.claims import Claims
from tests.lineage_suite.claims import finish
from tests.lineage_suite.claims import found
from tests.lineage_suite.claims import retire
from tests.lineage_suite.claims import together


class TestFlatten(Claims):
    @pytest.fixture
    def want(self, lineage, ready):
        def call(name='a_disk', forced=False):
            return lineage.want_flatten(
                ready(name), FlattenReason.DEPTH, forced
            )

        return call

    def test_a_wish_holds_what_was_asked(self, lineage, ready):
        disk = ready()
        wanted = lineage.want_flatten(disk, FlattenReason.WAITED)
        assert wanted.clone == disk
        assert (wanted.why, wanted.forced) == (FlattenReason.WAITED, False)
        assert wanted.state is FlattenState.WANTED
        assert (wanted.done_objects, wanted.total_objects) == (0, 0)
        assert (wanted.slot, wanted.lease_expires_at) == (None, None)
        assert (wanted.attempts, wanted.retry_at) == (0, None)
        assert lineage.flattens() == [wanted]

    def test_a_clone_is_wanted_once(self, lineage, want):
        wanted = want()
        again = lineage.want_flatten(wanted.clone, FlattenReason.RELEASE)
        assert again == wanted
        forced = lineage.want_flatten(wanted.clone, FlattenReason.DEPTH, True)
        assert (forced.id, forced.forced) == (wanted.id, True)
        assert lineage.want_flatten(wanted.clone, FlattenReason.DEPTH).forced
        running = lineage.next_flatten('me', 30, 1)
        assert running.id == wanted.id
        again = lineage.want_flatten(wanted.clone, FlattenReason.DEPTH)
        assert again == running

    @pytest.mark.parametrize('how', ['flattened', 'gone'])
    def test_a_clone_that_needs_no_parent_is_not_wanted(
        self, lineage, reserve, how
    ):
        clone = reserve()
        if how == 'flattened':
            lineage.detach(clone)
        else:
            finish(lineage, clone)
        with pytest.raises(errors.RowMoved):
            lineage.want_flatten(clone, FlattenReason.DEPTH)
        assert lineage.flattens() == []

    def test_a_retired_child_can_be_wanted(self, lineage, ready):
        retired = retire(lineage, ready())
        wanted = lineage.want_flatten(retired, FlattenReason.WAITED)
        assert wanted.clone == retired

    def test_the_oldest_runs_next(self, lineage, want):
        first, second = want('first'), want('second')
        running = lineage.next_flatten('me', 30, 2)
        assert running.id == first.id
        assert running.state is FlattenState.RUNNING
        assert (running.owner, running.fence, running.slot) == ('me', 1, 1)
        assert running.lease_expires_at > running.updated_at
        assert lineage.flattens([FlattenState.RUNNING]) == [running]
        other = lineage.next_flatten('other', 30, 2)
        assert (other.id, other.slot) == (second.id, 2)
        assert lineage.next_flatten('me', 30, 2) is None

    def test_no_more_run_than_slots(self, lineage, want):
        for number in range(4):
            want(f'disk{number}')
        assert lineage.next_flatten('me', 30, 0) is None
        assert lineage.next_flatten('me', 30, 1).slot == 1
        assert lineage.next_flatten('me', 30, 1) is None
        assert lineage.next_flatten('me', 30, 3).slot == 2
        running = lineage.next_flatten('me', 30, 3)
        assert running.slot == 3
        lineage.cancel_flatten(lineage.flattens()[0], 'why')
        # Two run, as many as this limit: the free slot is not for it.
        assert lineage.next_flatten('me', 30, 2) is None
        assert lineage.next_flatten('me', 30, 3).slot == 1

    def test_a_late_runner_loses_flatten_and_slot(self, lineage, want):
        want('first')
        want('second')
        late = lineage.next_flatten('late', EXPIRED, 1)
        taken = lineage.next_flatten('me', 30, 1, shut_out=())
        assert (taken.id, taken.slot) == (late.id, late.slot)
        assert (taken.owner, taken.fence) == ('me', late.fence + 1)
        for act in (
            lambda: lineage.flatten_progress(late, 1, 2, 30),
            lambda: lineage.flattened(late),
            lambda: lineage.put_back_flatten(late, 'why'),
        ):
            with pytest.raises(errors.RowMoved):
                act()
        assert lineage.flattens([FlattenState.RUNNING]) == [taken]
        assert found(lineage, 'first').attached

    def test_a_slot_over_the_limit_is_given_up(self, lineage, want):
        want('first')
        want('second')
        lineage.next_flatten('me', 30, 2)
        late = lineage.next_flatten('me', EXPIRED, 2)
        assert late.slot == 2
        assert lineage.next_flatten('me', 30, 1) is None
        lineage.cancel_flatten(lineage.flattens()[0].id, 'why')
        assert lineage.next_flatten('me', 30, 1).slot == 1

    def test_progress_renews_the_lease(self, lineage, want):
        want()
        running = lineage.next_flatten('me', 5, 1)
        after = lineage.flatten_progress(running, 3, 7, 60)
        assert (after.done_objects, after.total_objects) == (3, 7)
        assert after.lease_expires_at > running.lease_expires_at
        assert lineage.flattens() == [after]

    def test_a_flattened_child_is_detached(self, lineage, want):
        want()
        running = lineage.next_flatten('me', 30, 1)
        done = lineage.flattened(running)
        assert (done.state, done.slot) == (FlattenState.DONE, None)
        assert not done.clone.attached
        assert done.clone == found(lineage)
        assert lineage.flattens() == [done]
        with pytest.raises(errors.RowMoved):
            lineage.flattened(running)

    def test_what_is_put_back_pauses(self, lineage, want):
        want()
        running = lineage.next_flatten('me', 30, 1)
        running = lineage.flatten_progress(running, 3, 7, 30)
        back = lineage.put_back_flatten(running, 'in use')
        assert (back.state, back.slot) == (FlattenState.WANTED, None)
        assert (back.reason, back.attempts) == ('in use', 1)
        assert (back.done_objects, back.lease_expires_at) == (3, None)
        pause = (back.retry_at - back.updated_at).total_seconds()
        assert abs(pause - 1) < 0.01
        assert lineage.next_flatten('me', 30, 1) is None
        time.sleep(1.1)
        assert lineage.next_flatten('me', 30, 1).id == back.id

    def test_a_cancelled_flatten_stops(self, lineage, want):
        wanted = want()
        running = lineage.next_flatten('me', 30, 1)
        cancelled = lineage.cancel_flatten(wanted, 'not now')
        assert cancelled.state is FlattenState.CANCELLED
        assert (cancelled.slot, cancelled.reason) == (None, 'not now')
        with pytest.raises(errors.RowMoved):
            lineage.flatten_progress(running, 1, 2, 30)
        with pytest.raises(errors.RowMoved):
            lineage.flattened(running)
        assert found(lineage).attached
        assert lineage.cancel_flatten(wanted.id, 'again') == cancelled
        again = lineage.want_flatten(wanted.clone, FlattenReason.DEPTH)
        assert again.id != wanted.id

    def test_an_end_is_not_cancelled(self, lineage, want):
        want()
        done = lineage.flattened(lineage.next_flatten('me', 30, 1))
        assert lineage.cancel_flatten(done, 'why') == done

    def test_cancelling_what_has_no_row_is_refused(self, lineage):
        with pytest.raises(errors.FlattenNotFound):
            lineage.cancel_flatten(999999, 'why')

    def test_the_flattens_of_a_clone_are_cancelled(self, lineage, want):
        first, second = want('first'), want('second')
        assert lineage.cancel_flattens_of(first.clone, 'deleted') == 1
        assert lineage.cancel_flattens_of(first.clone, 'deleted') == 0
        (cancelled,) = lineage.flattens(clone_id=first.clone.id)
        assert cancelled.reason == 'deleted'
        assert lineage.flattens([FlattenState.WANTED]) == [second]

    def test_flattens_are_paged(self, lineage, want):
        made = [want(f'disk{number}') for number in range(5)]
        assert lineage.flattens(limit=3) == made[:3]
        assert lineage.flattens(marker=made[2].id, limit=3) == made[3:]

    def test_a_moved_clone_is_shown_as_it_is(self, lineage, want):
        wanted = want()
        lineage.move(wanted.clone, State.DELETING)
        running = lineage.next_flatten('me', 30, 1)
        assert running.clone.state is State.DELETING
        assert dataclasses.replace(running.clone, parent=None) != wanted.clone


class TestDuty(Claims):
    def test_a_duty_is_taken_once_per_period(self, lineage):
        assert lineage.take_duty('survey', 'me', 0.4)
        assert not lineage.take_duty('survey', 'me', 0.4)
        assert not lineage.take_duty('survey', 'other', 0.4)
        time.sleep(0.5)
        assert lineage.take_duty('survey', 'other', 60)
        assert not lineage.take_duty('survey', 'me', 0.4)

    def test_duties_do_not_wait_for_each_other(self, lineage, engine):
        assert lineage.take_duty('survey', 'me', 60)
        assert lineage.take_duty('reap', 'other', 60)
        with engine.connect() as connection:
            rows = connection.execute(
                sa.select(tables.duties.c.name, tables.duties.c.owner)
            )
            assert set(rows) == {('survey', 'me'), ('reap', 'other')}

    def test_leases_are_trusted_after_one_lease_of_answers(self, lineage):
        assert not lineage.may_take_over('me', 1.2)
        assert not _asked(lineage, 0.4)
        assert _asked(lineage, 1.4)

    def test_after_a_silence_everybody_gets_one_lease(self, lineage):
        lineage.may_take_over('me', 1.2)
        assert _asked(lineage, 1.4)
        time.sleep(1.2)
        # A worker that was started a moment ago is told the same.
        assert not lineage.may_take_over('new', 1.2)
        assert not lineage.may_take_over('me', 1.2)
        assert not _asked(lineage, 0.4)
        assert _asked(lineage, 1.4)

    def test_a_first_answer_is_recorded_by_one_of_many(self, lineage):
        asked = [lambda: lineage.may_take_over('me', 60)] * THREADS
        assert together(*asked) == [False] * THREADS


def _asked(lineage, for_s):
    """Ask again and again; the last answer."""
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        answer = lineage.may_take_over('me', 1.2)
        time.sleep(0.05)
    return answer

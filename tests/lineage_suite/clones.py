# SPDX-License-Identifier: Apache-2.0
"""What is claimed of the rows of clones."""

from collections.abc import Iterator
import dataclasses
import datetime
import time

import hypothesis
from hypothesis import strategies
from oslo_db import exception
import pytest
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.db import clock
from rbdcloner.db import columns
from rbdcloner.db import tables
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Filters
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Protector
from rbdcloner.states import State
from tests.lineage_suite.claims import EXPIRED
from tests.lineage_suite.claims import FSID
from tests.lineage_suite.claims import GIB
from tests.lineage_suite.claims import Claims
from tests.lineage_suite.claims import count
from tests.lineage_suite.claims import finish
from tests.lineage_suite.claims import found
from tests.lineage_suite.claims import put
from tests.lineage_suite.claims import retire
from tests.lineage_suite.claims import snapshot

# PostgreSQL's text has no NUL, and nobody's UTF-8 has surrogates.
_CHARACTERS = strategies.characters(
    exclude_characters='\0', exclude_categories=['Cs']
)
NAMES = strategies.text(_CHARACTERS, min_size=1, max_size=60)


class TestReserve(Claims):
    def test_a_reservation_holds_what_was_asked(self, reserve, parent):
        clone = reserve()
        assert clone.image == Image(FSID, 'vms', '', 'a_disk')
        assert clone.parent == parent
        assert clone.clone_format is CloneFormat.V2
        assert clone.size_bytes == 2 * GIB
        assert clone.glance_image_id == 'glance-image'
        assert clone.instance_uuid == 'instance'
        assert clone.project_id == 'project'
        assert clone.host == 'host'
        assert (clone.state, clone.reason) == (State.RESERVED, '')
        assert (clone.owner, clone.fence) == ('me', 1)

    def test_what_reserve_returns_is_what_the_row_says(self, lineage, reserve):
        assert reserve() == found(lineage)

    def test_times_are_the_databases(self, engine, reserve):
        clone = reserve(lease_s=30.5)
        with engine.connect() as connection:
            now = connection.scalars(sa.select(clock.utc_now())).one()
        assert clone.created_at == clone.updated_at
        lease = clone.lease_expires_at - clone.created_at
        assert lease == datetime.timedelta(seconds=30.5)
        since = _moment(now) - clone.created_at
        assert datetime.timedelta() <= since < datetime.timedelta(seconds=20)

    def test_a_live_name_is_taken(self, reserve):
        reserve()
        with pytest.raises(errors.DiskExists):
            reserve(instance_uuid='another')

    def test_a_refused_reservation_leaves_nothing(self, engine, reserve):
        reserve()
        with pytest.raises(errors.DiskExists):
            reserve()
        assert count(engine) == 1

    def test_the_same_name_in_another_pool_is_free(self, lineage, reserve):
        one, other = reserve(), reserve(pool='other')
        assert found(lineage) == one
        assert lineage.find(FSID, 'other', '', 'a_disk') == other

    def test_a_name_is_free_after_the_end(self, lineage, engine, reserve):
        first = finish(lineage, reserve())
        second = finish(lineage, reserve())
        third = reserve()
        assert len({first.uuid, second.uuid, third.uuid}) == 3
        assert found(lineage) == third
        assert count(engine) == 3

    def test_a_parent_without_a_row_takes_no_child(self, reserve, parent):
        with pytest.raises(errors.ParentNotFound):
            reserve(of=dataclasses.replace(parent, id=parent.id + 999))

    @pytest.mark.parametrize('step', ['releasing', 'released'])
    def test_a_parent_on_its_way_out_takes_no_child(
        self, lineage, engine, reserve, parent, step
    ):
        lineage.releasing(parent)
        if step == 'released':
            lineage.released(parent)
        with pytest.raises(errors.ParentReleased):
            reserve()
        assert count(engine) == 0

    def test_a_child_of_nobody_known_is_refused(self, engine, reserve):
        clone = reserve()
        orphan = (
            sa.update(tables.clones)
            .where(tables.clones.c.id == clone.id)
            .values(parent_id=clone.parent.id + 999)
        )
        with pytest.raises(exception.DBReferenceError), engine.begin() as it:
            it.execute(orphan)

    def test_a_parent_with_children_cannot_be_deleted(self, engine, reserve):
        reserve()
        with pytest.raises(exception.DBReferenceError), engine.begin() as it:
            it.execute(sa.delete(tables.parents))

    @hypothesis.settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
    )
    @hypothesis.given(name=NAMES)
    @hypothesis.example(name='Straße')
    @hypothesis.example(name='disk\U0001f600')
    @hypothesis.example(name="a'%s%%:x\\")
    def test_only_a_name_itself_is_that_name(
        self, lineage, engine, reserve, name
    ):
        with engine.begin() as connection:
            connection.execute(sa.delete(tables.clones))
        alike = {name, name.swapcase(), name.upper(), name + ' ', ' ' + name}
        made = {one: reserve(name=one) for one in alike}
        assert {one: found(lineage, one) for one in alike} == made


class TestFind(Claims):
    def test_an_unknown_name_is_not_found(self, lineage, reserve):
        reserve()
        for place in (
            (FSID, 'vms', '', 'A_disk'),
            (FSID, 'vms', 'namespace', 'a_disk'),
            (FSID, 'other', '', 'a_disk'),
            ('other', 'vms', '', 'a_disk'),
        ):
            with pytest.raises(errors.DiskNotFound):
                lineage.find(*place)

    def test_the_newest_end_is_found(self, lineage, reserve):
        finish(lineage, reserve())
        newest = finish(lineage, reserve())
        assert found(lineage) == newest


class TestMove(Claims):
    @pytest.mark.parametrize(
        ('before', 'after'),
        [
            (before, after)
            for before in State
            for after in State
            if states.may_follow(before, after)
        ],
    )
    def test_what_may_follow_follows(
        self, lineage, engine, reserve, before, after
    ):
        clone = reserve()
        put(engine, clone, state=before)
        moved = lineage.move(
            dataclasses.replace(clone, state=before), after, reason='why'
        )
        assert moved.state is after
        assert moved == found(lineage)
        live = count(engine, tables.clones.c.live == 1)
        assert live == (after in states.LIVE)
        attached = count(engine, tables.clones.c.attached == 1)
        assert attached == (after not in states.FINAL)

    def test_what_may_not_follow_does_not(self, lineage, reserve):
        clone = reserve()
        with pytest.raises(ValueError, match='may not follow'):
            lineage.move(clone, State.DELETED)
        assert found(lineage) == clone

    def test_a_move_without_an_owner_ends_the_lease(self, lineage, reserve):
        moved = lineage.move(reserve(), State.READY)
        assert moved.lease_expires_at is None
        assert moved.fence == 1

    def test_a_move_writes_what_it_is_given(self, lineage, reserve):
        moved = lineage.move(
            reserve(), State.READY, image_id='id', size_bytes=5, reason='why'
        )
        assert moved.image.id == 'id'
        assert moved.size_bytes == 5
        assert moved.reason == 'why'
        assert moved == found(lineage)

    def test_a_reason_is_bounded(self, lineage, reserve):
        moved = lineage.move(reserve(), State.UNDOING, reason='ß' * 99999)
        assert moved.reason == 'ß' * columns.REASON_LENGTH

    def test_a_move_happens_once(self, lineage, reserve):
        clone = reserve()
        lineage.move(clone, State.READY)
        with pytest.raises(errors.RowMoved):
            lineage.move(clone, State.READY)

    def test_a_holder_stays_the_holder(self, lineage, reserve):
        clone = reserve()
        moved = lineage.move(
            clone, State.UNDOING, owner='me', lease_s=60, reason='why'
        )
        assert (moved.owner, moved.fence) == ('me', 1)
        assert moved.lease_expires_at > clone.lease_expires_at

    def test_taking_a_row_in_a_move_raises_the_fence(self, lineage, reserve):
        ready = lineage.move(reserve(), State.READY)
        moved = lineage.move(ready, State.RESIZING, owner='me', lease_s=30)
        assert (moved.owner, moved.fence) == ('me', 2)

    def test_a_repeated_move_does_not_match_the_next_holders_row(
        self, lineage, reserve
    ):
        ready = lineage.move(reserve(), State.READY)
        first = lineage.move(ready, State.RESIZING, owner='me', lease_s=30)
        ready = lineage.move(first, State.READY, size_bytes=3 * GIB)
        second = lineage.move(ready, State.RESIZING, owner='me', lease_s=30)
        with pytest.raises(errors.RowMoved):
            lineage.move(first, State.READY, size_bytes=3 * GIB)
        assert found(lineage) == second

    def test_another_owners_row_is_not_taken_in_a_move(self, lineage, reserve):
        clone = reserve(owner='other')
        with pytest.raises(errors.RowMoved):
            lineage.move(clone, State.DELETING, owner='me', lease_s=30)
        assert found(lineage) == clone

    def test_a_move_forgets_the_attempts(self, lineage, reserve):
        lineage.let_go(reserve(), 'why')
        held = lineage.hold(found(lineage), 'me', 30)
        assert held.attempts == 1
        moved = lineage.move(held, State.UNDOING, owner='me', lease_s=30)
        assert (moved.attempts, moved.retry_at) == (0, None)

    def test_a_rollback_remembers_its_snapshot(self, lineage, ready):
        clone = lineage.move(
            ready(), State.ROLLING_BACK, owner='me', lease_s=30, rollback_to=7
        )
        assert clone.rollback_to == found(lineage).rollback_to == 7
        clone = lineage.move(clone, State.READY)
        assert clone.rollback_to is None
        assert clone == found(lineage)

    def test_a_retired_row_frees_its_name(self, lineage, ready, reserve):
        retired = retire(lineage, ready())
        assert retired.attached
        assert found(lineage) == retired
        again = reserve()
        assert found(lineage) == again
        assert not lineage.move(retired, State.DELETED).attached
        assert found(lineage) == again

    def test_an_image_id_is_noted(self, lineage, reserve):
        clone = reserve()
        noted = lineage.note_image_id(clone, 'id')
        assert noted.image.id == 'id'
        assert (noted.state, noted.fence) == (clone.state, clone.fence)
        assert noted.lease_expires_at == clone.lease_expires_at
        assert noted == found(lineage)


class TestHold(Claims):
    def test_a_held_row_is_busy(self, lineage, reserve):
        clone = reserve(owner='other')
        with pytest.raises(errors.DiskBusy):
            lineage.hold(clone, 'me', 30)
        assert found(lineage) == clone

    def test_a_process_does_not_take_its_own_row_twice(self, lineage, reserve):
        with pytest.raises(errors.DiskBusy):
            lineage.hold(reserve(owner='me'), 'me', 30)

    def test_a_lease_runs_out(self, lineage, reserve):
        clone = reserve(owner='other', lease_s=0.4)
        with pytest.raises(errors.DiskBusy):
            lineage.hold(clone, 'me', 30)
        time.sleep(0.5)
        held = lineage.hold(clone, 'me', 30, shut_out=())
        assert (held.owner, held.fence) == ('me', 2)
        assert held == found(lineage)

    @pytest.mark.parametrize('lease_s', [30, EXPIRED])
    def test_a_lease_is_renewed(self, lineage, reserve, lease_s):
        clone = reserve(lease_s=lease_s)
        renewed = lineage.renew(clone, 60)
        assert renewed.lease_expires_at > clone.lease_expires_at
        assert (renewed.owner, renewed.fence) == ('me', 1)
        assert renewed == found(lineage)

    def test_a_lost_or_ended_lease_is_not_renewed(self, lineage, reserve):
        clone = reserve(lease_s=EXPIRED)
        held = lineage.hold(clone, 'other', 30, shut_out=())
        with pytest.raises(errors.RowMoved):
            lineage.renew(clone, 60)
        lineage.let_go(held, 'why')
        with pytest.raises(errors.RowMoved):
            lineage.renew(held, 60)
        with pytest.raises(errors.RowMoved):
            lineage.renew(lineage.move(held, State.UNDOING), 60)

    @pytest.mark.parametrize(
        ('attempts', 'pause_s'), [(0, 1), (1, 2), (4, 16), (9, 300), (99, 300)]
    )
    def test_pauses_grow(self, lineage, engine, reserve, attempts, pause_s):
        clone = reserve()
        put(engine, clone, attempts=attempts)
        lineage.let_go(dataclasses.replace(clone, attempts=attempts), 'why')
        after = found(lineage)
        assert after.attempts == attempts + 1
        pause = after.retry_at - after.updated_at
        assert abs(pause.total_seconds() - pause_s) < 0.01

    def test_letting_go_twice_is_one_attempt(self, lineage, reserve):
        clone = reserve()
        lineage.let_go(clone, 'why')
        lineage.let_go(clone, 'why')
        assert found(lineage).attempts == 1

    @pytest.mark.parametrize('retired', [False, True])
    def test_a_row_that_is_not_in_progress_is_held(
        self, lineage, ready, retired
    ):
        clone = retire(lineage, ready()) if retired else ready()
        held = lineage.hold(clone, 'me', 30)
        assert held.state is clone.state
        with pytest.raises(errors.DiskBusy):
            lineage.hold(clone, 'other', 30)

    def test_a_row_let_go_is_taken_at_once(self, lineage, reserve):
        clone = reserve(owner='other')
        lineage.let_go(clone, 'no answer')
        assert found(lineage).reason == 'no answer'
        assert lineage.hold(clone, 'me', 30).owner == 'me'

    def test_a_moved_row_is_not_held(self, lineage, reserve):
        clone = reserve()
        lineage.move(clone, State.READY)
        with pytest.raises(errors.RowMoved):
            lineage.hold(clone, 'me', 30)

    def test_a_holder_sees_what_the_last_one_wrote(self, lineage, reserve):
        clone = reserve(lease_s=EXPIRED)
        lineage.note_image_id(clone, 'id')
        assert lineage.hold(clone, 'me', 30).image.id == 'id'

    def test_a_lost_fence_writes_nothing(self, lineage, reserve):
        lost = reserve(owner='other', lease_s=EXPIRED)
        held = lineage.hold(lost, 'me', 30, shut_out=())
        with pytest.raises(errors.RowMoved):
            lineage.move(lost, State.READY)
        with pytest.raises(errors.RowMoved):
            lineage.move(lost, State.UNDOING, owner='other', lease_s=30)
        with pytest.raises(errors.RowMoved):
            lineage.note_image_id(lost, 'id')
        lineage.let_go(lost, 'too late')
        assert found(lineage) == held


class TestPage(Claims):
    def test_pages_hold_each_row_once_by_id(self, lineage, reserve):
        made = [reserve(name=f'disk{number}') for number in range(7)]
        pages = list(_pages(lineage, Filters(), 3))
        assert [len(page) for page in pages] == [3, 3, 1]
        assert [clone for page in pages for clone in page] == made

    @pytest.mark.parametrize(
        ('field', 'column'),
        [
            ('instance_uuid', 'instance_uuid'),
            ('glance_image_id', 'image_id'),
            ('project_id', 'project_id'),
            ('host', 'host'),
            ('pool', 'pool'),
            ('name', 'name'),
        ],
    )
    def test_a_filter_keeps_its_rows(self, lineage, reserve, field, column):
        wanted = reserve(**{'name': 'wanted', column: 'wanted'})
        reserve(name='other')
        assert lineage.page(Filters(**{field: 'wanted'})) == [wanted]
        assert lineage.page(Filters(**{field: 'Wanted'})) == []

    def test_children_of_one_parent_are_paged(self, lineage, reserve):
        another = lineage.adopt(snapshot(id='def'), 'g', Protector.NOBODY)
        own, other = reserve(), reserve(name='other', of=another)
        assert lineage.page(Filters(parent_id=own.parent.id)) == [own]
        assert lineage.page(Filters(parent_id=another.id)) == [other]

    def test_kinds_and_children_that_need_their_parent_are_filtered(
        self, lineage, ready, image_of
    ):
        disk = ready()
        image = lineage.detach(image_of(disk))
        assert lineage.page(Filters(kind=Kind.IMAGE)) == [image]
        assert lineage.page(Filters(kind=Kind.ADOPTED)) == []
        assert lineage.page(Filters(attached=True)) == [disk]

    def test_states_are_filtered_with_the_rest(self, lineage, reserve):
        ended = finish(lineage, reserve())
        reserved = reserve()
        ready = lineage.move(reserve(name='ready'), State.READY)
        live = Filters(instance_uuid='instance', states=sorted(states.LIVE))
        assert lineage.page(live) == [reserved, ready]
        assert lineage.page(Filters(states=[State.FAILED])) == [ended]


class TestAbandoned(Claims):
    def test_what_nobody_holds_is_abandoned(self, lineage, reserve):
        reserve(name='held')
        lineage.move(reserve(name='ready'), State.READY)
        finish(lineage, reserve(name='ended'))
        expired = reserve(name='expired', lease_s=EXPIRED)
        lineage.let_go(reserve(name='let-go'), 'why')
        assert lineage.abandoned(0, 10) == [expired]
        time.sleep(1.1)
        assert lineage.abandoned(0, 10) == [expired, found(lineage, 'let-go')]

    def test_the_longest_untouched_come_first(self, lineage, reserve):
        first = reserve(name='first', lease_s=EXPIRED)
        second = reserve(name='second', lease_s=EXPIRED)
        time.sleep(0.01)
        first = lineage.note_image_id(first, 'touched')
        assert lineage.abandoned(0, 1) == [second]
        assert lineage.abandoned(0, 2) == [second, first]

    def test_what_was_touched_lately_is_left_alone(self, lineage, reserve):
        clone = reserve(lease_s=EXPIRED)
        assert lineage.abandoned(0.4, 10) == []
        time.sleep(0.5)
        assert lineage.abandoned(0.4, 10) == [clone]


def _pages(
    lineage: Lineage, filters: Filters, limit: int
) -> Iterator[list[Clone]]:
    marker = 0
    while page := lineage.page(filters, marker, limit):
        yield page
        marker = page[-1].id


def _moment(value: datetime.datetime | str) -> datetime.datetime:
    # SQLite has no type of its own for a time.
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    return value.replace(tzinfo=datetime.UTC)

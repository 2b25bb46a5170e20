# SPDX-License-Identifier: Apache-2.0
"""What the service relies on, claimed of any lineage database.

A test module takes these classes and gives two fixtures: ``engine``, an
engine of a migrated database without rows, and ``rounds``, how often a race
is run.
"""

from collections.abc import Callable
from collections.abc import Iterator
from concurrent import futures
import dataclasses
import datetime
import threading
import time
from typing import Any

import hypothesis
from hypothesis import strategies
from oslo_db import exception
import pytest
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.db import clock
from rbdcloner.db import reservation
from rbdcloner.db import tables
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import DiskRequest
from rbdcloner.model import Filters
from rbdcloner.model import Image
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts
from rbdcloner.states import ParentState
from rbdcloner.states import State

FSID = '6f9f2d9e-2f0a-4a1c-9a54-3f1f4f1b9b6a'
GIB = 1 << 30
THREADS = 16
EXPIRED = -1.0

FACTS = SnapshotFacts(
    snapshot=Snapshot(Image(FSID, 'images', '', 'an-image', 'abc'), 'snap', 4),
    size_bytes=GIB,
    order=23,
    protected=False,
    trashed=False,
    created_at=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
)

REQUEST = DiskRequest(
    image_id='glance-image',
    name='a_disk',
    pool='vms',
    size_bytes=2 * GIB,
    instance_uuid='instance',
    project_id='project',
    host='host',
)

# PostgreSQL's text has no NUL, and nobody's UTF-8 has surrogates.
_CHARACTERS = strategies.characters(
    exclude_characters='\0', exclude_categories=['Cs']
)
NAMES = strategies.text(_CHARACTERS, min_size=1, max_size=60)


def snapshot(**changes: Any) -> SnapshotFacts:
    """Return facts of a snapshot of the image with *changes*."""
    image = dataclasses.replace(FACTS.snapshot.image, **changes)
    return dataclasses.replace(
        FACTS, snapshot=dataclasses.replace(FACTS.snapshot, image=image)
    )


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Run *calls* at one moment; their results, or what they raised."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return call()
        except errors.Error as exc:
            return exc

    with futures.ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


class Claims:
    """What the claims below share."""

    @pytest.fixture
    def lineage(self, engine: sa.Engine) -> Lineage:
        return Lineage(engine)

    @pytest.fixture
    def parent(self, lineage: Lineage) -> Parent:
        return lineage.adopt(FACTS, 'glance-image', Protector.NOBODY)

    @pytest.fixture
    def reserve(self, lineage: Lineage, parent: Parent) -> Any:
        def call(
            owner: str = 'me',
            lease_s: float = 30,
            of: Parent = parent,
            **changes: Any,
        ) -> Clone:
            request = dataclasses.replace(REQUEST, **changes)
            return lineage.reserve(request, of, CloneFormat.V2, owner, lease_s)

        return call


def finish(lineage: Lineage, clone: Clone) -> Clone:
    """Bring a RESERVED row to its end."""
    undoing = lineage.move(clone, State.UNDOING)
    return lineage.move(undoing, State.FAILED)


def count(engine: sa.Engine, *conditions: Any) -> int:
    """Return how many clones there are."""
    statement = sa.select(sa.func.count()).select_from(tables.clones)
    with engine.connect() as connection:
        return connection.scalars(statement.where(*conditions)).one()


def found(lineage: Lineage, name: str = 'a_disk') -> Clone:
    """Return the row of a name in the pool ``vms``."""
    return lineage.find(FSID, 'vms', '', name)


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
        _put(engine, clone, state=before)
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
        assert moved.reason == 'ß' * tables.REASON_LENGTH

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
        held = lineage.hold(clone, 'me', 30)
        assert (held.owner, held.fence) == ('me', 2)
        assert held == found(lineage)

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
        held = lineage.hold(lost, 'me', 30)
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


class TestParent(Claims):
    def test_a_snapshot_is_recorded(self, lineage):
        parent = lineage.adopt(FACTS, 'glance-image', Protector.OTHERS)
        assert parent.snapshot == FACTS.snapshot
        assert (parent.size_bytes, parent.order) == (GIB, 23)
        assert parent.glance_image_id == 'glance-image'
        assert parent.protector is Protector.OTHERS
        assert parent.state is ParentState.ACTIVE
        assert lineage.parents([parent.id]) == [parent]

    def test_adopting_again_returns_the_same_row(self, lineage, parent):
        again = lineage.adopt(FACTS, 'another', Protector.SERVICE)
        assert again == parent
        assert lineage.parents() == [parent]

    @pytest.mark.parametrize(
        'changes',
        [{'fsid': 'f'}, {'pool': 'p'}, {'namespace': 'n'}, {'id': 'Abc'}],
    )
    def test_another_identity_is_another_parent(
        self, lineage, parent, changes
    ):
        other = lineage.adopt(snapshot(**changes), 'g', Protector.NOBODY)
        assert lineage.parents() == [parent, other]

    def test_a_name_is_only_an_attribute(self, lineage, parent):
        renamed = lineage.adopt(snapshot(name='new'), 'g', Protector.NOBODY)
        assert renamed.id == parent.id
        assert renamed.snapshot.image.name == 'new'
        assert lineage.parents() == [renamed]

    def test_protection_is_recorded(self, lineage, parent):
        protected = lineage.protected_by(parent, Protector.SERVICE)
        assert protected.protector is Protector.SERVICE
        assert lineage.parents() == [protected]

    def test_a_release_ends_protection(self, lineage, parent):
        lineage.protected_by(parent, Protector.SERVICE)
        assert lineage.releasing(parent).state is ParentState.RELEASING
        assert lineage.releasing(parent).state is ParentState.RELEASING
        released = lineage.released(parent)
        assert released.state is ParentState.RELEASED
        assert released.protector is Protector.NOBODY
        assert lineage.released(parent) == released

    def test_a_live_child_keeps_its_parent(self, lineage, reserve, parent):
        clone = reserve()
        with pytest.raises(errors.ParentHasChildren, match='a_disk'):
            lineage.releasing(parent)
        finish(lineage, clone)
        assert lineage.releasing(parent).state is ParentState.RELEASING

    def test_a_parent_being_released_is_not_adopted(self, lineage, parent):
        lineage.releasing(parent)
        with pytest.raises(errors.ParentReleased):
            lineage.adopt(FACTS, 'glance-image', Protector.OTHERS)

    def test_a_released_parent_is_adopted_anew(self, lineage, parent, reserve):
        lineage.releasing(parent)
        lineage.released(parent)
        again = lineage.adopt(FACTS, 'glance-image', Protector.OTHERS)
        assert again.id == parent.id
        assert again.state is ParentState.ACTIVE
        assert again.protector is Protector.OTHERS
        assert reserve(of=again).parent == again

    def test_an_interrupted_release_is_restored(
        self, lineage, parent, reserve
    ):
        lineage.releasing(parent)
        assert lineage.restored(parent) == parent
        assert lineage.restored(parent) == parent
        assert reserve().parent == parent

    def test_an_active_parent_is_not_released_at_once(self, lineage, parent):
        with pytest.raises(errors.RowMoved):
            lineage.released(parent)

    def test_a_released_parent_is_not_restored(self, lineage, parent):
        lineage.releasing(parent)
        lineage.released(parent)
        with pytest.raises(errors.RowMoved):
            lineage.restored(parent)

    @pytest.mark.parametrize('verb', ['releasing', 'released', 'restored'])
    def test_a_parent_without_a_row_is_not_found(self, lineage, parent, verb):
        missing = dataclasses.replace(parent, id=parent.id + 999)
        with pytest.raises(errors.ParentNotFound):
            getattr(lineage, verb)(missing)

    def test_what_we_protect_for_nobody_is_unneeded(
        self, lineage, parent, reserve
    ):
        others = lineage.adopt(snapshot(id='def'), 'g', Protector.OTHERS)
        kept = lineage.adopt(snapshot(id='ghi'), 'g', Protector.SERVICE)
        clone = reserve(of=kept)
        assert lineage.unneeded_parents(0, 10) == []
        finish(lineage, clone)
        ours = lineage.protected_by(parent, Protector.SERVICE)
        assert lineage.unneeded_parents(0, 10) == [kept, ours]
        assert lineage.unneeded_parents(0, 1) == [kept]
        assert lineage.unneeded_parents(60, 10) == []
        assert others in lineage.parents()

    def test_a_release_that_was_left_is_unneeded(self, lineage, parent):
        left = lineage.releasing(parent)
        assert lineage.unneeded_parents(0, 10) == [left]
        lineage.released(parent)
        assert lineage.unneeded_parents(0, 10) == []


class TestRace(Claims):
    def test_one_name_gets_one_row(self, engine, reserve):
        outcomes = together(*[reserve] * THREADS)
        made = [one for one in outcomes if isinstance(one, Clone)]
        refused = [one for one in outcomes if isinstance(one, Exception)]
        assert len(made) == count(engine) == 1
        assert {type(one) for one in refused} == {errors.DiskExists}

    def test_many_names_get_a_row_each(self, engine, reserve):
        def make(number: int) -> Callable[[], list[Clone]]:
            names = [f'disk-{number}-{turn}' for turn in range(5)]
            return lambda: [reserve(name=name) for name in names]

        outcomes = together(*map(make, range(THREADS)))
        assert [len(made) for made in outcomes] == [5] * THREADS
        assert count(engine) == 5 * THREADS

    def test_one_snapshot_gets_one_parent(self, lineage):
        outcomes = together(
            *[lambda: lineage.adopt(FACTS, 'g', Protector.NOBODY)] * THREADS
        )
        assert outcomes == lineage.parents() * THREADS

    def test_an_expired_row_gets_one_holder(self, lineage, reserve):
        clone = reserve(lease_s=EXPIRED)
        outcomes = together(*[lambda: lineage.hold(clone, 'me', 30)] * THREADS)
        held = [one for one in outcomes if isinstance(one, Clone)]
        assert held == [found(lineage)]
        assert held[0].fence == 2
        assert sum(isinstance(o, errors.DiskBusy) for o in outcomes) == (
            THREADS - 1
        )

    def test_one_move_wins(self, lineage, reserve):
        ready = lineage.move(reserve(), State.READY)
        targets = [State.DELETING, State.RESIZING] * (THREADS // 2)
        outcomes = together(
            *(
                lambda to=to: lineage.move(ready, to, owner='me', lease_s=30)
                for to in targets
            )
        )
        won = [one for one in outcomes if isinstance(one, Clone)]
        assert won == [found(lineage)]
        assert sum(isinstance(o, errors.RowMoved) for o in outcomes) == (
            THREADS - 1
        )

    def test_no_child_is_on_a_parent_being_released(
        self, lineage, reserve, parent, rounds
    ):
        seen = set()
        for number in range(rounds):
            child, release = together(
                lambda number=number: reserve(name=f'disk{number}'),
                lambda: lineage.releasing(parent),
            )
            seen.add(type(child))
            if isinstance(child, Clone):
                assert isinstance(release, errors.ParentHasChildren)
                finish(lineage, child)
            else:
                assert isinstance(child, errors.ParentReleased)
                assert release.state is ParentState.RELEASING
                lineage.restored(parent)
        assert lineage.parents() == [parent]
        assert seen <= {Clone, errors.ParentReleased}

    def test_a_releaser_waits_for_a_child_being_taken(
        self, lineage, engine, parent
    ):
        values = reservation.values(REQUEST, parent, CloneFormat.V2, 'me', 30)
        with futures.ThreadPoolExecutor(1) as pool:
            with engine.begin() as connection:
                connection.execute(reservation.STATEMENT, values)
                release = pool.submit(lineage.releasing, parent)
                _still_waits(release)
            with pytest.raises(errors.ParentHasChildren):
                release.result(20)

    @pytest.mark.parametrize('committed', [True, False])
    def test_a_child_waits_for_its_parents_releaser(
        self, engine, reserve, parent, committed
    ):
        clause = tables.parents.c.id == parent.id
        look = sa.select(tables.parents).where(clause).with_for_update()
        change = sa.update(tables.parents).where(clause)
        with futures.ThreadPoolExecutor(1) as pool:
            with engine.connect() as connection:
                connection.execute(look)
                connection.execute(change.values(state='releasing'))
                child = pool.submit(reserve)
                _still_waits(child)
                if committed:
                    connection.commit()
            if not committed:
                assert child.result(20).parent == parent
                return
            with pytest.raises(errors.ParentReleased):
                child.result(20)


def _still_waits(future: futures.Future[Any]) -> None:
    with pytest.raises(futures.TimeoutError):
        future.result(0.2)


def _pages(
    lineage: Lineage, filters: Filters, limit: int
) -> Iterator[list[Clone]]:
    marker = 0
    while page := lineage.page(filters, marker, limit):
        yield page
        marker = page[-1].id


def _put(engine: sa.Engine, clone: Clone, **values: Any) -> None:
    """Write into a row past the one door."""
    statement = sa.update(tables.clones).where(tables.clones.c.id == clone.id)
    with engine.begin() as connection:
        connection.execute(statement.values(**values))


def _moment(value: datetime.datetime | str) -> datetime.datetime:
    # SQLite has no type of its own for a time.
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    return value.replace(tzinfo=datetime.UTC)

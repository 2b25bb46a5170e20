# SPDX-License-Identifier: Apache-2.0
"""What is claimed of bases, and of their images."""

import dataclasses
import time

import pytest
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import clock
from rbdcloner.db import tables
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Base
from rbdcloner.model import CloneFormat
from rbdcloner.model import Filters
from rbdcloner.model import Kind
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.model import Way
from rbdcloner.states import BaseState
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.lineage_suite.claims import EXPIRED
from tests.lineage_suite.claims import FSID
from tests.lineage_suite.claims import GIB
from tests.lineage_suite.claims import Claims
from tests.lineage_suite.claims import finish
from tests.lineage_suite.claims import put
from tests.lineage_suite.claims import retire
from tests.lineage_suite.claims import seen

CHECKSUM = 'sha512:' + 'e' * 128


def want(
    lineage: Lineage, image_id: str = 'a-qcow2', checksum: str = CHECKSUM
) -> Base:
    """Want an image of 5 bytes."""
    return lineage.want_base(FSID, image_id, checksum, 5)


def run(lineage: Lineage, image_id: str = 'a-qcow2') -> Base:
    """Take the import of an image, which is the next one."""
    wanted = want(lineage, image_id)
    base = lineage.next_base('me', 30, 10)
    assert base is not None
    assert base.id == wanted.id
    return base


def reserve_image(lineage: Lineage, base: Base):
    return lineage.reserve_base_image(
        base, GIB, 'images', CloneFormat.V2, 'me', 30
    )


def make(lineage: Lineage, image_id: str = 'a-qcow2') -> Base:
    """Import an image."""
    base = run(lineage, image_id)
    clone = lineage.note_image_id(
        reserve_image(lineage, base), f'id-{image_id}'
    )
    planned = lineage.plan_snapshot(
        clone.image,
        'snap',
        Purpose.BASE,
        Protector.SERVICE,
        clone=clone,
        size_bytes=GIB,
        glance_image_id=image_id,
    )
    lineage.made_snapshot(planned, seen(clone.image, 'snap', 3))
    return lineage.base_made(base, clone, clone.image.id, GIB)


def snapshot_of(lineage: Lineage, base: Base) -> Parent:
    """Return the snapshot that disks are cloned from."""
    parent = lineage.parent_of_base(base)
    assert parent is not None
    return parent


def age(engine: sa.Engine, table: sa.Table, **values: float) -> None:
    """Have every row of *table* be that many seconds old."""
    past = {name: clock.utc_after(-old_s) for name, old_s in values.items()}
    with engine.begin() as connection:
        connection.execute(sa.update(table).values(past))


class TestBase(Claims):
    def test_a_wish_holds_what_was_asked(self, lineage):
        wanted = want(lineage)
        assert (wanted.fsid, wanted.glance_image_id) == (FSID, 'a-qcow2')
        assert (wanted.checksum, wanted.total_bytes) == (CHECKSUM, 5)
        assert wanted.state is BaseState.WANTED
        assert (wanted.clone, wanted.way) == (None, Way.UNDECIDED)
        assert (wanted.done_bytes, wanted.reason) == (0, '')
        assert (wanted.slot, wanted.lease_expires_at) == (None, None)
        assert (wanted.owner, wanted.fence) == ('', 0)
        assert (wanted.attempts, wanted.retry_at) == (0, None)
        assert lineage.bases() == [wanted]
        assert lineage.base(wanted.uuid) == wanted
        assert lineage.find_base(FSID, 'a-qcow2', CHECKSUM) == wanted

    def test_what_there_is_not_is_not_found(self, lineage):
        want(lineage)
        with pytest.raises(errors.BaseNotFound):
            lineage.base('no-uuid')
        for key in (
            ('fsid', 'a-qcow2', CHECKSUM),
            (FSID, 'another', CHECKSUM),
            (FSID, 'a-qcow2', ''),
        ):
            assert lineage.find_base(*key) is None

    def test_an_image_is_wanted_once_whatever_its_state(self, lineage):
        wanted = want(lineage)
        assert want(lineage) == wanted
        running = run(lineage)
        assert want(lineage) == running
        lineage.drop_base(running, 'why')
        ready = make(lineage)
        assert ready.id != wanted.id
        assert want(lineage) == ready

    def test_last_request_for_an_image_is_recorded_within_seconds(
        self, lineage, engine
    ):
        first = want(lineage)
        assert first.asked_at == first.created_at
        assert want(lineage).asked_at == first.asked_at
        age(engine, tables.bases, asked_at=60)
        old = lineage.base(first.uuid).asked_at
        for state in (BaseState.WANTED, BaseState.RUNNING):
            want(lineage)
            base = lineage.base(first.uuid)
            assert (base.state, base.asked_at > old) == (state, True)
            assert base.updated_at >= first.updated_at
            lineage.next_base('me', 30, 10)
            age(engine, tables.bases, asked_at=60)

    def test_nobody_has_to_ask_for_what_an_administrator_wants(self, lineage):
        wanted = want(lineage)
        lineage.want_base(FSID, 'a-qcow2', CHECKSUM, 5, again=True)
        want(lineage)
        assert lineage.base(wanted.uuid).asked_at is None
        other = lineage.want_base(FSID, 'another', CHECKSUM, 5, again=True)
        assert other.asked_at is None

    def test_running_import_is_abandoned_with_its_slot(self, lineage):
        base = run(lineage)
        ended = lineage.abandon_base(base, 'why')
        assert (ended.state, ended.slot) == (BaseState.DROPPED, None)
        with pytest.raises(errors.RowMoved):
            lineage.abandon_base(base, 'why')

    def test_an_image_that_changed_is_another(self, lineage):
        first = want(lineage)
        second = want(lineage, checksum='md5:0')
        third = want(lineage, checksum='')
        elsewhere = lineage.want_base('fsid', 'a-qcow2', CHECKSUM, 5)
        assert len({b.id for b in (first, second, third, elsewhere)}) == 4

    def test_what_was_refused_stays_so_until_wanted_again(self, lineage):
        refused = lineage.refuse_base(want(lineage), 'ImageUnsafe: why')
        assert refused.state is BaseState.REFUSED
        assert refused.reason == 'ImageUnsafe: why'
        assert want(lineage) == refused
        assert lineage.next_base('me', 30, 1) is None
        again = lineage.want_base(FSID, 'a-qcow2', CHECKSUM, 5, again=True)
        assert again.state is BaseState.WANTED
        assert want(lineage) == again
        assert lineage.find_base(FSID, 'a-qcow2', CHECKSUM) == again
        lineage.drop_base(again, 'why')
        anew = want(lineage)
        assert anew.id not in (refused.id, again.id)

    @pytest.mark.parametrize('state', [BaseState.COPIED, BaseState.DROPPED])
    def test_what_came_to_another_end_is_wanted_anew(self, lineage, state):
        base = run(lineage)
        if state is BaseState.COPIED:
            ended = lineage.copied_base(base)
        else:
            ended = lineage.drop_base(base, 'why')
        assert (ended.state, ended.slot) == (state, None)
        assert lineage.find_base(FSID, 'a-qcow2', CHECKSUM) == ended
        assert want(lineage).state is BaseState.WANTED

    def test_the_oldest_runs_next_in_a_slot(self, lineage):
        first, second = want(lineage), want(lineage, 'b')
        assert lineage.next_base('me', 30, 0) is None
        running = lineage.next_base('me', 30, 1)
        assert (running.id, running.slot) == (first.id, 1)
        assert running.state is BaseState.RUNNING
        assert (running.owner, running.fence) == ('me', 1)
        assert running.lease_expires_at > running.updated_at
        assert lineage.next_base('other', 30, 1) is None
        other = lineage.next_base('other', 30, 2)
        assert (other.id, other.slot) == (second.id, 2)
        lineage.refuse_base(running, 'why')
        want(lineage, 'c')
        assert lineage.next_base('me', 30, 2).slot == 1

    def test_slots_are_not_those_of_flattens(self, lineage, ready):
        lineage.want_flatten(ready(), 'asked')
        want(lineage)
        assert lineage.next_flatten('me', 30, 1).slot == 1
        assert lineage.next_base('me', 30, 1).slot == 1

    def test_a_late_importer_loses_base_and_slot(self, lineage):
        want(lineage)
        late = lineage.next_base('late', EXPIRED, 1)
        image = reserve_image(lineage, late)
        with pytest.raises(errors.HolderLate):
            lineage.next_base('me', 30, 1)
        taken = lineage.next_base('me', 30, 1, shut_out=())
        assert (taken.id, taken.slot) == (late.id, late.slot)
        assert (taken.owner, taken.fence) == ('me', late.fence + 1)
        assert taken.clone == image
        for act in (
            lambda: lineage.base_progress(late, 1, 2, 30),
            lambda: lineage.put_back_base(late, 'why'),
            lambda: lineage.refuse_base(late, 'why'),
            lambda: lineage.copied_base(late),
            lambda: reserve_image(lineage, late),
            lambda: lineage.base_made(late, image, 'id', GIB),
        ):
            with pytest.raises(errors.RowMoved):
                act()
        assert lineage.bases() == [taken]
        assert lineage.page(Filters()) == [image]

    def test_progress_is_recorded_and_renews_the_lease(self, lineage):
        running = run(lineage)
        time.sleep(0.01)
        after = lineage.base_progress(running, 3, 7, 60, Way.STREAM)
        assert (after.done_bytes, after.total_bytes) == (3, 7)
        assert after.way is Way.STREAM
        assert after.lease_expires_at > running.lease_expires_at
        assert after.updated_at > running.updated_at
        assert lineage.base_progress(after, 4, 7, 60).way is Way.STREAM

    def test_a_lease_is_renewed_without_progress(self, lineage):
        running = run(lineage)
        beat = lineage.bases_beat()
        time.sleep(0.01)
        renewed = lineage.base_progress(running, 0, 5, 60)
        assert renewed.lease_expires_at > running.lease_expires_at
        assert renewed.updated_at == running.updated_at
        assert lineage.bases_beat() == beat

    @pytest.mark.parametrize('end', ['refuse_base', 'drop_base'])
    def test_who_imports_finds_that_it_was_ended(self, lineage, end):
        running = run(lineage)
        image = reserve_image(lineage, running)
        ended = getattr(lineage, end)(running, 'why')
        assert (ended.reason, ended.slot) == ('why', None)
        assert ended.lease_expires_at is None
        with pytest.raises(errors.RowMoved):
            lineage.base_progress(running, 1, 2, 30)
        with pytest.raises(errors.RowMoved):
            lineage.base_made(running, image, 'id', GIB)
        assert lineage.page(Filters()) == [image]

    def test_only_what_runs_makes_progress(self, lineage):
        with pytest.raises(errors.RowMoved):
            lineage.base_progress(want(lineage), 1, 2, 30)
        with pytest.raises(errors.RowMoved):
            lineage.base_progress(make(lineage), 1, 2, 30)

    def test_what_is_put_back_pauses(self, lineage):
        running = lineage.base_progress(run(lineage), 3, 7, 30)
        back = lineage.put_back_base(running, 'Glance is away')
        assert (back.state, back.slot) == (BaseState.WANTED, None)
        assert (back.reason, back.attempts) == ('Glance is away', 1)
        assert (back.done_bytes, back.lease_expires_at) == (0, None)
        pause = (back.retry_at - back.updated_at).total_seconds()
        assert abs(pause - 1) < 0.01
        assert lineage.next_base('me', 30, 1) is None
        assert want(lineage) == back
        time.sleep(1.1)
        again = lineage.next_base('me', 30, 1)
        assert (again.id, again.fence) == (back.id, 2)

    @pytest.mark.parametrize('state', ['ready', 'dropped', 'refused'])
    def test_nothing_follows_but_what_may(self, lineage, state):
        base = make(lineage) if state == 'ready' else want(lineage)
        if state == 'dropped':
            base = lineage.drop_base(base, 'why')
        if state == 'refused':
            base = lineage.refuse_base(base, 'why')
        for act in (lineage.put_back_base, lineage.refuse_base):
            with pytest.raises(ValueError, match='may not follow'):
                act(base, 'why')

    def test_bases_are_paged_and_filtered(self, lineage):
        made = [want(lineage, f'image{number}') for number in range(5)]
        assert lineage.bases(limit=3) == made[:3]
        assert lineage.bases(marker=made[2].id, limit=3) == made[3:]
        assert lineage.bases(glance_image_id='image1') == [made[1]]
        running = lineage.next_base('me', 30, 1)
        assert lineage.bases([BaseState.RUNNING]) == [running]
        assert lineage.bases([BaseState.WANTED]) == made[1:]

    def test_whatever_comes_on_is_a_beat(self, lineage):
        beats = [lineage.bases_beat()]

        def beat():
            beats.append(lineage.bases_beat())

        want(lineage)
        beat()
        want(lineage, 'another')
        beat()
        running = lineage.next_base('me', EXPIRED, 1)
        beat()
        running = lineage.next_base('me', 30, 1, ())
        beat()
        running = lineage.base_progress(running, 1, 9, 30)
        beat()
        lineage.base_progress(running, 2, 9, 30)
        beat()
        lineage.refuse_base(running, 'why')
        beat()
        assert len(set(beats)) == len(beats)
        assert lineage.bases_beat() == beats[-1]

    def test_what_only_fails_again_is_no_beat(self, lineage):
        lineage.put_back_base(run(lineage), 'why')
        beats = {lineage.bases_beat()}
        time.sleep(1.1)
        running = lineage.next_base('me', 30, 1)
        beats.add(lineage.bases_beat())
        lineage.put_back_base(running, 'why')
        beats.add(lineage.bases_beat())
        assert len(beats) == 1
        time.sleep(2.1)
        running = lineage.next_base('me', 30, 1)
        lineage.base_progress(running, 1, 9, 30)
        assert lineage.bases_beat() not in beats

    def test_a_worker_that_imports_is_not_forgotten(self, lineage):
        lineage.register_worker('me', 'host', 1, '1', '1.0')
        running = run(lineage)
        time.sleep(0.01)
        assert lineage.forget_workers(0) == 0
        lineage.refuse_base(running, 'why')
        assert lineage.forget_workers(0) == 1


class TestBaseImage(Claims):
    def test_a_reservation_holds_the_image(self, lineage):
        running = run(lineage)
        image = reserve_image(lineage, running)
        assert image.kind is Kind.BASE
        assert image.image.name == f'a-qcow2.{image.uuid[:8]}'
        assert (image.image.fsid, image.image.pool) == (FSID, 'images')
        assert (image.image.id, image.parent) == ('', None)
        assert (image.size_bytes, image.attached) == (GIB, False)
        assert image.glance_image_id == 'a-qcow2'
        assert (image.state, image.owner) == (State.RESERVED, 'me')
        assert image.lease_expires_at > image.created_at
        assert lineage.bases()[0].clone == image

    def test_each_attempt_has_an_image_of_its_own(self, lineage):
        running = run(lineage)
        first = reserve_image(lineage, running)
        second = reserve_image(lineage, running)
        assert lineage.bases()[0].clone == second
        assert first.image.name != second.image.name
        with pytest.raises(errors.RowMoved):
            lineage.base_made(running, first, 'id', GIB)
        assert lineage.page(Filters()) == [first, second]
        assert lineage.bases() == [dataclasses.replace(running, clone=second)]

    def test_base_and_image_are_ready_together(self, lineage):
        ready = make(lineage)
        assert (ready.state, ready.slot) == (BaseState.READY, None)
        assert (ready.lease_expires_at, ready.attempts) == (None, 0)
        image = ready.clone
        assert (image.state, image.image.id) == (State.READY, 'id-a-qcow2')
        assert image.lease_expires_at is None
        assert lineage.page(Filters(kind=Kind.BASE)) == [image]
        parent = snapshot_of(lineage, ready)
        assert parent.snapshot.image == image.image
        assert parent.state is ParentState.ACTIVE
        assert parent.purpose is Purpose.BASE

    def test_half_of_an_image_makes_no_base(self, lineage):
        running = run(lineage)
        image = reserve_image(lineage, running)
        assert lineage.parent_of_base(running) is None
        undoing = lineage.move(image, State.UNDOING)
        with pytest.raises(errors.RowMoved):
            lineage.base_made(running, image, 'id', GIB)
        with pytest.raises(ValueError, match='may not follow'):
            lineage.base_made(running, undoing, 'id', GIB)
        assert lineage.bases() == [dataclasses.replace(running, clone=undoing)]

    def test_disks_are_children_of_the_snapshot(self, lineage, ready):
        base = make(lineage)
        parent = snapshot_of(lineage, base)
        disk = ready('disk', of=parent)
        assert disk.parent == parent
        assert lineage.chain(parent) == [base.clone]

    def test_a_base_with_a_child_is_not_dropped(self, lineage, ready):
        base = make(lineage)
        parent = snapshot_of(lineage, base)
        disk = ready('disk', of=parent)
        with pytest.raises(errors.ParentHasChildren, match='disk'):
            lineage.drop_base(base, 'why')
        assert lineage.bases() == [base]
        assert snapshot_of(lineage, base) == parent
        retired = retire(lineage, disk)
        with pytest.raises(errors.ParentHasChildren):
            lineage.drop_base(base, 'why')
        lineage.detach(retired)
        assert lineage.drop_base(base, 'why').state is BaseState.DROPPED

    def test_a_dropped_base_takes_no_child_and_goes(self, lineage, reserve):
        base = make(lineage)
        parent = snapshot_of(lineage, base)
        dropped = lineage.drop_base(base, 'idle')
        assert (dropped.state, dropped.reason) == (BaseState.DROPPED, 'idle')
        assert dropped.clone.state is State.DELETING
        assert dropped.clone.lease_expires_at is None
        assert lineage.abandoned(0, 10) == [dropped.clone]
        assert lineage.parent_of_base(base) is None
        with pytest.raises(errors.ParentReleased):
            reserve(of=parent)
        assert [p.id for p in lineage.unneeded_parents(0, 9)] == [parent.id]
        assert lineage.drop_base(base, 'again') == dropped
        retired = lineage.move(dropped.clone, State.RETIRED)
        assert lineage.reapable(10) == [retired]
        assert want(lineage).id != base.id

    def test_dropping_what_has_no_row_is_refused(self, lineage):
        gone = dataclasses.replace(want(lineage), id=999999)
        with pytest.raises(errors.BaseNotFound):
            lineage.drop_base(gone, 'why')

    def test_a_base_is_dropped_as_it_is_now(self, lineage):
        """Not as who drops it has seen it."""
        wanted = want(lineage)
        ready = make(lineage)
        assert ready.id == wanted.id
        dropped = lineage.drop_base(wanted, 'why')
        assert dropped.clone.state is State.DELETING

    def test_a_base_whose_image_is_deleted_is_dropped(self, lineage):
        base = make(lineage)
        deleting = lineage.move(base.clone, State.DELETING)
        (dropped,) = lineage.bases()
        assert (dropped.state, dropped.clone) == (BaseState.DROPPED, deleting)
        assert dropped.reason
        assert lineage.parent_of_base(base) is None
        assert want(lineage).state is BaseState.WANTED

    def test_a_base_whose_image_went_another_way_can_be_dropped(
        self, lineage, engine
    ):
        base = make(lineage)
        put(engine, base.clone, state=State.DELETED, live=None)
        assert lineage.parent_of_base(base) is None
        dropped = lineage.drop_base(base, 'why')
        assert dropped.state is BaseState.DROPPED

    def test_the_image_of_an_earlier_attempt_drops_nothing(self, lineage):
        running = run(lineage)
        image = reserve_image(lineage, running)
        lineage.move(image, State.DELETING)
        assert lineage.bases()[0].state is BaseState.RUNNING

    def test_an_importers_image_is_left_alone_while_it_is_held(self, lineage):
        running = run(lineage)
        image = reserve_image(lineage, running)
        planned = lineage.plan_snapshot(
            dataclasses.replace(image.image, id='id'),
            'snap',
            Purpose.BASE,
            Protector.SERVICE,
            size_bytes=1,
        )
        assert lineage.abandoned(0, 10) == lineage.late(0, 10) == []
        assert lineage.held() == [image]
        assert lineage.unneeded_parents(0, 10) == []
        lineage.made_snapshot(planned, seen(planned.snapshot.image, 's', 1))
        assert lineage.unneeded_parents(0, 10) == []
        left = lineage.hold(lineage.renew(image, EXPIRED), 'me', EXPIRED)
        assert lineage.abandoned(0, 10) == lineage.late(0, 10) == [left]
        finish(lineage, left)
        assert lineage.bases()[0].state is BaseState.RUNNING

    def test_bases_without_a_child_are_paged(self, lineage, ready):
        made = [make(lineage, f'image{number}') for number in range(4)]
        want(lineage, 'wanted')
        disk = ready('disk', of=snapshot_of(lineage, made[1]))
        childless = [made[0], *made[2:]]
        assert lineage.childless_bases() == childless
        assert lineage.childless_bases(limit=2) == childless[:2]
        assert lineage.childless_bases(marker=made[2].id) == [made[3]]
        lineage.detach(disk)
        assert lineage.childless_bases() == made

    def test_a_base_is_idle_some_time_after_its_last_use(
        self, lineage, engine, ready
    ):
        base = make(lineage)
        disk = ready('disk', of=snapshot_of(lineage, base))
        assert lineage.idle_bases(0, 10) == []
        age(engine, tables.bases, updated_at=50)
        age(engine, tables.clones, created_at=200, updated_at=100)
        assert lineage.idle_bases(10, 10) == []
        lineage.detach(disk)
        # It has gone just now, and was of use until then.
        assert lineage.idle_bases(10, 10) == []
        age(engine, tables.clones, updated_at=100)
        assert lineage.idle_bases(60, 10) == []
        age(engine, tables.bases, updated_at=80)
        (idle,) = lineage.idle_bases(60, 10)
        assert idle.id == base.id
        assert lineage.idle_bases(90, 10) == []
        age(engine, tables.bases, updated_at=200)
        assert lineage.idle_bases(120, 10) == []
        assert lineage.idle_bases(90, 0) == []
        assert len(lineage.idle_bases(90, 10)) == 1
        other = make(lineage, 'another')
        assert [b.id for b in lineage.idle_bases(0, 9)] == [base.id, other.id]


class TestWithoutBases(Claims):
    """On the schema of the release before."""

    @pytest.fixture
    def lineage(self, engine):
        tables.bases.drop(engine)
        yield Lineage(engine)
        tables.bases.create(engine)

    def test_nothing_is_found(self, lineage):
        assert lineage.find_base(FSID, 'a-qcow2', CHECKSUM) is None
        assert lineage.bases() == []
        assert lineage.next_base('me', 30, 1) is None
        assert lineage.idle_bases(0, 10) == []
        assert lineage.childless_bases() == []
        assert lineage.bases_beat() == ''
        with pytest.raises(errors.BaseNotFound):
            lineage.base('a-uuid')

    def test_nothing_is_wanted(self, lineage):
        with pytest.raises(errors.DatabaseRevision):
            want(lineage)

    def test_nobody_is_kept_for_an_import(self, lineage):
        lineage.register_worker('me', 'host', 1, '1', '1.0')
        time.sleep(0.01)
        assert lineage.forget_workers(0) == 1

    def test_bases_are_there_once_it_is_migrated(self, lineage, engine):
        assert lineage.bases() == []
        tables.bases.create(engine)
        try:
            assert lineage.bases() == []
            assert lineage.bases([want(lineage).state])
        finally:
            tables.bases.drop(engine)

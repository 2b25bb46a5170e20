# SPDX-License-Identifier: Apache-2.0
"""What is claimed of requests at one moment."""

from collections.abc import Callable
from concurrent import futures

import pytest
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import clock
from rbdcloner.db import reservation
from rbdcloner.db import tables
from rbdcloner.model import Base
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Filters
from rbdcloner.model import FlattenReason
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.states import LIVE_BASES
from rbdcloner.states import BaseState
from rbdcloner.states import FlattenState
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.lineage_suite.bases import CHECKSUM
from tests.lineage_suite.bases import make
from tests.lineage_suite.bases import reserve_image
from tests.lineage_suite.bases import run
from tests.lineage_suite.bases import snapshot_of
from tests.lineage_suite.bases import want
from tests.lineage_suite.claims import EXPIRED
from tests.lineage_suite.claims import FACTS
from tests.lineage_suite.claims import FSID
from tests.lineage_suite.claims import REQUEST
from tests.lineage_suite.claims import THREADS
from tests.lineage_suite.claims import Claims
from tests.lineage_suite.claims import count
from tests.lineage_suite.claims import finish
from tests.lineage_suite.claims import found
from tests.lineage_suite.claims import still_waits
from tests.lineage_suite.claims import together


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

    def test_a_disk_that_is_deleted_has_an_image_or_takes_none(
        self, lineage, engine, ready, rounds
    ):
        for number in range(rounds):
            disk = ready(f'disk{number}')
            image, deleting = together(
                lambda disk=disk, name=f'image{number}': lineage.reserve_image(
                    disk, name, 'images', CloneFormat.V2, 'me', 30
                ),
                lambda disk=disk: lineage.move(disk, State.DELETING),
            )
            assert deleting.state is State.DELETING
            edges = lineage.snapshots_of(disk.image)
            if isinstance(image, Clone):
                assert edges == [image.parent]
                assert lineage.has_children(image.parent)
            else:
                assert isinstance(image, errors.RowMoved)
                assert edges == []

    def test_a_delete_waits_for_an_image_being_reserved(
        self, lineage, engine, ready
    ):
        disk = ready()
        look = sa.select(tables.clones.c.id).where(
            tables.clones.c.id == disk.id
        )
        with futures.ThreadPoolExecutor(1) as pool:
            with engine.begin() as connection:
                connection.execute(look.with_for_update(read=True))
                move = pool.submit(lineage.move, disk, State.DELETING)
                still_waits(move)
            assert move.result(20).state is State.DELETING

    def test_one_name_gets_one_plan(self, lineage, ready):
        disk = ready()
        outcomes = together(
            *[
                lambda: lineage.plan_snapshot(
                    disk.image,
                    'daily',
                    Purpose.CALLER,
                    Protector.NOBODY,
                    clone=disk,
                    size_bytes=1,
                )
            ]
            * THREADS
        )
        assert outcomes == lineage.snapshots_of(disk.image) * THREADS

    @pytest.mark.parametrize('trashed', [False, True])
    def test_one_image_is_adopted_once(self, lineage, trashed):
        outcomes = together(
            *[
                lambda: lineage.adopt_image(
                    FACTS.snapshot.image,
                    'g',
                    1,
                    CloneFormat.V2,
                    trashed=trashed,
                )
            ]
            * THREADS
        )
        assert outcomes == lineage.page(Filters()) * THREADS

    def test_one_clone_is_wanted_once(self, lineage, ready):
        disk = ready()
        outcomes = together(
            *[lambda: lineage.want_flatten(disk, FlattenReason.DEPTH)]
            * THREADS
        )
        assert outcomes == lineage.flattens() * THREADS

    def test_no_more_flattens_run_than_the_limit(self, lineage, ready, rounds):
        for number in range(12):
            lineage.want_flatten(ready(f'd{number}'), FlattenReason.DEPTH)
        most = []

        def work() -> int:
            done = 0
            for _ in range(rounds // 5):
                mine = lineage.next_flatten('me', 30, 2)
                if mine is None:
                    continue
                running = lineage.flattens([FlattenState.RUNNING])
                most.append(len(running))
                assert len({one.slot for one in running}) == len(running)
                if done % 2:
                    lineage.put_back_flatten(mine, 'why')
                else:
                    lineage.flattened(mine)
                done += 1
            return done

        done = together(*[work] * 8)
        assert all(isinstance(one, int) for one in done), done
        assert max(most) <= 2
        assert sum(done) == len(most) >= 2

    def test_a_late_flatten_is_taken_over_once(self, lineage, ready, rounds):
        lineage.want_flatten(ready(), FlattenReason.DEPTH)
        for number in range(rounds // 10):
            late = lineage.next_flatten('late', EXPIRED, 1, ())
            assert late.fence == 2 * number + 1
            taken = together(
                *[lambda: lineage.next_flatten('me', 2, 1, shut_out=())] * 8
            )
            (mine,) = [one for one in taken if one is not None]
            assert mine.fence == late.fence + 1
            lineage.flatten_progress(mine, 0, 0, EXPIRED)

    def test_a_flatten_is_done_or_cancelled(self, lineage, ready, rounds):
        for number in range(rounds // 5):
            disk = ready(f'disk{number}')
            lineage.want_flatten(disk, FlattenReason.DEPTH)
            running = lineage.next_flatten('me', 30, 1)
            done, cancelled, wanted = together(
                lambda running=running: lineage.flattened(running),
                lambda disk=disk: lineage.cancel_flattens_of(disk, 'why'),
                lambda disk=disk: lineage.want_flatten(
                    disk, FlattenReason.SNAPSHOTS
                ),
            )
            attached = found(lineage, f'disk{number}').attached
            assert cancelled == (1 if attached else 0)
            assert isinstance(done, errors.RowMoved) == attached
            if isinstance(wanted, errors.RowMoved):
                assert not attached
            for one in lineage.flattens([FlattenState.WANTED]):
                lineage.cancel_flatten(one, 'over')

    def test_one_image_gets_one_base(self, lineage, rounds):
        for number in range(rounds // 10):
            outcomes = together(
                *[lambda number=number: want(lineage, f'image{number}')]
                * THREADS
            )
            known = lineage.bases(glance_image_id=f'image{number}')
            assert outcomes == known * THREADS
            assert len(known) == 1

    def test_one_image_gets_one_base_while_another_ends(self, lineage, rounds):
        for _ in range(rounds // 10):
            lineage.want_base(FSID, 'a-qcow2', CHECKSUM, 5, True)
            running = run(lineage)
            outcomes = together(
                lambda running=running: lineage.refuse_base(running, 'why'),
                *[
                    lambda: lineage.want_base(
                        FSID, 'a-qcow2', CHECKSUM, 5, True
                    )
                ]
                * (THREADS - 1),
            )
            for one in outcomes[1:]:
                # It ended just when it was wanted: who asks again is served.
                assert isinstance(one, Base | errors.RowMoved), one
            live = [b for b in lineage.bases() if b.state in LIVE_BASES]
            assert len(live) <= 1
            lineage.drop_base(want(lineage), 'over')

    def test_no_more_imports_run_than_slots(self, lineage, rounds):
        """Of two managers and one slot, at each moment one has it."""
        for number in range(rounds // 5):
            want(lineage, f'image{number}')
            first, second = together(
                lambda: lineage.next_base('me', 30, 1),
                lambda: lineage.next_base('other', 30, 1),
            )
            (running,) = lineage.bases([BaseState.RUNNING])
            assert [first, second].count(None) == 1
            assert running in (first, second)
            lineage.refuse_base(running, 'why')

    def test_a_late_import_is_taken_over_once(self, lineage, rounds):
        want(lineage)
        for number in range(rounds // 10):
            late = lineage.next_base('late', EXPIRED, 1, ())
            assert late.fence == 2 * number + 1
            taken = together(
                *[lambda: lineage.next_base('me', 2, 1, shut_out=())] * 8
            )
            (mine,) = [one for one in taken if one is not None]
            assert mine.fence == late.fence + 1
            lineage.base_progress(mine, 0, 0, EXPIRED)

    def test_a_base_that_is_dropped_has_no_child(
        self, lineage, reserve, rounds
    ):
        ends = set()
        for number in range(rounds // 5):
            base = make(lineage, f'image{number}')
            parent = snapshot_of(lineage, base)
            child, dropped = together(
                lambda parent=parent, number=number: reserve(
                    name=f'disk{number}', of=parent
                ),
                lambda base=base: lineage.drop_base(base, 'why'),
            )
            ends.add(type(child))
            if isinstance(child, Clone):
                assert isinstance(dropped, errors.ParentHasChildren)
                assert lineage.parent_of_base(base) == parent
            else:
                assert isinstance(child, errors.ParentReleased)
                assert dropped.state is BaseState.DROPPED
                assert dropped.clone.state is State.DELETING
        assert ends <= {Clone, errors.ParentReleased}

    def test_a_base_is_made_or_dropped(self, lineage, rounds):
        for number in range(rounds // 5):
            base = run(lineage, f'image{number}')
            image = reserve_image(lineage, base)
            made, dropped = together(
                lambda base=base, image=image: lineage.base_made(
                    base, image, 'id', 1
                ),
                lambda base=base: lineage.drop_base(base, 'why'),
            )
            assert dropped.state is BaseState.DROPPED
            if isinstance(made, Base):
                assert dropped.clone.state is State.DELETING
            else:
                assert isinstance(made, errors.RowMoved)
                assert dropped.clone.state is State.RESERVED

    def test_a_base_and_its_image_are_deleted_at_once(self, lineage, rounds):
        for number in range(rounds // 5):
            base = make(lineage, f'image{number}')
            dropped, deleting = together(
                lambda base=base: lineage.drop_base(base, 'why'),
                lambda base=base: lineage.move(base.clone, State.DELETING),
            )
            assert dropped.state is BaseState.DROPPED
            assert isinstance(deleting, Clone | errors.RowMoved)
            now = lineage.base(base.uuid)
            assert now.state is BaseState.DROPPED
            assert now.clone.state is State.DELETING

    def test_a_duty_is_taken_by_one(self, lineage, engine, rounds):
        due = sa.update(tables.duties).values(due_at=clock.utc_now())
        for _ in range(rounds // 10):
            outcomes = together(
                *[lambda: lineage.take_duty('survey', 'me', 60)] * 8
            )
            assert sorted(outcomes) == [False] * 7 + [True]
            with engine.begin() as connection:
                connection.execute(due)

    def test_a_releaser_waits_for_a_child_being_taken(
        self, lineage, engine, parent
    ):
        values = reservation.values(REQUEST, parent, CloneFormat.V2, 'me', 30)
        with futures.ThreadPoolExecutor(1) as pool:
            with engine.begin() as connection:
                connection.execute(reservation.STATEMENT, values)
                release = pool.submit(lineage.releasing, parent)
                still_waits(release)
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
                still_waits(child)
                if committed:
                    connection.commit()
            if not committed:
                assert child.result(20).parent == parent
                return
            with pytest.raises(errors.ParentReleased):
                child.result(20)

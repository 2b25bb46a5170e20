# SPDX-License-Identifier: Apache-2.0
"""What is claimed of requests at one moment."""

from collections.abc import Callable
from concurrent import futures

import pytest
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import reservation
from rbdcloner.db import tables
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Protector
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.lineage_suite.claims import EXPIRED
from tests.lineage_suite.claims import FACTS
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

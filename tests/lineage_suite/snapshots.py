# SPDX-License-Identifier: Apache-2.0
"""What is claimed of the snapshots that the service makes."""

import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import clock
from rbdcloner.db import tables
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Image
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.lineage_suite.claims import FACTS
from tests.lineage_suite.claims import FSID
from tests.lineage_suite.claims import GIB
from tests.lineage_suite.claims import Claims
from tests.lineage_suite.claims import finish
from tests.lineage_suite.claims import found
from tests.lineage_suite.claims import seen

IMAGE = Image(FSID, 'vms', '', 'a_disk', 'id-a_disk')
DAY_S = 86400


class TestSnapshot(Claims):
    @pytest.fixture
    def plan(self, lineage: Lineage) -> Any:
        def call(name: str = 'daily', **changes: Any) -> Parent:
            wanted = {
                'image': IMAGE,
                'purpose': Purpose.CALLER,
                'protector': Protector.NOBODY,
                'size_bytes': GIB,
                **changes,
            }
            return lineage.plan_snapshot(name=name, **wanted)

        return call

    def test_a_plan_holds_what_was_asked(self, lineage, plan):
        planned = plan(
            order=22,
            glance_image_id='g',
            depth=3,
            purpose=Purpose.GLANCE,
            protector=Protector.SERVICE,
        )
        assert planned.snapshot.image == IMAGE
        assert (planned.snapshot.name, planned.snapshot.id) == ('daily', None)
        assert (planned.size_bytes, planned.order) == (GIB, 22)
        assert (planned.glance_image_id, planned.depth) == ('g', 3)
        assert planned.purpose is Purpose.GLANCE
        assert planned.protector is Protector.SERVICE
        assert planned.state is ParentState.PLANNED
        assert lineage.snapshots_of(IMAGE) == [planned]

    def test_planning_again_returns_the_same_row(self, lineage, plan):
        planned = plan()
        assert plan(purpose=Purpose.GLANCE, size_bytes=5) == planned
        made = lineage.made_snapshot(planned, seen(IMAGE, 'daily', 3))
        assert plan() == made

    def test_another_name_or_image_is_another_plan(self, lineage, plan):
        other = dataclasses.replace(IMAGE, id='other')
        plans = [plan(), plan('Daily'), plan('daily '), plan(image=other)]
        assert len({one.id for one in plans}) == 4
        assert lineage.snapshots_of(IMAGE) == plans[:3]

    def test_a_name_is_planned_again_that_others_snapshot_lost(
        self, lineage, plan
    ):
        adopted = lineage.adopt(seen(IMAGE, 'daily', 3), '', Protector.OTHERS)
        planned = plan()
        assert planned.id != adopted.id
        assert planned == plan()
        made = lineage.made_snapshot(planned, seen(IMAGE, 'daily', 4))
        assert lineage.snapshots_of(IMAGE) == [adopted, made]

    def test_a_name_is_planned_again_that_our_snapshot_lost(
        self, lineage, plan
    ):
        made = lineage.made_snapshot(plan(), seen(IMAGE, 'daily', 3))
        assert plan() == made
        lineage.lost_name(made)
        assert plan().id != made.id
        assert made.id in [one.id for one in lineage.snapshots_of(IMAGE)]

    def test_a_plan_that_was_made_meanwhile_is_not_released_as_one(
        self, lineage, plan
    ):
        planned = plan()
        made = lineage.made_snapshot(planned, seen(IMAGE, 'daily', 3))
        with pytest.raises(errors.RowMoved):
            lineage.releasing(planned, as_left=True)
        assert lineage.releasing(made, as_left=True).state == 'releasing'

    def test_a_plan_on_its_way_out_is_not_planned_anew(self, lineage, plan):
        planned = lineage.releasing(plan())
        assert planned.state is ParentState.RELEASING
        with pytest.raises(errors.ParentReleased):
            plan()
        lineage.released(planned)
        assert lineage.snapshots_of(IMAGE) == []
        assert plan().id != planned.id

    def test_a_plan_that_was_not_made_is_restored_as_one(self, lineage, plan):
        planned = plan()
        lineage.releasing(planned)
        assert lineage.restored(planned) == planned
        assert lineage.restored(planned) == planned

    def test_a_snapshot_of_a_row_is_planned_as_long_as_it_is_as_left(
        self, lineage, plan, ready
    ):
        disk = ready()
        assert plan(clone=disk)
        held = lineage.hold(disk, 'me', 30)
        assert plan('held', clone=held)
        assert plan('not held', clone=disk)
        lineage.let_go(held, 'why')
        lineage.hold(disk, 'other', 30)
        with pytest.raises(errors.RowMoved):
            plan('taken', clone=held)
        deleting = lineage.move(found(lineage), State.DELETING)
        with pytest.raises(errors.RowMoved):
            plan('moved', clone=disk)
        assert plan('deleting', clone=deleting)
        assert len(lineage.snapshots_of(IMAGE)) == 4

    def test_a_snapshot_is_made_once(self, lineage, plan):
        planned = plan()
        facts = dataclasses.replace(
            seen(IMAGE, 'daily', 3), size_bytes=5, order=24
        )
        made = lineage.made_snapshot(planned, facts)
        assert made.state is ParentState.ACTIVE
        assert made.snapshot == facts.snapshot
        assert (made.size_bytes, made.order) == (5, 24)
        assert lineage.made_snapshot(planned, facts) == made
        assert lineage.find_parent(facts.snapshot) == made

    def test_another_snapshot_is_not_the_planned_one(self, lineage, plan):
        planned = plan()
        lineage.made_snapshot(planned, seen(IMAGE, 'daily', 3))
        with pytest.raises(errors.RowMoved):
            lineage.made_snapshot(planned, seen(IMAGE, 'daily', 4))

    def test_a_snapshot_with_a_row_is_not_the_planned_one(self, lineage, plan):
        planned = plan()
        renamed = lineage.adopt(seen(IMAGE, 'old', 3), '', Protector.OTHERS)
        with pytest.raises(errors.RowMoved):
            lineage.made_snapshot(planned, seen(IMAGE, 'daily', 3))
        assert lineage.snapshots_of(IMAGE) == [planned, renamed]

    def test_a_plan_on_its_way_out_is_not_made(self, lineage, plan):
        planned = plan()
        lineage.releasing(planned)
        with pytest.raises(errors.RowMoved):
            lineage.made_snapshot(planned, seen(IMAGE, 'daily', 3))

    def test_adopting_what_was_planned_makes_it(self, lineage, plan):
        planned = plan(protector=Protector.SERVICE)
        facts = seen(IMAGE, 'daily', 3)
        adopted = lineage.adopt(facts, 'g', Protector.OTHERS, depth=5)
        assert adopted.id == planned.id
        assert adopted.state is ParentState.ACTIVE
        assert adopted.purpose is Purpose.CALLER
        assert adopted.protector is Protector.SERVICE
        assert (adopted.glance_image_id, adopted.depth) == ('g', 0)
        assert lineage.made_snapshot(planned, facts) == adopted

    def test_a_snapshot_in_the_trash_is_not_what_was_planned(
        self, lineage, plan
    ):
        planned = plan()
        facts = dataclasses.replace(seen(IMAGE, 'daily', 3), trashed=True)
        adopted = lineage.adopt(facts, '', Protector.NOBODY)
        assert lineage.snapshots_of(IMAGE) == [planned, adopted]

    def test_an_empty_glance_image_is_filled_in(self, lineage):
        adopted = lineage.adopt(FACTS, '', Protector.NOBODY, depth=2)
        assert (adopted.purpose, adopted.depth) == (Purpose.ADOPTED, 2)
        filled = lineage.adopt(FACTS, 'g', Protector.NOBODY)
        assert (filled.id, filled.glance_image_id) == (adopted.id, 'g')
        assert lineage.adopt(FACTS, 'other', Protector.NOBODY) == filled


class TestUnneeded(Claims):
    def test_an_edge_goes_with_its_child(
        self, lineage, ready, image_of, parent
    ):
        disk = ready()
        image = image_of(disk)
        half_made = lineage.reserve_image(
            disk, 'other', 'images', image.clone_format, 'me', 30
        )
        assert lineage.unneeded_parents(0, 10) == []
        finish(lineage, half_made)
        (planned,) = lineage.unneeded_parents(0, 10)
        assert planned == half_made.parent
        lineage.detach(image)
        edge, other = lineage.unneeded_parents(0, 10)
        assert (edge.id, other) == (image.parent.id, planned)
        assert (edge.purpose, edge.state) == ('edge', 'active')

    def test_what_goes_with_its_image_or_by_request_stays(
        self, lineage, engine
    ):
        for number, purpose in enumerate((Purpose.GLANCE, Purpose.CALLER)):
            planned = lineage.plan_snapshot(
                IMAGE, purpose, purpose, Protector.SERVICE, size_bytes=GIB
            )
            lineage.made_snapshot(planned, seen(IMAGE, purpose, number))
        _age(engine, lineage.snapshots_of(IMAGE))
        assert lineage.unneeded_parents(0, 10) == []

    @pytest.mark.parametrize('purpose', [Purpose.CALLER, Purpose.GLANCE])
    def test_a_plan_that_was_left_is_unneeded(self, lineage, engine, purpose):
        planned = lineage.plan_snapshot(
            IMAGE, 'daily', purpose, Protector.NOBODY, size_bytes=GIB
        )
        assert lineage.unneeded_parents(0, 10) == []
        _age(engine, [planned])
        assert lineage.unneeded_parents(0, 10) == [planned]
        assert lineage.unneeded_parents(2 * DAY_S, 10) == []

    def test_a_parent_that_was_put_off_comes_last(
        self, lineage, engine, ready, image_of
    ):
        names = [f'image{number}' for number in range(3)]
        images = [image_of(ready(f'of-{name}'), name) for name in names]
        for image in images:
            lineage.detach(image)
        edges = [image.parent for image in images]
        _age(engine, edges)
        first, *_ = lineage.unneeded_parents(60, 10)
        lineage.put_off_parent(first)
        found = [each.id for each in lineage.unneeded_parents(60, 10)]
        assert found == [each.id for each in edges if each.id != first.id]
        assert lineage.unneeded_parents(0, 10)[-1].id == first.id


def _age(engine: sa.Engine, parents: list[Parent]) -> None:
    """Make rows a day older."""
    statement = sa.update(tables.parents).where(
        tables.parents.c.id.in_([one.id for one in parents])
    )
    with engine.begin() as connection:
        connection.execute(
            statement.values(updated_at=clock.utc_after(-DAY_S))
        )

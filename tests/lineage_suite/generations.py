# SPDX-License-Identifier: Apache-2.0
"""Which lineage the database has, and how old it is."""

import datetime
from typing import Any

import pytest
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import tables
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import CloneFormat
from rbdcloner.model import Filters
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import Kind
from rbdcloner.states import State
from tests.lineage_suite import claims


class TestGeneration:
    @pytest.fixture
    def aged(self, engine):
        """A lineage of generation 7; the tests' engine has no row at first."""
        with engine.begin() as connection:
            connection.execute(sa.delete(tables.lineages))
            connection.execute(
                sa.insert(tables.lineages).values(
                    uuid='ours',
                    generation=7,
                    stamp='a-stamp',
                    advanced_at=datetime.datetime(2026, 1, 2),
                    stopped='',
                )
            )
        return Lineage(engine)

    def test_advance_is_a_compare_and_swap(self, aged):
        first = aged.age().mark
        assert (first.lineage, first.generation) == ('ours', 7)
        second = aged.advance(first)
        assert (second.lineage, second.generation) == ('ours', 8)
        assert second.stamp != first.stamp
        assert aged.age().mark == second
        with pytest.raises(errors.RowMoved):
            aged.advance(first)
        assert aged.age().mark == second

    def test_advance_notes_when_by_the_database_s_clock(self, aged):
        before = aged.now()
        aged.advance(aged.age().mark)
        advanced_at = aged.age().advanced_at
        assert before <= advanced_at <= aged.now()

    def test_advance_reaches_what_is_asked_for(self, aged):
        assert aged.advance(aged.age().mark, 100).generation == 100
        assert aged.advance(aged.age().mark, 5).generation == 101

    def test_reason_is_recorded_until_it_is_over(self, aged):
        aged.note_stopped('a reason')
        assert aged.age().stopped == 'a reason'
        aged.note_stopped('x' * 5000)
        aged.note_stopped('')
        assert aged.age().stopped == ''

    def test_marked_pools_are_remembered_by_cluster(self, aged):
        for _twice in range(2):
            aged.note_marked_pool('a-cluster', 'vms')
        aged.note_marked_pool('another', 'fast')
        assert aged.marked_pools('a-cluster') == {'vms'}
        assert aged.marked_pools('unheard-of') == set()


class TestAdoptTagged(claims.Claims):
    @pytest.fixture
    def adopt(self, lineage: Lineage, parent: Any) -> Any:
        def call(of: Any = parent, kind: Kind = Kind.DISK, **how: Any):
            image = Image(claims.FSID, 'vms', '', 'a_disk', 'rbd-id')
            made_at = claims.FACTS.created_at
            facts = ImageFacts(
                image, claims.GIB, None, 'the-tag', made_at, made_at
            )
            return lineage.adopt_tagged(
                facts, kind, of, CloneFormat.V1, **{'trashed': False} | how
            )

        return call

    def test_the_tag_is_the_uuid_of_the_row(self, adopt, parent):
        clone = adopt(glance_image_id='glance', instance_uuid='instance')
        assert (clone.uuid, clone.image.id) == ('the-tag', 'rbd-id')
        assert (clone.state, clone.parent) == (State.READY, parent)
        assert clone.attached
        assert clone.instance_uuid == 'instance'
        with pytest.raises(errors.DiskExists):
            adopt()

    def test_an_image_in_the_trash_is_retired(self, lineage, adopt):
        clone = adopt(of=None, trashed=True)
        assert (clone.state, clone.attached) == (State.RETIRED, False)
        assert lineage.reapable(10) == [clone]

    def test_a_parent_on_its_way_out_takes_no_child(
        self, lineage, adopt, parent
    ):
        lineage.releasing(parent)
        with pytest.raises(errors.ParentReleased):
            adopt()

    def test_a_base_that_lost_its_row_goes_when_nobody_needs_it(
        self, lineage, adopt
    ):
        clone = adopt(of=None, kind=Kind.BASE, glance_image_id='glance')
        for _twice in range(2):
            lineage.adopt_base(clone)
        (base,) = lineage.childless_bases(0, 10)
        assert base.clone.uuid == clone.uuid
        lineage.drop_base(base, 'nobody needs it')
        (row,) = lineage.page(Filters(uuid=clone.uuid))
        assert row.state is State.DELETING

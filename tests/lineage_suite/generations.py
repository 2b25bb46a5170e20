# SPDX-License-Identifier: Apache-2.0
"""Which lineage the database has, and how old it is."""

import datetime
from typing import Any

import pytest
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import schema
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
            connection.execute(sa.delete(schema.lineages))
            connection.execute(
                sa.insert(schema.lineages).values(
                    uuid='ours',
                    generation=7,
                    stamp='a-stamp',
                    advanced_at=datetime.datetime(2026, 1, 2),
                    stopped='',
                )
            )
        return Lineage(engine)

    def test_advance_is_a_compare_and_swap(self, aged):
        first = aged.generations.age().mark
        assert (first.lineage, first.generation) == ('ours', 7)
        second = aged.generations.advance(first)
        assert (second.lineage, second.generation) == ('ours', 8)
        assert second.stamp != first.stamp
        assert aged.generations.age().mark == second
        with pytest.raises(errors.RowMoved):
            aged.generations.advance(first)
        assert aged.generations.age().mark == second

    def test_advance_notes_when_by_the_database_s_clock(self, aged):
        before = aged.now()
        aged.generations.advance(aged.generations.age().mark)
        advanced_at = aged.generations.age().advanced_at
        assert before <= advanced_at <= aged.now()

    def test_advance_reaches_what_is_asked_for(self, aged):
        assert (
            aged.generations.advance(
                aged.generations.age().mark, 100
            ).generation
            == 100
        )
        assert (
            aged.generations.advance(aged.generations.age().mark, 5).generation
            == 101
        )

    def test_reason_is_recorded_until_it_is_over(self, aged):
        aged.generations.note_stopped('a reason')
        assert aged.generations.age().stopped == 'a reason'
        aged.generations.note_stopped('x' * 5000)
        aged.generations.note_stopped('')
        assert aged.generations.age().stopped == ''

    def test_marked_pools_are_remembered_by_cluster(self, aged):
        for _twice in range(2):
            aged.generations.note_marked_pool('a-cluster', 'vms')
        aged.generations.note_marked_pool('another', 'fast')
        assert aged.generations.marked_pools('a-cluster') == {'vms'}
        assert aged.generations.marked_pools('unheard-of') == set()


class TestAdoptTagged(claims.Claims):
    @pytest.fixture
    def adopt(self, lineage: Lineage, parent: Any) -> Any:
        def call(of: Any = parent, kind: Kind = Kind.DISK, **how: Any):
            image = Image(claims.FSID, 'vms', '', 'a_disk', 'rbd-id')
            made_at = claims.FACTS.created_at
            facts = ImageFacts(
                image, claims.GIB, None, 'the-tag', made_at, made_at
            )
            return lineage.adoption.adopt_tagged(
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
        assert lineage.pending.reapable(10) == [clone]

    def test_a_parent_on_its_way_out_takes_no_child(
        self, lineage, adopt, parent
    ):
        lineage.parent_release.releasing(parent)
        with pytest.raises(errors.ParentReleased):
            adopt()

    def test_a_base_that_lost_its_row_goes_when_nobody_needs_it(
        self, lineage, adopt
    ):
        clone = adopt(of=None, kind=Kind.BASE, glance_image_id='glance')
        for _twice in range(2):
            lineage.base_images.adopt_base(clone)
        (base,) = lineage.base_images.childless_bases(0, 10)
        assert base.clone.uuid == clone.uuid
        lineage.base_images.drop_base(base, 'nobody needs it')
        (row,) = lineage.clones.page(Filters(uuid=clone.uuid))
        assert row.state is State.DELETING

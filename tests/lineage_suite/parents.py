# SPDX-License-Identifier: Apache-2.0
"""What is claimed of the rows of parents."""

import dataclasses
import functools

import pytest

from rbdcloner import errors
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.states import ParentState
from tests.lineage_suite.claims import FACTS
from tests.lineage_suite.claims import GIB
from tests.lineage_suite.claims import Claims
from tests.lineage_suite.claims import finish
from tests.lineage_suite.claims import seen
from tests.lineage_suite.claims import snapshot


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

    def test_what_is_released_is_not_protected(self, lineage, parent):
        lineage.releasing(parent)
        with pytest.raises(errors.ParentReleased):
            lineage.protected_by(parent, Protector.SERVICE)

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

    def test_active_parents_are_read_page_by_page(self, lineage, parent):
        adopted = [parent]
        for id_, pool in (('def', 'images'), ('ghi', 'fast'), ('jkl', 'fast')):
            facts = snapshot(id=id_, pool=pool)
            adopted.append(lineage.adopt(facts, 'g', Protector.NOBODY))
        planned = lineage.plan_snapshot(
            parent.snapshot.image,
            'made',
            Purpose.GLANCE,
            Protector.NOBODY,
            size_bytes=GIB,
        )
        lineage.released(lineage.releasing(adopted[1]))
        lineage.releasing(adopted[3])
        first, second = adopted[0], adopted[2]
        read = functools.partial(lineage.active_parents, Purpose.ADOPTED)
        assert read() == [first, second]
        assert read(limit=1) == [first]
        assert read(marker=first.id) == [second]
        assert read(marker=second.id) == []
        assert read('fast') == [second]
        assert lineage.active_parents(Purpose.GLANCE) == []
        facts = seen(parent.snapshot.image, 'made', 8)
        made = lineage.made_snapshot(planned, facts)
        assert lineage.active_parents(Purpose.GLANCE) == [made]
        assert read() == [first, second]

    def test_a_parent_of_many_is_crowded(self, lineage, parent, reserve):
        other = lineage.adopt(snapshot(id='def'), 'g', Protector.NOBODY)
        clones = [reserve(name=f'disk{number}') for number in range(3)]
        reserve(name='alone', of=other)
        assert lineage.crowded(2) == [(parent, 3)]
        assert lineage.crowded(0) == [(parent, 3), (other, 1)]
        assert lineage.crowded(3) == []
        finish(lineage, clones[0])
        lineage.detach(clones[1])
        assert lineage.crowded(0) == [(parent, 1), (other, 1)]

# SPDX-License-Identifier: Apache-2.0
"""What is claimed of disks that callers write, and that others made."""

import dataclasses
from typing import Any
import uuid

import pytest

from rbdcloner import errors
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.states import State
from tests.lineage_suite.claims import EXPIRED
from tests.lineage_suite.claims import FACTS
from tests.lineage_suite.claims import FSID
from tests.lineage_suite.claims import GIB
from tests.lineage_suite.claims import REQUEST
from tests.lineage_suite.claims import Claims
from tests.lineage_suite.claims import count
from tests.lineage_suite.claims import finish
from tests.lineage_suite.claims import found
from tests.lineage_suite.claims import retire
from tests.lineage_suite.claims import together

NAMED = Image(FSID, 'vms', '', 'a_disk')


class TestImport(Claims):
    @pytest.fixture
    def begin(self, lineage: Lineage) -> Any:
        def call(call: str = '', lease_s: float = 30, **changes: Any) -> Clone:
            request = dataclasses.replace(
                REQUEST,
                image_id='',
                call=call or uuid.uuid4().hex,
                **changes,
            )
            return lineage.reserve_import(
                request, FSID, CloneFormat.V2, 'me', lease_s
            )

        return call

    def test_it_is_reserved_without_a_parent(self, lineage, begin):
        clone = begin()
        assert clone.image == NAMED
        assert (clone.parent, clone.attached) == (None, False)
        assert (clone.state, clone.fence) == (State.RESERVED, 1)
        assert clone.size_bytes == 2 * GIB
        assert clone.instance_uuid == 'instance'
        assert found(lineage) == clone

    def test_a_live_name_is_taken_and_nothing_is_noted(self, lineage, begin):
        begin()
        with pytest.raises(errors.DiskExists):
            begin(call='another')
        lineage.refuse_outdated(
            dataclasses.replace(NAMED, name='another'), '', 0
        )

    def test_one_call_makes_one_row(self, engine, lineage, begin):
        first = begin(call='a-call')
        importing = lineage.move(first, State.IMPORTING, image_id='i')
        lineage.move(importing, State.DELETING)
        with pytest.raises(errors.DiskExists):
            begin(call='a-call')
        assert count(engine) == 1

    def test_a_call_whose_row_failed_makes_another(self, lineage, begin):
        first = finish(lineage, begin(call='a-call', after=0))
        second = begin(call='a-call', after=0)
        assert first.uuid != second.uuid

    def test_executed_again_it_is_not_outdated_by_itself(self, lineage, begin):
        clone = begin(call='a-call', after=0)
        moved = lineage.move(
            clone, State.IMPORTING, image_id='i', after=0, call='a-call'
        )
        assert moved.state is State.IMPORTING

    def test_a_later_beginning_outdates_an_earlier_one(self, lineage, begin):
        clone = begin(call='a-call', after=0)
        request = dataclasses.replace(REQUEST, call='another', after=None)
        for _ in range(2):
            lineage.note_import(request, FSID)
        with pytest.raises(errors.CreationOutdated) as caught:
            lineage.move(
                clone, State.IMPORTING, image_id='i', after=0, call='a-call'
            )
        number = caught.value.kwargs['later']
        finish(lineage, clone)
        with pytest.raises(errors.CreationOutdated):
            begin(after=0)
        assert begin(after=number).state is State.RESERVED

    def test_a_deletion_outdates_it(self, lineage, begin):
        number = lineage.note_deletion('', Image(FSID, '', '', ''), 'instance')
        with pytest.raises(errors.CreationOutdated):
            begin(after=0)
        clone = begin(after=number)
        assert lineage.made_since(number, 'instance') == {clone.id}

    def test_of_many_at_once_with_one_call_one_is_made(self, engine, begin):
        came_of = together(*[lambda: begin(call='a-call')] * 4)
        made = [each for each in came_of if isinstance(each, Clone)]
        assert len(made) == 1
        assert count(engine) == 1

    def test_an_importing_row_waits_for_its_caller(self, lineage, begin):
        lineage.move(begin(), State.IMPORTING, image_id='i')
        assert lineage.abandoned(0, 10) == []

    def test_who_dies_finishing_leaves_it_to_the_next(self, lineage, begin):
        clone = lineage.move(begin(), State.IMPORTING, image_id='i')
        dead = lineage.hold(clone, 'the dead', EXPIRED)
        assert lineage.held() == [dead]
        assert lineage.late(0, 10) == []
        held = lineage.hold(clone, 'me', 30, shut_out=[])
        ready = lineage.move(held, State.READY, size_bytes=5 * GIB)
        assert (ready.size_bytes, ready.image.id) == (5 * GIB, 'i')
        with pytest.raises(errors.RowMoved):
            lineage.move(dead, State.READY)


class TestAdoptDisk(Claims):
    @pytest.fixture
    def adopt(self, lineage: Lineage, parent: Any) -> Any:
        def call(image_id: str = 'rbd-id', of: Any = parent, **changes: Any):
            facts = ImageFacts(
                dataclasses.replace(NAMED, id=image_id),
                3 * GIB,
                None,
                '',
                FACTS.created_at,
                FACTS.created_at,
            )
            request = dataclasses.replace(REQUEST, **changes)
            return lineage.adopt_disk(facts, request, of, CloneFormat.V1)

        return call

    def test_the_row_is_ready_and_nobodys(self, lineage, adopt, parent):
        clone = adopt()
        assert found(lineage) == clone
        assert clone.image == dataclasses.replace(NAMED, id='rbd-id')
        assert (clone.parent, clone.attached) == (parent, True)
        assert (clone.state, clone.lease_expires_at) == (State.READY, None)
        assert clone.size_bytes == 3 * GIB
        assert clone.clone_format is CloneFormat.V1

    def test_it_needs_no_parent(self, lineage, adopt):
        clone = adopt(of=None)
        assert (clone.parent, clone.attached) == (None, False)
        assert found(lineage) == clone

    def test_a_live_name_and_an_image_with_a_row_are_taken(
        self, lineage, adopt
    ):
        clone = adopt()
        with pytest.raises(errors.DiskExists):
            adopt(image_id='another')
        retire(lineage, clone)
        with pytest.raises(errors.DiskExists):
            adopt()
        assert adopt(image_id='another').state is State.READY

    def test_of_many_at_once_one_is_made(self, engine, adopt):
        together(*[adopt] * 4)
        assert count(engine) == 1

    def test_a_parent_on_its_way_out_takes_no_child(
        self, lineage, engine, adopt, parent
    ):
        lineage.releasing(parent)
        with pytest.raises(errors.ParentReleased):
            adopt()
        assert count(engine) == 0

    def test_a_parent_with_an_adopted_child_is_not_released(
        self, lineage, adopt, parent
    ):
        adopt()
        with pytest.raises(errors.ParentHasChildren):
            lineage.releasing(parent)

    def test_a_deletion_outdates_it(self, lineage, adopt):
        number = lineage.note_deletion('', NAMED)
        with pytest.raises(errors.CreationOutdated):
            adopt(after=0)
        clone = adopt(after=number)
        lineage.refuse_outdated(NAMED, 'instance', number)
        assert lineage.made_since(number, 'instance') == {clone.id}

# SPDX-License-Identifier: Apache-2.0
"""What is claimed of images that are deleted before their children."""

import dataclasses
import time

import pytest

from rbdcloner import errors
from rbdcloner.db import tables
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Filters
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.lineage_suite.claims import EXPIRED
from tests.lineage_suite.claims import FACTS
from tests.lineage_suite.claims import FSID
from tests.lineage_suite.claims import GIB
from tests.lineage_suite.claims import Claims
from tests.lineage_suite.claims import count
from tests.lineage_suite.claims import finish
from tests.lineage_suite.claims import found
from tests.lineage_suite.claims import put
from tests.lineage_suite.claims import retire
from tests.lineage_suite.claims import seen

GLANCE_IMAGE = FACTS.snapshot.image


class TestReserveImage(Claims):
    @pytest.mark.parametrize(
        ('clone_format', 'protector'),
        [
            (CloneFormat.V1, Protector.SERVICE),
            (CloneFormat.V2, Protector.NOBODY),
        ],
    )
    def test_a_reservation_holds_the_image_and_its_edge(
        self, lineage, ready, clone_format, protector
    ):
        disk = ready()
        clone = lineage.reserve_image(
            disk, 'image', 'images', clone_format, 'me', 30
        )
        assert clone.kind is Kind.IMAGE
        assert clone.image == Image(FSID, 'images', '', 'image', '')
        assert clone.size_bytes == disk.size_bytes
        assert clone.clone_format is clone_format
        assert clone.glance_image_id == 'image'
        assert clone.instance_uuid == 'instance'
        assert (clone.project_id, clone.host) == ('project', 'host')
        assert (clone.state, clone.attached) == (State.RESERVED, True)
        assert (clone.owner, clone.fence) == ('me', 1)
        assert clone.lease_expires_at > clone.created_at
        assert clone == lineage.find(FSID, 'images', '', 'image')
        edge = clone.parent
        assert edge.snapshot.image == disk.image
        assert edge.snapshot.name == f'rbdcloner-{clone.uuid}'
        assert edge.snapshot.id is None
        assert (edge.size_bytes, edge.order) == (disk.size_bytes, 0)
        assert (edge.purpose, edge.protector) == (Purpose.EDGE, protector)
        assert edge.state is ParentState.PLANNED
        assert (edge.glance_image_id, edge.depth) == ('', 0)

    def test_a_taken_name_leaves_no_edge(self, lineage, ready, image_of):
        disk = ready()
        image_of(disk)
        known = lineage.parents()
        with pytest.raises(errors.DiskExists):
            image_of(disk)
        assert lineage.parents() == known

    def test_a_disk_that_is_not_ready_gets_no_image(
        self, lineage, ready, image_of
    ):
        disk = ready()
        lineage.move(disk, State.DELETING)
        with pytest.raises(errors.RowMoved):
            image_of(disk)
        assert len(lineage.parents()) == 1

    def test_a_ready_disk_that_was_held_meanwhile_gets_one(
        self, lineage, ready, image_of
    ):
        disk = ready()
        lineage.hold(disk, 'other', 30)
        assert image_of(disk).parent.snapshot.image == disk.image


class TestRestore(Claims):
    def test_a_retired_row_has_its_name_again(self, lineage, ready):
        retired = retire(lineage, ready())
        lineage.move(retired, State.RESTORING)
        assert found(lineage).state is State.RESTORING
        with pytest.raises(errors.DiskExists):
            ready()

    def test_a_name_that_was_taken_is_not_given_back(self, lineage, ready):
        retired = retire(lineage, ready())
        ready()
        with pytest.raises(errors.DiskExists):
            lineage.move(retired, State.RESTORING)
        assert retired in lineage.page(Filters())


class TestAdoptImage(Claims):
    def test_an_adopted_image_is_being_deleted(self, lineage, engine):
        clone = lineage.adopt_image(GLANCE_IMAGE, 'g', GIB, CloneFormat.V1)
        assert clone.kind is Kind.ADOPTED
        assert clone.image == GLANCE_IMAGE
        assert clone.glance_image_id == 'g'
        assert (clone.size_bytes, clone.clone_format) == (GIB, CloneFormat.V1)
        assert (clone.parent, clone.attached) == (None, False)
        assert (clone.state, clone.lease_expires_at) == ('deleting', None)
        assert count(engine, tables.clones.c.live == 1) == 1
        assert lineage.find_by_image(GLANCE_IMAGE) == clone
        assert lineage.abandoned(0, 10) == [clone]

    def test_adopting_again_returns_the_row_as_it_is(self, lineage):
        first = lineage.adopt_image(GLANCE_IMAGE, 'g', GIB, CloneFormat.V2)
        again = lineage.adopt_image(GLANCE_IMAGE, 'g', GIB, CloneFormat.V2)
        assert again == first
        retired = lineage.move(first, State.RETIRED)
        again = lineage.adopt_image(GLANCE_IMAGE, 'g', GIB, CloneFormat.V2)
        assert again == retired
        ended = lineage.move(retired, State.DELETED)
        again = lineage.adopt_image(GLANCE_IMAGE, 'g', GIB, CloneFormat.V2)
        assert again == ended

    def test_an_image_that_we_made_is_not_adopted(
        self, lineage, ready, image_of
    ):
        image = image_of(ready())
        adopted = lineage.adopt_image(image.image, 'g', GIB, CloneFormat.V2)
        assert adopted == lineage.find_by_image(image.image)
        assert adopted.kind is Kind.IMAGE

    def test_an_image_without_an_id_is_not_adopted(self, lineage, engine):
        nobody = dataclasses.replace(GLANCE_IMAGE, id='')
        with pytest.raises(ValueError, match='no id'):
            lineage.adopt_image(nobody, 'g', GIB, CloneFormat.V2)
        assert count(engine) == 0

    @pytest.mark.parametrize('taken', [False, True])
    def test_a_trashed_image_is_retired(self, lineage, reserve, taken):
        other = reserve(name='an-image', pool='images') if taken else None
        clone = lineage.adopt_image(
            GLANCE_IMAGE, 'g', GIB, CloneFormat.V2, trashed=True
        )
        assert clone.state is State.RETIRED
        assert lineage.find_by_image(GLANCE_IMAGE) == clone
        named = lineage.find(FSID, 'images', '', 'an-image')
        assert named == (other or clone)

    def test_a_name_of_another_row_is_not_taken(self, lineage, reserve):
        reserve(name='an-image', pool='images')
        with pytest.raises(errors.DiskExists):
            lineage.adopt_image(GLANCE_IMAGE, 'g', GIB, CloneFormat.V2)


class TestTree(Claims):
    @pytest.mark.parametrize(
        'changes',
        [{'fsid': 'f'}, {'pool': 'p'}, {'namespace': 'n'}, {'id': 'ID'}],
    )
    def test_a_row_is_found_by_its_image_alone(self, lineage, ready, changes):
        disk = ready()
        renamed = dataclasses.replace(disk.image, name='other')
        assert lineage.find_by_image(renamed) == disk
        other = dataclasses.replace(disk.image, **changes)
        assert lineage.find_by_image(other) is None

    def test_a_final_row_is_nobodys_image(self, lineage, ready):
        retired = retire(lineage, ready())
        assert lineage.find_by_image(retired.image) == retired
        ended = lineage.move(retired, State.DELETED)
        assert lineage.find_by_image(ended.image) is None

    def test_a_chain_goes_up_to_what_is_nobodys_row(
        self, lineage, ready, image_of
    ):
        disk = ready()
        image = image_of(disk)
        snap = lineage.snapshots_of(image.image)[0]
        second = ready('second', of=snap)
        edge = image_of(second, 'another').parent
        rows = [lineage.find_by_image(c.image) for c in (second, image, disk)]
        assert lineage.chain(edge) == rows
        assert lineage.chain(snap) == rows[1:]
        assert lineage.chain(disk.parent) == []
        retire(lineage, image)
        assert [row.id for row in lineage.chain(edge)] == [r.id for r in rows]
        lineage.detach(image)
        assert len(lineage.chain(edge)) == 2

    def test_a_chain_ends(self, lineage, engine, ready, image_of):
        disk = ready()
        image = image_of(disk)
        snap = lineage.snapshots_of(image.image)[0]
        put(engine, disk, parent_id=snap.id)
        assert len(lineage.chain(snap)) == 64

    def test_a_detached_child_keeps_all_but_its_need(
        self, lineage, ready, parent
    ):
        disk = lineage.hold(ready(), 'me', 30)
        detached = lineage.detach(disk)
        assert detached == found(lineage)
        assert (
            dataclasses.replace(
                detached, attached=True, updated_at=disk.updated_at
            )
            == disk
        )
        assert lineage.detach(disk) == detached
        assert lineage.releasing(parent).state is ParentState.RELEASING

    def test_only_attached_children_are_children(
        self, lineage, reserve, ready, parent
    ):
        assert not lineage.has_children(parent)
        one, other = reserve(name='one'), ready('other')
        assert lineage.has_children(parent)
        finish(lineage, one)
        assert lineage.has_children(parent)
        retired = retire(lineage, other)
        assert lineage.has_children(parent)
        with pytest.raises(errors.ParentHasChildren, match='other'):
            lineage.releasing(parent)
        lineage.detach(retired)
        assert not lineage.has_children(parent)


class TestReapable(Claims):
    def test_a_retired_image_waits_for_its_last_child(
        self, lineage, ready, image_of
    ):
        disk = ready()
        image = image_of(disk)
        snap = lineage.snapshots_of(image.image)[0]
        child = ready('child', of=snap)
        assert lineage.reapable(10) == lineage.waiting() == []
        retired = retire(lineage, disk)
        assert (lineage.reapable(10), lineage.waiting()) == ([], [retired])
        middle = retire(lineage, image)
        assert lineage.waiting() == [retired, _now(lineage, middle)]
        assert lineage.waiting(retired.id, 1) == [_now(lineage, middle)]
        leaf = retire(lineage, child)
        assert lineage.reapable(10) == [_now(lineage, leaf)]
        lineage.move(leaf, State.DELETED)
        assert lineage.reapable(10) == [_now(lineage, middle)]
        lineage.move(middle, State.DELETED)
        assert lineage.reapable(10) == [retired]
        assert lineage.waiting() == []

    def test_an_image_with_a_flattened_child_is_reapable(
        self, lineage, reserve
    ):
        clone = lineage.adopt_image(
            GLANCE_IMAGE, 'g', GIB, CloneFormat.V2, trashed=True
        )
        child = reserve()
        assert (lineage.reapable(1), lineage.waiting()) == ([], [clone])
        lineage.detach(child)
        assert (lineage.reapable(1), lineage.waiting()) == ([clone], [])

    def test_a_child_of_any_snapshot_keeps_its_image(
        self, lineage, reserve, parent
    ):
        second = lineage.adopt(
            seen(GLANCE_IMAGE, 'second', 9), 'g', Protector.NOBODY
        )
        clone = lineage.adopt_image(
            GLANCE_IMAGE, 'g', GIB, CloneFormat.V2, trashed=True
        )
        finish(lineage, reserve())
        child = reserve(name='child', of=second)
        assert lineage.reapable(1) == []
        finish(lineage, child)
        assert lineage.reapable(1) == [clone]

    def test_what_is_held_or_pauses_is_not_reapable(self, lineage, ready):
        retired = retire(lineage, ready())
        held = lineage.hold(retired, 'me', 30)
        assert lineage.reapable(10) == []
        lineage.let_go(held, 'why')
        assert lineage.reapable(10) == []
        time.sleep(1.1)
        assert lineage.reapable(10) == [found(lineage)]
        lineage.hold(held, 'me', EXPIRED)
        assert lineage.reapable(10) == [found(lineage)]

    def test_the_longest_untouched_come_first(self, lineage, ready):
        first = retire(lineage, ready('first'))
        second = retire(lineage, ready('second'))
        time.sleep(0.01)
        lineage.hold(first, 'me', EXPIRED)
        assert [c.id for c in lineage.reapable(10)] == [second.id, first.id]
        assert lineage.reapable(1) == [second]

    def test_the_bytes_of_a_retired_image_are_noted(self, lineage, ready):
        disk = ready()
        lineage.note_held_bytes(disk, 5)
        assert found(lineage).held_bytes is None
        retired = retire(lineage, disk)
        lineage.note_held_bytes(retired, 5)
        noted = dataclasses.replace(retired, held_bytes=5)
        assert lineage.page(Filters(states=[State.RETIRED])) == [noted]

    def test_a_retired_row_is_not_abandoned(self, lineage, ready):
        retire(lineage, ready())
        assert lineage.abandoned(0, 10) == []


def _now(lineage: Lineage, clone: Clone) -> Clone:
    """Return what the row of *clone* says; its edge was made meanwhile."""
    (now,) = lineage.page(Filters(uuid=clone.uuid))
    return now

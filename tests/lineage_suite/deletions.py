# SPDX-License-Identifier: Apache-2.0
"""What is claimed of deletions and of creations that come too late."""

import dataclasses
import datetime
import uuid

import pytest

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.states import State
from tests.lineage_suite.claims import FSID
from tests.lineage_suite.claims import Claims
from tests.lineage_suite.claims import retire
from tests.lineage_suite.claims import together

DISK = Image(FSID, 'vms', '', 'a_disk')
ALL = Image(FSID, '', '', '')


class TestDeletion(Claims):
    @pytest.fixture
    def delete(self, lineage):
        def call(name='call'):
            return lineage.note_deletion(name, DISK)

        return call

    def test_each_has_a_greater_number(self, lineage, delete):
        first = delete('first')
        lineage.forget_deletions(-1)
        assert first < delete('second') < lineage.note_deletion('', DISK)

    def test_repeated_it_has_the_same_number(self, delete):
        assert delete() == delete()

    def test_a_creation_that_does_not_know_of_it_is_refused(
        self, delete, reserve
    ):
        number = delete()
        with pytest.raises(errors.CreationOutdated) as refused:
            reserve(after=0)
        assert refused.value.kwargs['later'] == number
        assert reserve(after=number).state is State.RESERVED

    def test_who_does_not_say_what_he_knows_is_not_refused(
        self, delete, reserve
    ):
        delete()
        assert reserve().state is State.RESERVED

    @pytest.mark.parametrize(
        'changes',
        [
            {'name': 'a_disk '},
            {'name': 'A_disk'},
            {'pool': 'others'},
        ],
    )
    def test_it_concerns_nothing_else(self, delete, reserve, changes):
        delete()
        assert reserve(after=0, **changes).state is State.RESERVED

    def test_it_concerns_all_disks_of_an_instance(self, lineage, reserve):
        number = lineage.note_deletion('call', ALL, 'instance')
        for name in 'a_disk', 'another':
            with pytest.raises(errors.CreationOutdated) as refused:
                reserve(name=name, after=0)
            assert refused.value.kwargs['later'] == number
        assert reserve(after=0, instance_uuid='other')

    def test_it_concerns_an_image_of_its_name_only(self, lineage, ready):
        disk = ready()
        lineage.note_deletion('one', ALL, disk.instance_uuid)
        given = (disk, 'image', 'images', disk.clone_format, 'me', 30)
        image = lineage.reserve_image(*given, after=0)
        image = lineage.move(image, State.READY, image_id='i', after=0)
        retire(lineage, image)
        lineage.note_deletion('two', image.image)
        with pytest.raises(errors.CreationOutdated):
            lineage.reserve_image(*given, after=0)
        assert image.kind is Kind.IMAGE

    def test_what_was_reserved_before_it_is_not_delivered(
        self, delete, lineage, reserve
    ):
        clone = reserve(after=0)
        number = delete()
        with pytest.raises(errors.CreationOutdated):
            lineage.move(clone, State.READY, image_id='i', after=0)
        ready = lineage.move(clone, State.READY, image_id='i', after=number)
        assert ready.state is State.READY

    def test_it_finds_the_live_row(self, delete, lineage, ready):
        clone = ready()
        assert lineage.find_deleted(DISK, delete()) == clone

    def test_it_finds_what_was_deleted_before(self, delete, lineage, ready):
        gone = retire(lineage, ready())
        assert lineage.find_deleted(DISK, delete()).uuid == gone.uuid

    def test_it_spares_what_was_made_by_who_knew(self, delete, lineage, ready):
        gone = retire(lineage, ready())
        number = delete()
        again = ready(after=number)
        assert lineage.find_deleted(DISK, number).uuid == gone.uuid
        assert lineage.made_since(number, 'instance') == {again.id}
        later = lineage.note_deletion('later', DISK)
        assert lineage.find_deleted(DISK, later) == again
        assert lineage.made_since(later, 'instance') == set()

    def test_it_finds_nothing_where_there_never_was_anything(
        self, delete, lineage
    ):
        with pytest.raises(errors.DiskNotFound):
            lineage.find_deleted(DISK, delete())

    def test_it_begins_with_a_ready_row(self, lineage, ready):
        ready()
        given = ('call', DISK, Kind.DISK, 'me', 30)
        begun = lineage.begin_deletion(*given)
        assert (begun.state, begun.owner) == (State.DELETING, 'me')
        assert lineage.begin_deletion(*given) is None
        assert lineage.find_deleted(DISK, lineage.note_deletion('call', DISK))

    def test_an_instances_ready_disks_begin_with_it(
        self, lineage, ready, reserve
    ):
        first = ready()
        ready('b_disk.swap')
        reserve(name='c_disk')
        given = ('call', FSID, first.instance_uuid)
        begun, number = lineage.begin_deletions(*given, '_disk', 'me', 30)
        assert [each.id for each in begun] == [first.id]
        assert (begun[0].state, begun[0].owner) == (State.DELETING, 'me')
        assert lineage.begin_deletions(*given, '', 'me', 30) is None
        assert lineage.note_deletion(*given[:1], ALL, given[2]) == number

    def test_it_does_not_begin_with_any_other(self, lineage, ready, reserve):
        number = lineage.note_deletion('first', DISK)
        given = (DISK, Kind.DISK, 'me', 30)
        assert lineage.begin_deletion('one', *given) is None
        clone = reserve()
        assert lineage.begin_deletion('two', *given) is None
        lineage.move(clone, State.READY, image_id='i')
        image = (DISK, Kind.IMAGE, 'me', 30)
        assert lineage.begin_deletion('three', *image) is None
        assert lineage.note_deletion('two', DISK) > number
        assert lineage.begin_deletion('four', *given)

    def test_it_is_forgotten_in_time(self, delete, lineage, reserve):
        delete()
        assert lineage.forget_deletions(3600) == 0
        with pytest.raises(errors.CreationOutdated):
            reserve(after=0)
        assert lineage.forget_deletions(-1) == 1
        assert reserve(after=0)

    def test_creation_and_deletion_at_once_never_miss_each_other(
        self, lineage, reserve, rounds
    ):
        for number in range(rounds):
            name = f'disk{number}'
            image = dataclasses.replace(DISK, name=name)

            def create(name=name):
                clone = reserve(name=name, after=0)
                return lineage.move(clone, State.READY, after=0, image_id='i')

            def delete(image=image):
                deletion = lineage.note_deletion('', image)
                return lineage.find_deleted(image, deletion)

            created, deleted = together(create, delete)
            seen = (
                not isinstance(deleted, Exception)
                and deleted.state in states.LIVE
            )
            assert seen or isinstance(created, errors.CreationOutdated)


class TestDeferral(Claims):
    """A deletion that came while the database did not know every disk."""

    @pytest.fixture
    def order(self, lineage):
        """Return which call is to delete DISK, made before or after *now*."""

        def call(made_after_s=-60, image=DISK, instance='instance'):
            made_at = lineage.now() + datetime.timedelta(seconds=made_after_s)
            found = lineage.deferred_order(image, instance, made_at)
            return found and found.request

        return call

    def test_it_concerns_what_was_made_before_it(self, lineage, order):
        lineage.defer_deletion(lineage.note_deletion('call', DISK))
        assert order() == 'call'
        assert order(60) is None

    def test_what_was_not_deferred_concerns_nothing(self, lineage, order):
        lineage.note_deletion('call', DISK)
        assert order() is None

    def test_of_an_instance_it_concerns_the_disks_that_end_so(
        self, lineage, order
    ):
        number = lineage.note_deletion('call', ALL, 'instance')
        for _ in range(2):
            lineage.defer_deletion(number, 'k.rescue')
        assert order() is None
        rescue = dataclasses.replace(DISK, name='a_disk.rescue')
        assert order(image=rescue) == 'call'
        assert order(image=rescue, instance='another') is None

    def test_it_is_not_forgotten_until_it_has_ended(self, lineage, order):
        lineage.defer_deletion(lineage.note_deletion('call', DISK))
        assert lineage.forget_deletions(-1) == 0
        lineage.end_deferrals()
        assert order() is None
        assert lineage.forget_deletions(-1) == 1

    def test_adopted_disk_is_to_be_deleted(self, lineage):
        lineage.defer_deletion(lineage.note_deletion('call', DISK))
        made_at = lineage.now() - datetime.timedelta(seconds=60)
        facts = ImageFacts(
            dataclasses.replace(DISK, id='i'),
            2**20,
            None,
            str(uuid.uuid4()),
            made_at,
            made_at,
            delivered=True,
        )
        adopted = lineage.adopt_tagged(
            facts, Kind.DISK, None, CloneFormat.V2, trashed=False
        )
        assert adopted.state is State.DELETING
        warrant = lineage.warrant_of(adopted)
        assert (warrant.order, warrant.request) == (Order.CALLER, 'call')

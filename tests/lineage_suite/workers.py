# SPDX-License-Identifier: Apache-2.0
"""What is claimed of the worker processes."""

import datetime
import functools

import pytest
import sqlalchemy as sa

from rbdcloner.db import tables
from rbdcloner.db import workers
from rbdcloner.model import FlattenReason
from rbdcloner.states import State
from tests.lineage_suite.claims import EXPIRED
from tests.lineage_suite.claims import THREADS
from tests.lineage_suite.claims import Claims
from tests.lineage_suite.claims import together

WEEK_S = 7 * 24 * 3600


class Workers(Claims):
    @pytest.fixture
    def register(self, lineage):
        def call(owner='me', host='host'):
            lineage.register_worker(owner, host, 42, '2.0', '1.2')

        return call

    @pytest.fixture
    def age(self, engine):
        """Have a worker be seen last that long ago."""

        def call(owner, seconds):
            table = tables.workers
            with engine.begin() as connection:
                mine = table.c.owner == owner
                seen = connection.scalars(
                    sa.select(table.c.seen_at).where(mine)
                ).one()
                seen -= datetime.timedelta(seconds=seconds)
                connection.execute(
                    sa.update(table)
                    .where(mine)
                    .values(seen_at=seen.replace(tzinfo=None))
                )

        return call


def owners(lineage):
    return [worker.owner for worker in lineage.workers()]


class TestWorker(Workers):
    def test_a_worker_is_what_it_said(self, lineage, register):
        register()
        (worker,) = lineage.workers()
        assert (worker.owner, worker.host, worker.pid) == ('me', 'host', 42)
        assert (worker.version, worker.rpc_version) == ('2.0', '1.2')
        assert (worker.addresses, worker.clock_offset_ms) == ((), 0)
        assert (worker.stopped_at, worker.shut_out_at) == (None, None)
        assert worker.started_at <= worker.seen_at <= worker.looked_at

    def test_one_that_knows_less_is_told_from_the_others(
        self, lineage, register, age
    ):
        assert not lineage.has_workers_before((1, 3))
        register()
        assert not lineage.has_workers_before((1, 2))
        assert lineage.has_workers_before((1, 3))
        assert lineage.has_workers_before((1, 10))
        age('me', 3600)
        assert not lineage.has_workers_before((1, 3))

    def test_times_are_by_the_database(self, lineage, register):
        before = lineage.now()
        register()
        (worker,) = lineage.workers()
        assert before <= worker.started_at <= worker.looked_at
        assert before <= lineage.now()

    def test_a_beat_is_seen(self, lineage, register, age):
        register()
        age('me', 60)
        assert lineage.beat('me', -1500)
        (worker,) = lineage.workers()
        assert worker.clock_offset_ms == -1500
        assert (worker.looked_at - worker.seen_at).total_seconds() < 30
        assert worker.started_at <= worker.seen_at

    def test_who_is_not_recorded_registers_again(self, lineage):
        assert not lineage.beat('me', 0)
        assert lineage.workers() == []

    def test_who_never_began_leaves_no_record(self, lineage, register):
        register()
        register('another')
        lineage.forget_worker('me')
        assert owners(lineage) == ['another']

    def test_registering_again_keeps_the_addresses(self, lineage, register):
        lineage.note_addresses('me', ['1.2.3.4:0/5'])
        register()
        register()
        (worker,) = lineage.workers()
        assert worker.addresses == ('1.2.3.4:0/5',)
        assert worker.host == 'host'

    def test_addresses_add_up(self, lineage, register):
        register()
        register('another')
        assert lineage.addresses_of('me') == ()
        lineage.note_addresses('me', ['a', 'b'])
        lineage.note_addresses('me', ['b', 'c'])
        assert lineage.addresses_of('me') == ('a', 'b', 'c')
        assert lineage.addresses_of('another') == ()
        assert lineage.addresses_of('nobody') == ()

    def test_no_address_is_lost_between_threads(self, lineage):
        """Also while nothing is recorded of the worker."""
        noted = [
            functools.partial(lineage.note_addresses, 'me', [f'address-{i}'])
            for i in range(THREADS)
        ]
        assert together(*noted) == [None] * THREADS
        assert len(lineage.addresses_of('me')) == THREADS
        assert len(lineage.workers()) == 1

    def test_what_came_after_a_look_is_not_shut_out(self, lineage, register):
        register()
        lineage.note_addresses('me', ['a', 'b'])
        seen = lineage.addresses_of('me')
        lineage.note_addresses('me', ['c'])
        lineage.shut_out('me', seen)
        assert lineage.addresses_of('me') == ('c',)
        (worker,) = lineage.workers()
        assert worker.started_at <= worker.shut_out_at

    def test_who_stops_says_so(self, lineage, register):
        register()
        register('another')
        lineage.worker_stopped('me')
        stopped = {w.owner: w.stopped_at for w in lineage.workers()}
        assert stopped['another'] is None
        assert stopped['me'] is not None

    def test_workers_come_by_host(self, lineage, register):
        for owner, host in (('1', 'b'), ('2', 'a'), ('3', 'b')):
            register(owner, host)
        assert owners(lineage) == ['2', '1', '3']

    def test_who_is_gone_for_long_is_forgotten(self, lineage, register, age):
        for owner in ('old', 'new'):
            register(owner)
        age('old', 2 * WEEK_S)
        assert lineage.forget_workers(WEEK_S) == 1
        assert owners(lineage) == ['new']

    def test_who_holds_something_is_not_forgotten(
        self, lineage, register, reserve, ready, age
    ):
        """Its addresses are needed by whoever takes it over."""
        for owner in ('clones', 'flattens', 'nothing'):
            register(owner)
            age(owner, 2 * WEEK_S)
        reserve('clones', EXPIRED)
        lineage.want_flatten(ready('another'), FlattenReason.DEPTH)
        lineage.next_flatten('flattens', EXPIRED, 1)
        assert lineage.forget_workers(WEEK_S) == 1
        assert owners(lineage) == ['clones', 'flattens']

    def test_without_the_table_nothing_happens(self, engine, lineage, ready):
        """Nor is anything in the way once it is there."""
        tables.workers.drop(engine)
        try:
            lineage.register_worker('me', 'host', 42, '2.0', '1.2')
            lineage.note_addresses('me', ['a'])
            lineage.shut_out('me', ['a'])
            lineage.worker_stopped('me')
            assert not lineage.beat('me', 0)
            assert not lineage.records_workers()
            assert lineage.workers() == []
            assert lineage.addresses_of('me') == ()
            assert lineage.forget_workers(0) == 0
            assert ready().state is State.READY
        finally:
            tables.workers.create(engine)
        assert lineage.records_workers()
        lineage.register_worker('me', 'host', 42, '2.0', '1.2')
        assert lineage.beat('me', 0)
        assert lineage.addresses_of('me') == ('a',)

    def test_who_was_forgotten_has_its_addresses_still(
        self, engine, lineage, register
    ):
        lineage.note_addresses('me', ['a', 'b'])
        with engine.begin() as connection:
            connection.execute(sa.delete(tables.workers))
        assert not lineage.beat('me', 0)
        register()
        assert lineage.addresses_of('me') == ('a', 'b')


class TestHeld(Workers):
    def test_what_is_held_is_found_while_it_is(self, lineage, reserve):
        """Also when its holder is late."""
        first, second = reserve(), reserve('you', EXPIRED, name='another')
        assert lineage.held() == [first, second]
        lineage.let_go(second, 'why')
        lineage.move(first, State.READY, image_id='id')
        assert lineage.held() == []

    def test_what_is_purged_is_held(self, lineage, ready):
        deleting = lineage.move(ready(), State.DELETING)
        retired = lineage.move(deleting, State.RETIRED, owner='me', lease_s=30)
        assert lineage.held() == [retired]

    def test_every_state_that_can_be_held_is_looked_at(self):
        assert set(workers._HELD) == set(State) - {
            State.READY,
            State.DELETED,
            State.FAILED,
        }

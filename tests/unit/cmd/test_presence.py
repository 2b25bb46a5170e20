# SPDX-License-Identifier: Apache-2.0
"""A worker's record, and what it says of clocks and versions."""

import datetime
import logging
import os
import time

import pytest
import sqlalchemy as sa

import rbdcloner
from rbdcloner import rpc
from rbdcloner.cmd import presence
from rbdcloner.db import tables

LEASE_S = 7.0
OURS = (rbdcloner.__version__, rpc.VERSION)


@pytest.fixture
def present(lineage):
    return presence.Presence(lineage, 'me', 'a-host', LEASE_S)


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, presence.__name__)

    def call():
        return [record.getMessage() for record in caplog.records]

    return call


def unseen(lineage, owner, seconds):
    """Have a worker be seen last that long ago."""
    seen = lineage.now() - datetime.timedelta(seconds=seconds)
    table = tables.workers
    with lineage.writer.begin() as connection:
        connection.execute(
            sa.update(table)
            .where(table.c.owner == owner)
            .values(seen_at=seen.replace(tzinfo=None))
        )


def only(lineage):
    (worker,) = lineage.workers()
    return worker


def test_a_worker_that_begins_is_recorded_and_alive(lineage, present):
    present.begin()
    try:
        worker = only(lineage)
        assert (worker.owner, worker.host) == ('me', 'a-host')
        assert worker.pid == os.getpid()
        assert (worker.version, worker.rpc_version) == OURS
        assert presence.is_alive(worker)
    finally:
        present.end()


def test_who_is_stopping_lives_until_it_ends(lineage, present):
    present.begin()
    present.stopping()
    present.beat()
    worker = only(lineage)
    assert worker.stopped_at is not None
    assert presence.is_alive(worker)
    present.end()
    worker = only(lineage)
    assert presence.has_ended(worker)
    assert not presence.is_alive(worker)


def test_who_was_killed_is_dead_after_a_while(lineage, present):
    present.beat()
    assert presence.is_alive(only(lineage))
    unseen(lineage, 'me', presence.DEAD_AFTER_S + 1)
    worker = only(lineage)
    assert not presence.is_alive(worker)
    assert not presence.has_ended(worker)


def test_a_database_that_is_down_does_not_keep_a_worker_from_ending(
    database, lineage, present, warnings
):
    present.begin()
    tables.Base.metadata.drop_all(lineage.writer)
    present.stopping()
    present.end()
    assert 'not recorded that this worker ends' in warnings()[-1]


def test_who_is_forgotten_registers_again(lineage, present):
    present.beat()
    with lineage.writer.begin() as connection:
        connection.execute(sa.delete(tables.workers))
    present.beat()
    assert only(lineage).host == 'a-host'


def test_the_long_gone_are_forgotten(lineage, present):
    lineage.register_worker('old', 'a-host', 1, *OURS)
    unseen(lineage, 'old', 8 * 24 * 3600)
    present.beat()
    present.look()
    assert only(lineage).owner == 'me'


@pytest.mark.parametrize('ahead_s', [-30, 30])
def test_a_clock_that_is_off_is_told_once(
    lineage, present, warnings, monkeypatch, ahead_s
):
    right = time.time
    # A test cannot set this host's clock.
    monkeypatch.setattr(time, 'time', lambda: right() + ahead_s)
    present.beat()
    present.beat()
    (said,) = warnings()
    side = 'ahead of' if ahead_s > 0 else 'behind'
    assert f"30.0 s {side} the database's" in said
    present.beat()
    assert abs(only(lineage).clock_offset_ms - 1000 * ahead_s) < 1000
    monkeypatch.setattr(time, 'time', right)
    present.beat()
    assert abs(only(lineage).clock_offset_ms) < 1000
    monkeypatch.setattr(time, 'time', lambda: right() + ahead_s)
    present.beat()
    assert len(warnings()) == 2


def test_a_clock_that_is_right_is_not_told(lineage, present, warnings):
    present.beat()
    assert warnings() == []


def test_a_manager_of_another_version_is_told_once(lineage, present, warnings):
    present.beat()
    lineage.register_worker('b', 'b-host', 1, '9.9', OURS[1])
    lineage.register_worker('b2', 'b-host', 2, '9.9', OURS[1])
    lineage.register_worker('c', 'c-host', 3, OURS[0], '9.0')
    lineage.register_worker('d', 'd-host', 4, *OURS)
    present.look()
    present.look()
    said = warnings()
    assert len(said) == 2
    assert said[0].startswith('The manager on b-host has version 9.9')
    assert said[1].startswith('The manager on c-host has version')
    assert 'RPC 9.0' in said[1]


def test_one_worker_of_a_host_speaks_for_all(lineage, warnings):
    for owner in ('one', 'two', 'three'):
        lineage.register_worker(owner, 'a-host', 1, *OURS)
    lineage.register_worker('b', 'b-host', 1, '9.9', OURS[1])
    for owner in ('one', 'two', 'three'):
        presence.Presence(lineage, owner, 'a-host', LEASE_S).look()
    assert len(warnings()) == 1


def test_who_is_dead_or_unknown_has_no_version(lineage, present, warnings):
    present.beat()
    lineage.register_worker('b', 'b-host', 1, '9.9', OURS[1])
    unseen(lineage, 'b', presence.DEAD_AFTER_S + 1)
    lineage.note_addresses('not registered yet', ['an-address'])
    present.look()
    assert warnings() == []

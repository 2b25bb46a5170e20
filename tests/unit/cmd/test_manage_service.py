# SPDX-License-Identifier: Apache-2.0
"""service list tells which managers there are, and what is wrong."""

import datetime
import json

import pytest
import sqlalchemy as sa

from rbdcloner.cmd import presence
from rbdcloner.cmd.manage import columns
from rbdcloner.db import migration
from rbdcloner.db import tables
from rbdcloner.model import CloneFormat
from rbdcloner.model import DiskRequest
from rbdcloner.model import FlattenReason
from tests.unit.cmd import conftest

LONG_S = presence.DEAD_AFTER_S + 100


@pytest.fixture
def add(lineage):
    """Record a worker: when it was seen, and what else its row says."""

    def call(owner, host='a-host', *, version='2.0', seen_s=0, **values):
        lineage.register_worker(owner, host, 42, version, '1.2')
        lineage.note_addresses(owner, [f'address-of-{owner}'])
        values['seen_at'] = ago(lineage, seen_s)
        values.setdefault('started_at', ago(lineage, seen_s + 3600))
        write(lineage, owner, **values)

    return call


def ago(lineage, seconds):
    then = lineage.now() - datetime.timedelta(seconds=seconds)
    return then.replace(tzinfo=None)


def write(lineage, owner, **values):
    statement = sa.update(tables.workers).values(**values)
    with lineage.writer.begin() as connection:
        connection.execute(statement.where(tables.workers.c.owner == owner))


def begin(lineage, parent):
    """Let a worker "me" make a disk."""
    request = DiskRequest(
        conftest.GLANCE_IMAGE, 'a_disk', 'vms', conftest.GIB,
        conftest.INSTANCE, 'a-project', 'node1',
    )  # fmt: skip
    return lineage.reserve(request, parent, CloneFormat.V2, 'me', 60)


def test_database_that_is_older_than_its_pools_is_told(database, lineage, add):
    add('me')
    lineage.note_stopped('the database is older than pool vms')
    ran = database.run('service', 'list')
    assert ran.code == 0
    assert 'the database is older than pool vms' in ran.err
    assert 'rbdcloner-manage db restored' in ran.err


def listed(database, *arguments):
    ran = database.run('service', 'list', '-f', 'json', *arguments)
    assert (ran.code, ran.err) == (0, '')
    return json.loads(ran.out)


def one(database, *arguments):
    (row,) = listed(database, *arguments)
    return row


def test_a_manager_is_one_row_of_its_workers(database, add):
    add('1', clock_offset_ms=-20)
    add('2', clock_offset_ms=-20)
    row = one(database)
    assert (row['host'], row['state'], row['up']) == ('a-host', 'up', 2)
    assert (row['versions'], row['rpc_versions']) == (['2.0'], ['1.2'])
    assert row['clock_offset_ms'] == -20
    assert row['seen_at'].endswith('Z')
    assert row['doing'] == []
    assert [w['owner'] for w in row['workers']] == ['1', '2']
    assert {w['pid'] for w in row['workers']} == {42}
    assert {w['state'] for w in row['workers']} == {'up'}
    ran = database.run('service', 'list')
    assert (ran.code, ran.err) == (0, '')
    assert '| a-host | up    | 2 up    | 2.0     | 1.2 |' in ran.out
    assert '-0.02 s' in ran.out
    assert ' s ago' in ran.out


def test_what_each_does_is_told(database, lineage, add):
    add('me')
    add('a-manager', 'b-host')
    parent = conftest.adopt(lineage)
    disk = begin(lineage, parent)
    other = conftest.make(lineage, parent, 'b_disk')
    lineage.want_flatten(other, FlattenReason.DEPTH)
    running = lineage.next_flatten('a-manager', 60, 1)
    lineage.flatten_progress(running, 2, 5, 60)
    rows = {row['host']: row['doing'] for row in listed(database)}
    (created,) = rows['a-host']
    assert created.startswith(f'create {disk.image} ')
    assert created.endswith(' s')
    assert rows['b-host'] == ['flatten vms/b_disk 40 %']
    assert 'flatten vms/b_disk 40 %' in database.run('service', 'list').out


def test_who_is_not_seen_is_down_and_what_he_left_is_told(
    database, lineage, add
):
    add('me', seen_s=LONG_S)
    begin(lineage, conftest.adopt(lineage))
    with lineage.writer.begin() as connection:
        late = sa.update(tables.clones).values(
            lease_expires_at=ago(lineage, 180)
        )
        connection.execute(late)
    row = one(database)
    assert (row['state'], row['up']) == ('down', 0)
    assert row['doing'][0].endswith(', left 3 min ago')
    ran = database.run('service', 'list')
    assert ran.code == 0
    assert '1 down' in ran.out
    assert '2 min ago' in ran.out
    assert ran.err.startswith('a-host is down, last seen 20')
    assert ran.err.count('\n') == 1


def test_a_dead_worker_is_missed_until_another_takes_its_place(
    database, lineage, add
):
    add('killed', seen_s=LONG_S)
    add('lives')
    assert one(database)['up'] == 1
    assert '1 up, 1 down' in database.run('service', 'list').out
    add('new', started_at=ago(lineage, LONG_S - 1))
    assert [w['owner'] for w in one(database)['workers']] == ['lives', 'new']
    assert len(one(database, '--all')['workers']) == 3


def test_who_was_stopped_is_shown_only_to_those_who_ask(
    database, lineage, add
):
    add('me')
    lineage.worker_stopped('me')
    ran = database.run('service', 'list')
    assert ran.code == 3
    assert ran.err == 'No manager runs; --all shows those that were stopped.\n'
    assert one(database, '--all')['state'] == 'stopped'


def test_who_is_stopping_is_told(database, lineage, add):
    add('me', stopped_at=ago(lineage, 30))
    assert one(database)['state'] == 'stopping'


def test_who_died_while_stopping_is_down(database, lineage, add):
    add('me', seen_s=LONG_S, stopped_at=ago(lineage, LONG_S + 5))
    assert one(database)['state'] == 'down'


def test_who_is_shut_out_is_told_until_it_connects_anew(
    database, lineage, add
):
    add('me')
    lineage.shut_out('me', ['address-of-me'])
    row = one(database)
    assert row['state'] == 'shut out'
    assert row['workers'][0]['shut_out_at'].endswith('Z')
    assert 'is shut out, last seen' in database.run('service', 'list').err
    lineage.note_addresses('me', ['another'])
    assert one(database)['state'] == 'up'


def test_a_clock_that_is_off_is_said(database, add):
    add('1', 'a-host', clock_offset_ms=2100)
    add('2', 'b-host', clock_offset_ms=-90000)
    add('3', 'c-host', clock_offset_ms=1900)
    assert database.run('service', 'list').err.splitlines() == [
        "The clock of a-host is 2.1 s ahead of the database's: see that NTP "
        'keeps both.',
        "The clock of b-host is 90 s behind the database's: see that NTP "
        'keeps both.',
    ]


def test_different_versions_are_said(database, lineage, add):
    add('1', 'a-host')
    add('2', 'b-host', version='2.1')
    ran = database.run('service', 'list')
    assert 'different versions' in ran.err
    lineage.worker_stopped('1')
    assert database.run('service', 'list').err == ''


def test_who_works_and_is_not_recorded_is_shown(database, lineage, add):
    """As a manager of the release before."""
    add('you')
    begin(lineage, conftest.adopt(lineage))
    known, unknown = listed(database)
    assert known['doing'] == []
    assert (unknown['host'], unknown['state']) == ('me', 'unknown')
    assert unknown['doing'][0].startswith('create vms/a_disk')
    assert database.run('service', 'list').code == 0


def test_that_nobody_is_recorded_is_said(database, lineage):
    for arguments in ([], ['--all'], ['-f', 'json', '--all']):
        ran = database.run('service', 'list', *arguments)
        assert ran.code == 3
        assert ran.err.startswith('No manager ')
        assert ran.err.count('\n') == 1


def test_on_the_schema_of_the_release_before_the_remedy_is_named(
    database, lineage
):
    tables.workers.drop(lineage.writer)
    with lineage.writer.begin() as connection:
        connection.execute(
            sa.text('UPDATE alembic_version SET version_num = :old'),
            {'old': migration.OLDEST},
        )
    ran = database.run('service', 'list')
    assert (ran.code, ran.out) == (1, '')
    assert 'rbdcloner-manage db sync' in ran.err
    assert ran.err.count('\n') == 1
    assert database.run('lineage', 'list').code == 0


def test_a_database_without_a_schema_is_refused(database):
    ran = database.run('service', 'list')
    assert ran.code == 1
    assert 'rbdcloner-manage db sync' in ran.err


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (-1, '0.0 s'),
        (2.14, '2.1 s'),
        (45, '45 s'),
        (119, '119 s'),
        (120, '2 min'),
        (7199, '120 min'),
        (7200, '2 h'),
        (10 * 86400, '10 d'),
    ],
)
def test_a_duration_is_short(seconds, text):
    assert columns.duration(datetime.timedelta(seconds=seconds)) == text


def engage(lineage):
    lineage.engage_brake(conftest.FSID, 'survey', '30 of 40 are missing')


def test_engaged_brake_is_told_with_what_to_do(database, lineage, add):
    add('me')
    assert 'brake' not in database.run('service', 'list').err
    engage(lineage)
    for form in ('table', 'json'):
        said = database.run('service', 'list', '-f', form).err
        assert 'The brake is engaged since' in said
        assert '30 of 40 are missing' in said
        assert 'service release-brake' in said


def test_brake_is_released_once(database, lineage):
    engage(lineage)
    ran = database.run('service', 'release-brake')
    assert (ran.code, ran.out) == (0, '')
    assert 'released: 30 of 40 are missing' in ran.err
    (brake,) = lineage.brakes()
    assert brake.released
    again = database.run('service', 'release-brake')
    assert again.err == 'No brake is engaged.\n'

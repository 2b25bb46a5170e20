# SPDX-License-Identifier: Apache-2.0
"""db sync, db version, and what the program says when it cannot work."""

import pytest

from rbdcloner.db import migration


def test_sync_makes_the_schema_and_can_be_repeated(database):
    first = database.run('db', 'sync')
    assert (first.code, first.err) == (0, '')
    assert first.out == (
        f'The lineage database is at {migration.needed()} now (new).\n'
    )
    again = database.run('db', 'sync')
    assert (again.code, again.err) == (0, '')
    assert again.out.endswith('already.\n')


def test_version_shows_where_the_schema_is_and_should_be(database):
    assert database.run('db', 'version').out == (
        f'current: none\nneeded: {migration.needed()}\n'
    )
    database.sync()
    assert database.run('db', 'version').out == (
        f'current: {migration.needed()}\nneeded: {migration.needed()}\n'
    )


@pytest.mark.parametrize('command', [['list'], ['show', 'a-disk'], ['tree']])
def test_without_a_schema_the_remedy_is_named(database, command):
    ran = database.run('lineage', *command)
    assert (ran.code, ran.out) == (1, '')
    assert ran.err.count('\n') == 1
    assert 'rbdcloner-manage db sync' in ran.err


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('', 'connection'),
        ('[database]\nconnection =\n', 'connection'),
        ('[database]\nconnection = nonsense\n', 'connection'),
        ('[database]\nconnection = sqlite:////no/such/f\n', 'did not answer'),
        (
            '[database]\nconnection = mysql+pymysql://u:SECRET@127.0.0.1:1/x',
            'did not answer',
        ),
        ('nonsense', 'parse'),
    ],
)
def test_a_database_that_cannot_be_had_is_one_clear_line(database, text, said):
    database.configure(text)
    for command in (['db', 'sync'], ['db', 'version'], ['lineage', 'list']):
        ran = database.run(*command)
        assert (ran.code, ran.out) == (1, '')
        assert said in ran.err
        assert 'Traceback' not in ran.err
        assert 'SECRET' not in ran.err
        assert ran.err.count('\n') == 1


def test_a_missing_configuration_file_is_named(database):
    database.conf.unlink()
    ran = database.run('db', 'version')
    assert ran.code == 1
    assert str(database.conf) in ran.err


def test_a_trace_is_shown_to_those_who_ask(database):
    ran = database.run('--debug', 'lineage', 'list')
    assert ran.code == 1
    assert 'Traceback' in ran.err


@pytest.mark.parametrize(
    'arguments',
    [
        [],
        ['unheard-of'],
        ['lineage', 'unheard-of'],
        ['lineage', 'show'],
        ['lineage', 'list', '--state', 'unheard-of'],
        ['lineage', 'list', '--limit', '-1'],
        ['lineage', 'list', '--marker', 'x'],
        ['lineage', 'list', '--all', '--state', 'ready'],
        ['lineage', 'tree', '-f', 'csv'],
        ['db', 'sync', 'more'],
    ],
)
def test_wrong_usage_has_its_own_code(database, lineage, arguments):
    assert database.run(*arguments).code == 2


@pytest.mark.parametrize(
    'arguments',
    [
        ['--help'],
        ['db', 'sync', '--help'],
        ['db', 'restored', '--help'],
        ['lineage', 'list', '--help'],
        ['lineage', 'show', '--help'],
        ['lineage', 'tree', '--help'],
        ['image', 'release', '--help'],
        ['image', 'restore', '--help'],
        ['retired', 'list', '--help'],
        ['flatten', 'list', '--help'],
        ['flatten', 'start', '--help'],
        ['flatten', 'cancel', '--help'],
        ['service', 'list', '--help'],
    ],
)
def test_help_tells_the_exit_codes(database, arguments):
    ran = database.run(*arguments)
    assert ran.code == 0
    assert 'exit codes: 0 done' in ran.out


def test_help_about_releasing_an_image_says_what_comes_next(database):
    out = database.run('image', 'release', '--help').out
    assert '\n--flatten copies' in out
    assert '\n--retire copies nothing' in out
    assert 'run "openstack image delete IMAGE"' in out
    assert 'cannot hand out its data' in out

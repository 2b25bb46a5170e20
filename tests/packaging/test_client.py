# SPDX-License-Identifier: Apache-2.0
"""``pip install rbdcloner``: the client, on the oldest libraries."""

import pytest

from tests.packaging import environment

COMMANDS = {
    'rbdcloner-manager': (),
    'rbdcloner-manage': ('db', 'sync'),
    'rbdcloner-status': ('upgrade', 'check'),
}


@pytest.fixture(scope='module')
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp('client')
    wheel = environment.build(tmp_path_factory.mktemp('wheel'))
    return environment.Environment(folder, str(wheel))


def test_client_is_made_without_the_extra(client):
    done = client.run(
        'python',
        '-c',
        'from oslo_config import cfg\n'
        'from rbdcloner import rpcapi\n'
        'cfg.CONF([], default_config_files=[])\n'
        'print(type(rpcapi.API.from_conf(cfg.CONF)).__name__)\n',
    )
    assert (done.returncode, done.stdout) == (0, 'API\n'), done.stderr


def test_packages_of_the_extra_are_not_installed(client):
    listed = client.run('pip', 'list', '--format=freeze').stdout.lower()
    for package in ('alembic', 'cliff', 'cryptography', 'sqlalchemy'):
        assert f'\n{package}==' not in listed


@pytest.mark.parametrize('program', COMMANDS)
def test_command_says_in_one_line_what_to_install(client, program):
    done = client.run(program, *COMMANDS[program])
    assert done.returncode == 1
    assert done.stdout == ''
    (line,) = done.stderr.splitlines()
    assert line.startswith(f'{program}: Not installed: ')
    assert 'pip install --upgrade rbdcloner[manager]' in line


@pytest.mark.parametrize('program', COMMANDS)
def test_debugging_shows_where_the_error_comes_from(client, program):
    done = client.run(program, *COMMANDS[program], '--debug')
    assert done.returncode == 1
    assert done.stderr.startswith('Traceback')
    assert done.stderr.splitlines()[-1].startswith(f'{program}: ')

# SPDX-License-Identifier: Apache-2.0
"""What is done wrong in the steps of manager.rst: the check names it."""

from __future__ import annotations

import pytest

from tests.install import installation

pytestmark = pytest.mark.timeout(1800)  # of which most is apt and pip

KEYRING = '/etc/ceph/ceph.client.rbdcloner.keyring'


def check(installed: installation.Installation, **options: str) -> str:
    """Have the check fail with other options; what it says, on one line."""
    set_here = ' '.join(f'OS_{name}={one}' for name, one in options.items())
    command = f'env {set_here} runuser -u rbdcloner -- rbdcloner-status'
    printed = installed.shell.fails(f'{command} upgrade check')
    assert 'Traceback' not in printed
    return ' '.join(printed.replace('|', ' ').split())


def test_wrong_password_of_the_database_is_named(
    installed: installation.Installation,
) -> None:
    password = installed.value('DATABASE_PASSWORD')
    url = installed.database_url.replace(password, 'wrong')
    said = check(installed, DATABASE__CONNECTION=url)
    assert "does not accept this service's credentials" in said


def test_database_without_rights_is_named(
    installed: installation.Installation,
) -> None:
    url = f'{installed.database_url.rpartition("/")[0]}/mysql'
    said = check(installed, DATABASE__CONNECTION=url)
    assert 'Check: Database Result: Failure' in said


def test_database_without_tables_is_named(
    installed: installation.Installation,
) -> None:
    url = 'sqlite:////var/lib/rbdcloner/empty.sqlite'
    said = check(installed, DATABASE__CONNECTION=url)
    assert 'Run "rbdcloner-manage db sync"' in said


def test_wrong_password_of_rabbitmq_is_named(
    installed: installation.Installation,
) -> None:
    password = installed.value('MANAGER_RABBITMQ_PASSWORD')
    url = installed.transport_url('manager').replace(password, 'wrong')
    said = check(installed, DEFAULT__TRANSPORT_URL=url)
    assert 'Check: RabbitMQ Result: Failure' in said
    assert 'Login was refused' in said


def test_missing_virtual_host_is_named(
    installed: installation.Installation,
) -> None:
    url = installed.transport_url('manager').rpartition('/')[0]
    said = check(installed, DEFAULT__TRANSPORT_URL=f'{url}/nowhere')
    assert 'vhost nowhere not found' in said


def test_key_that_the_service_cannot_read_is_named(
    installed: installation.Installation,
) -> None:
    installed.shell.run(f'chmod 600 {KEYRING}\n')
    said = check(installed)
    installed.shell.run(f'chmod 640 {KEYRING}\n')
    assert 'Check: Ceph Result: Failure' in said
    assert KEYRING in said


def test_missing_package_is_named(
    installed: installation.Installation,
) -> None:
    installed.shell.run('dpkg --remove python3-rbd\n')
    said = check(installed)
    installed.shell.run(
        'apt-get install --yes --no-install-recommends python3-rbd\n'
    )
    assert 'python3-rbd' in said

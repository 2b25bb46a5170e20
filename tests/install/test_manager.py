# SPDX-License-Identifier: Apache-2.0
"""manager.rst, on a bare Debian of the machine's own release."""

from __future__ import annotations

import amqp
import kombu
import pytest
import sqlalchemy as sa

from tests.install import asking
from tests.install import installation

pytestmark = pytest.mark.timeout(1800)  # of which most is apt and pip


@pytest.mark.parametrize('engine', ['mysql', 'postgresql'])
def test_installed_manager_makes_a_disk(
    installed: installation.Installation, engine: str
) -> None:
    if engine == 'postgresql':
        installed.use_postgresql()
    with installed.start() as running:
        (check,) = installed.blocks('check')
        assert ' up ' in installed.shell.run(check.commands)
        asking.make_disk(installed)
        user = installed.shell.run('id -u rbdcloner\n')
        assert running.users == {int(user)}


def test_unit_is_one_that_systemd_accepts(
    installed: installation.Installation,
) -> None:
    command = f'systemd-analyze verify --man=no {installation.UNIT}\n'
    assert not installed.shell.run(command)


@pytest.mark.parametrize(
    'file',
    [
        '/etc/ceph/ceph.client.rbdcloner.keyring',
        '/etc/rbdcloner/rbdcloner.conf',
        '/root/rbdcloner.env',
    ],
)
def test_secret_is_not_readable_by_other_users(
    installed: installation.Installation, file: str
) -> None:
    command = f'runuser -u nobody -- cat {file}'
    assert 'Permission denied' in installed.shell.fails(command)


def test_service_cannot_change_tables(
    installed: installation.Installation,
) -> None:
    connected = sa.create_engine(installed.database_url)
    refused = pytest.raises(sa.exc.DBAPIError, match=r'denied|must be owner')
    with refused, connected.begin() as connection:
        connection.execute(sa.text('DROP TABLE clones'))


def test_compute_host_cannot_receive_requests(
    installed: installation.Installation,
) -> None:
    url = installed.transport_url('compute').replace('rabbit:', 'pyamqp:')
    with kombu.Connection(url) as connection:
        queue = kombu.Queue('rbdcloner', channel=connection.channel())
        with pytest.raises(amqp.AccessRefused):
            queue.consume()

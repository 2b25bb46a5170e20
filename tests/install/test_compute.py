# SPDX-License-Identifier: Apache-2.0
"""compute.rst, on a Debian 13 with its own nova-compute."""

from __future__ import annotations

from collections.abc import Iterator
import json
import pathlib
import shlex

import pytest

from tests.install import asking
from tests.install import document
from tests.install import installation
from tests.install import root

pytestmark = [
    pytest.mark.compute,
    pytest.mark.timeout(1800),  # of which most is apt
]

#: What the cloud has before: nova-compute with its disks in RBD.
_NOVA = """\
apt-get update
apt-get install --yes --no-install-recommends nova-compute
install --mode 640 --group nova /dev/null /etc/ceph/ceph.client.nova.keyring
cat > /etc/nova/nova.conf << END
[libvirt]
images_type = rbd
images_rbd_pool = vms
rbd_user = nova
END
"""
_KEY = 'ceph auth get-or-create client.nova mon "profile rbd" --out-file '
_SYSTEMD = 'systemctl restart nova-compute\n'


@pytest.fixture(scope='module')
def compute(installed: installation.Installation) -> Iterator[root.Root]:
    """A compute host on which the commands of compute.rst were carried out."""
    name = 'ceph.client.nova.keyring'
    installed.host.run(f'{_KEY} /root/{name}\n')
    with root.Root('trixie') as where:
        shell = where.shell()
        there = where.path('/root')
        shell.run(f'mkdir --parents /etc/ceph\n{_NOVA}')
        files = (installed.wheel.name, 'rbdcloner.env')
        for file in files:
            installation.copy(installed.home / file, there)
        for file in (name, 'ceph.conf'):
            installation.copy(installed.home / file, where.path('/etc/ceph'))
        for block in document.blocks('compute.rst'):
            if block.host == 'ceph':
                installed.host.run(block.commands)
            elif block.host == 'compute':
                shell.run(block.commands)
            else:
                # Nobody runs nova-compute here; what it loads is asked for.
                assert block.commands == _SYSTEMD
        shell.close()
        yield where


def test_nova_of_debian_has_a_disk_made(
    installed: installation.Installation, compute: root.Root
) -> None:
    program = pathlib.Path(__file__).with_name('nova_asks.py')
    (compute.path('/tmp') / program.name).write_bytes(program.read_bytes())
    asked = asking.disk_of(asking.image(installed))
    arguments = shlex.join([asked['name'], json.dumps(asked)])
    with installed.start():
        shell = compute.shell()
        said = shell.run(
            'cd /var/lib/nova\n'
            f'runuser -u nova -- python3 /tmp/{program.name} {arguments}\n'
        )
        shell.close()
    assert said.split()[-2:] == [
        'rbdcloner.nova.driver',
        'rbdcloner.nova.imagebackend',
    ]
    assert asked['name'] in asking.images_in(installed.servers.ceph, 'vms')


def test_libraries_of_nova_stay_as_they_are(compute: root.Root) -> None:
    installed = compute.path('/usr/local/lib/python3.13/dist-packages')
    names = {one.name for one in installed.iterdir()}
    assert {one.partition('-')[0] for one in names} == {'nova', 'rbdcloner'}

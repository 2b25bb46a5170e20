# SPDX-License-Identifier: Apache-2.0
"""Keys that a cluster does not know."""

import os

import pytest

from rbdcloner import errors
from rbdcloner.ceph import keyring
from rbdcloner.ceph.librbd import LibrbdDriver
from tests import stack
from tests.ceph import keys

USER = f'client.keys{os.getpid()}'


@pytest.fixture(scope='module')
def cluster():
    yield stack.shared().ceph


@pytest.fixture
def key(cluster):
    """The keyring of a user that Ceph knows, in its place."""
    text = keys.generate(USER)
    keys.tell(cluster, text)
    keys.write(cluster, USER, text)
    yield text
    cluster.mon_command('auth del', entity=USER)
    cluster.keyring(USER).unlink()


@pytest.fixture
def driver(cluster, key):
    made = LibrbdDriver(str(cluster.conf), USER, timeout_s=2)
    yield made
    made.close()


def test_refused_key_is_named_with_its_file_and_type(cluster, driver):
    keys.tell(cluster, keys.generate(USER))
    with pytest.raises(errors.CephAuthentication) as caught:
        driver.connect()
    path = cluster.keyring(USER)
    found = keyring.find(
        lambda name: str(path) if name == 'keyring' else '', USER
    )
    name = keyring.TYPES[found.type_of(USER)]
    assert str(caught.value).startswith(
        f'Ceph refuses the key of {USER} in {path} (type {name}). Write what '
        f'"ceph auth get {USER}" prints to {path}'
    )
    assert found.keys[USER] not in str(caught.value)

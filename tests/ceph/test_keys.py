# SPDX-License-Identifier: Apache-2.0
"""Keys that are replaced while a driver is connected."""

import os

import pytest

from rbdcloner import errors
from rbdcloner.ceph import keyring
from rbdcloner.ceph.librbd import LibrbdDriver
from rbdcloner.model import Image
from tests import stack
from tests.ceph import keys

USER = f'client.keys{os.getpid()}'
MIB = 2**20


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


@pytest.fixture
def image(cluster, driver):
    driver.connect()
    driver.create(Image(cluster.fsid, 'vms', '', USER), MIB)
    made = driver.find_image(Image(cluster.fsid, 'vms', '', USER)).image
    yield made
    driver.trash(made)
    driver.purge(made)


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


def test_session_that_was_lost_with_the_old_key_is_not_waited_for(
    cluster, driver, image
):
    new = keys.generate(USER)
    keys.tell(cluster, new)
    cluster.restart('mon')
    elsewhere = Image(cluster.fsid, 'nowhere', '', 'any')
    # librados alone would wait for ever.
    with pytest.raises(errors.CephUnavailable, match='did not answer'):
        driver.find_image(elsewhere)
    with pytest.raises(errors.CephAuthentication, match='refuses the key'):
        driver.find_image(image)
    keys.write(cluster, USER, new)
    assert driver.find_image(image).image == image
    with pytest.raises(errors.PoolNotFound):
        driver.find_image(elsewhere)

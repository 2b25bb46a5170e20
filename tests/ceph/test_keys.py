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
from tests.stack import process

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
    driver.follow_key()
    driver.trash(made)
    driver.purge(made)


def wait_for_clients(cluster, number):
    """Return when so many connections are open with the user's key."""
    process.wait_until(
        lambda: len(cluster.clients(USER)) == number, f'{number} clients'
    )


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


def test_new_key_is_connected_with_once(cluster, driver, image):
    before = cluster.clients(USER)
    assert not driver.follow_key()
    assert cluster.clients(USER) == before
    new = keys.generate(USER)
    keys.tell(cluster, new)
    keys.write(cluster, USER, new)
    assert driver.follow_key()
    wait_for_clients(cluster, 1)
    assert cluster.clients(USER) != before
    assert not driver.follow_key()


def test_call_in_progress_ends_on_the_connection_that_it_has(
    cluster, driver, image
):
    with driver.open(image) as opened:
        new = keys.generate(USER)
        keys.tell(cluster, new)
        keys.write(cluster, USER, new)
        assert driver.follow_key()
        wait_for_clients(cluster, 2)
        opened.resize(2 * MIB)
    wait_for_clients(cluster, 1)
    assert driver.find_image(image).size_bytes == 2 * MIB


def test_connection_outlives_a_new_key_that_is_of_no_use(
    cluster, driver, key, image
):
    for text, said in (
        (keys.generate(USER), 'Ceph refuses the key'),
        (f'[{USER}]\nkey = AQ\n', 'is damaged'),
        ('', 'has no key of'),
    ):
        keys.write(cluster, USER, text)
        with pytest.raises(errors.CephAuthentication, match=said):
            driver.follow_key()
        assert driver.find_image(image).image == image
    keys.write(cluster, USER, key)
    assert not driver.follow_key()


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

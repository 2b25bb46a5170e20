# SPDX-License-Identifier: Apache-2.0
"""Children in pools that the service's key may not read, as Cinder's."""

import os

import pytest

from rbdcloner import errors
from rbdcloner.ceph.librbd import LibrbdDriver
from rbdcloner.cloning.generation import Generation
from rbdcloner.cloning.releasing import Releaser
from rbdcloner.cloning.warrants import Gate
from rbdcloner.db import engine
from rbdcloner.db import migration
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import Order
from rbdcloner.model import Protector
from rbdcloner.model import Warrant
from tests import stack
from tests.ceph import keys

USER = f'client.pools{os.getpid()}'
POOL = f'volumes{os.getpid()}'
MIB = 2**20


@pytest.fixture(scope='module')
def cluster():
    """A cluster with a pool of Cinder's, and a key that does not know it."""
    made = stack.shared().ceph
    with made.connection() as connected:
        connected.create_pool(POOL)
    made.mon_command('osd pool application enable', pool=POOL, app='rbd')
    text = keys.generate(USER)
    keys.tell(made, text)
    keys.write(made, USER, text)
    yield made
    made.mon_command('auth del', entity=USER)
    made.keyring(USER).unlink()
    with made.connection() as connected:
        connected.delete_pool(POOL)


@pytest.fixture(params=list(CloneFormat))
def parent(request, cluster):
    """A snapshot of an image, with two children that Cinder made."""
    cinder = LibrbdDriver(str(cluster.conf), 'client.admin', 30, request.param)
    cinder.connect()
    name = Image(cluster.fsid, 'images', '', USER)
    cinder.create(name, MIB)
    image = cinder.find_image(name).image
    facts = cinder.take_snapshot(image, 'snap')
    cinder.protect(facts.snapshot)
    children = [Image(cluster.fsid, POOL, '', f'volume-{n}') for n in (1, 2)]
    for child in children:
        cinder.clone(facts.snapshot, child, request.param, 22)
    yield facts, request.param
    for child in children:
        made = cinder.find_image(child).image
        cinder.trash(made)
        cinder.purge(made)
    cinder.unprotect(facts.snapshot)
    cinder.remove_snapshot(facts.snapshot)
    cinder.trash(image)
    cinder.purge(image)
    cinder.close()


@pytest.fixture
def driver(cluster):
    made = LibrbdDriver(str(cluster.conf), USER, timeout_s=30)
    made.connect()
    yield made
    made.close()


def test_parent_of_foreign_children_stays_and_says_where_they_are(
    driver, parent, tmp_path
):
    facts, clone_format = parent
    connected = engine.connect(f'sqlite:///{tmp_path}/lineage')
    migration.upgrade(connected)
    lineage = Lineage(connected)
    row = lineage.adopt(facts, 'an-image', Protector.OTHERS)
    generation = Generation(driver, lineage, [])
    gate = Gate(driver, lineage, generation)
    releaser = Releaser(driver, lineage, gate, generation)
    with pytest.raises(errors.Error) as caught:
        releaser.remove(row, Warrant(Order.CALLER, 'a test', 'a request'))
    if clone_format is CloneFormat.V2:
        assert isinstance(caught.value, errors.ParentHasChildren)
        assert str(caught.value).endswith(f'children: 2 in pool {POOL}.')
    else:
        assert isinstance(caught.value, errors.ChildrenHidden)
        assert f'ceph auth caps {USER}' in str(caught.value)
    assert driver.snapshots(facts.snapshot.image)
    connected.dispose()

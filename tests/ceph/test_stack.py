# SPDX-License-Identifier: Apache-2.0
"""The tests' cluster is one of the installed release, whichever that is."""

import contextlib

import pytest
import rbd

from tests import stack

POOL = 'without-mgr'
MIB = 1 << 20


@pytest.fixture
def ceph():
    return stack.shared().ceph


@pytest.fixture
def pool(ceph):
    """Yield a pool that was made while no mgr ran."""
    ceph.kill('mgr')
    try:
        ceph.create_pool(POOL)
        with (
            ceph.connection() as cluster,
            contextlib.closing(cluster.open_ioctx(POOL)) as ioctx,
        ):
            yield ioctx
        ceph.delete_pool(POOL)
    finally:
        ceph.start('mgr')


def test_mon_requires_its_own_release(ceph):
    (version,) = ceph.mon_command('versions')['mon']
    required = ceph.mon_command('mon dump')['min_mon_release_name']
    assert required in version


def test_cluster_reports_no_error(ceph):
    checks = ceph.mon_command('health')['checks']
    assert not [
        code
        for code, check in checks.items()
        if check['severity'] == 'HEALTH_ERR' and not check['muted']
    ]


def test_clones_are_made_and_removed_without_a_mgr(pool):
    rbd.RBD().create(pool, 'parent', MIB)
    with rbd.Image(pool, 'parent') as parent:
        parent.create_snap('snap')
        parent.protect_snap('snap')
        rbd.RBD().clone(pool, 'parent', 'snap', pool, 'child')
        rbd.RBD().remove(pool, 'child')
        parent.unprotect_snap('snap')
        parent.remove_snap('snap')
    rbd.RBD().remove(pool, 'parent')
    assert not rbd.RBD().list(pool)


def test_restarted_mgr_is_active(ceph):
    ceph.restart('mgr')
    assert ceph.mon_command('mgr dump')['active_name'] == 'x'

# SPDX-License-Identifier: Apache-2.0
"""Whatever is done in whatever order: on a real cluster, and on the double.

Hundreds of steps through librbd, and thousands without it.
``--hypothesis-seed`` makes other steps than the usual ones.
"""

from collections.abc import Iterator

import pytest

from rbdcloner.ceph.librbd import LibrbdDriver
from rbdcloner.cloning import permits
from rbdcloner.model import CloneFormat
from tests import stack
from tests.faults.cluster import Cluster
from tests.functional.service import MIB
from tests.unit.cloning import any_order
from tests.unit.cloning import service

# Of all rules these say whether a run was worth anything.
_VITAL = (
    'launch',
    'snapshot_into_glance',
    'delete_disk',
    'delete_image',
    'retire_image',
    'rollback',
    'operator_flattens_disk',
    'operator_removes_disk',
    'survey',
    'recover',
    'reap',
    'flatten',
)


#: They are long, and other suites run beside them.
_LONG_S = 900


@pytest.mark.timeout(_LONG_S)
@pytest.mark.parametrize('clone_format', list(CloneFormat))
def test_thousands_of_steps_on_the_double(
    clone_format: CloneFormat, pytestconfig: pytest.Config
) -> None:
    counts = any_order.explore(
        any_order.AnyOrder,
        clone_format,
        pytestconfig,
        max_examples=60,
        stateful_step_count=50,
    )
    assert counts['steps'] > 2500
    assert [rule for rule in _VITAL if not counts[rule]] == []


class RealWorld(service.Service):
    """The engine over librbd, instead of the double."""

    cluster: Cluster

    def make_ceph(self) -> Cluster:
        return self.cluster


class RealMachine(any_order.AnyOrder):
    world_class = RealWorld
    unit = 4 * MIB


@pytest.fixture
def cluster(
    clone_format: CloneFormat, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A cluster of this test's own: its pools must be empty."""
    with (
        stack.Stack(rabbitmq=False, glance=False, databases=()) as servers,
        servers.ceph.connection() as admin,
        servers.ceph.connection() as guest,
    ):
        for client in (admin, guest):
            # As the driver's own connections.
            client.conf_set('rbd_cache', 'false')
        conf = str(servers.ceph.conf)
        driver = LibrbdDriver(
            conf, 'rbdcloner', 30, clone_format, permit=permits.permit
        )
        driver.connect()
        cluster = Cluster(driver, admin, guest)
        monkeypatch.setattr(RealWorld, 'cluster', cluster, raising=False)
        yield
        cluster.close()
        driver.close()


@pytest.mark.timeout(_LONG_S)
@pytest.mark.usefixtures('cluster')
@pytest.mark.parametrize('clone_format', list(CloneFormat))
def test_hundreds_of_steps_on_a_cluster(
    clone_format: CloneFormat, pytestconfig: pytest.Config
) -> None:
    counts = any_order.explore(
        RealMachine,
        clone_format,
        pytestconfig,
        max_examples=7,
        stateful_step_count=40,
        phases=any_order.WITHOUT_SHRINKING,
    )
    assert counts['steps'] > 150

# SPDX-License-Identifier: Apache-2.0
"""librbd does what the suite claims of a driver."""

import testtools

from rbdcloner.model import CloneFormat
from tests.ceph.cluster import RealCluster
from tests.driver_suite import WholeSuite

_cluster = RealCluster()


def setUpModule():
    _cluster.setUp()


def tearDownModule():
    _cluster.cleanUp()


class LibrbdV1Test(WholeSuite, testtools.TestCase):
    clone_format = CloneFormat.V1
    cluster = _cluster

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        _cluster.driver = _cluster.connect(cls.clone_format)
        cls.addClassCleanup(_cluster.driver.close)


class LibrbdV2Test(LibrbdV1Test):
    clone_format = CloneFormat.V2

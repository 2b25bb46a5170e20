# SPDX-License-Identifier: Apache-2.0
"""A worker leaves alone what is another cluster's."""

import testtools

from rbdcloner import errors
from rbdcloner.cmd import compose
from rbdcloner.model import Filters
from rbdcloner.model import FlattenReason
from rbdcloner.states import State
from tests import ceph_double
from tests.unit.cloning import service

OTHER = '00000000-0000-4000-8000-000000000000'


class OtherClusterTest(testtools.TestCase):
    """A database with disks of one cluster, and a worker on another."""

    def setUp(self) -> None:
        super().setUp()
        self.service = self.useFixture(service.Service())
        self.process = self.service.process()
        self.image_id = self.service.add_image()
        self.disks = [
            self.process.engine.create_disk(service.request(self.image_id))
            for _ in range(3)
        ]
        self.process.survey.look()

    def other(self) -> service.Process:
        """Return a process that is connected to an empty cluster."""
        self.service.ceph = ceph_double.CephDouble(fsid=OTHER)
        return self.service.process(fsid=OTHER)

    def test_worker_refuses_the_lineage_of_another_cluster(self) -> None:
        other = ceph_double.CephDouble(fsid=OTHER)
        self.assertRaises(
            errors.ConfigurationError,
            compose.refuse_other_cluster,
            self.process.lineage,
            other,
        )
        compose.refuse_other_cluster(self.process.lineage, self.service.ceph)

    def test_no_sweep_finds_the_rows_of_another_cluster(self) -> None:
        lineage = self.process.lineage
        ready, deleting, retired = self.disks
        lineage.want_flatten(ready, FlattenReason.ASKED)
        lineage.move(deleting, State.DELETING)
        lineage.move(lineage.move(retired, State.DELETING), State.RETIRED)
        states = [clone.state for clone in lineage.page(Filters())]
        other = self.other()
        other.survey.look()
        other.recovery.sweep()
        other.recovery.take_over()
        other.recovery.retire_begun()
        other.reaper.sweep()
        other.upkeep.look()
        self.assertFalse(other.flattener.run_next())
        self.assertEqual(
            states, [clone.state for clone in lineage.page(Filters())]
        )

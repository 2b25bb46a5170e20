# SPDX-License-Identifier: Apache-2.0
"""What the engine relies on, claimed of any driver and in both formats.

A concrete class sets :attr:`DriverSuite.clone_format` and gives ``cluster``:
a driver under ``cluster.driver``, and around it what other clients of Ceph
do. Names are new in every test, so that one cluster serves them all.
"""

from tests.driver_suite.flattening import FlattenSuite
from tests.driver_suite.looking import AboveSuite
from tests.driver_suite.looking import ChildrenSuite
from tests.driver_suite.looking import LineageMarkSuite
from tests.driver_suite.looking import LookingSuite
from tests.driver_suite.looking import NotesSuite
from tests.driver_suite.making import CloneSuite
from tests.driver_suite.making import CreateSuite
from tests.driver_suite.making import OpenSuite
from tests.driver_suite.refusing import PermitSuite
from tests.driver_suite.refusing import RefusalSuite
from tests.driver_suite.removing import GlanceSuite
from tests.driver_suite.removing import RemovalSuite
from tests.driver_suite.removing import RetirementSuite
from tests.driver_suite.snapshots import ProtectionSuite
from tests.driver_suite.snapshots import SnapshotSuite
from tests.driver_suite.writing import WriteSuite


class WholeSuite(
    LookingSuite,
    CreateSuite,
    NotesSuite,
    LineageMarkSuite,
    CloneSuite,
    OpenSuite,
    WriteSuite,
    ProtectionSuite,
    AboveSuite,
    ChildrenSuite,
    RemovalSuite,
    SnapshotSuite,
    FlattenSuite,
    RetirementSuite,
    GlanceSuite,
    PermitSuite,
    RefusalSuite,
):
    """All of it."""

# SPDX-License-Identifier: Apache-2.0
"""The lineage suite on SQLite."""

from tests.lineage_suite.absences import TestAbsence
from tests.lineage_suite.absences import TestSafety
from tests.lineage_suite.bases import TestBase
from tests.lineage_suite.bases import TestBaseImage
from tests.lineage_suite.bases import TestWithoutBases
from tests.lineage_suite.changes import TestChange
from tests.lineage_suite.clones import TestAbandoned
from tests.lineage_suite.clones import TestFind
from tests.lineage_suite.clones import TestHold
from tests.lineage_suite.clones import TestMove
from tests.lineage_suite.clones import TestPage
from tests.lineage_suite.clones import TestReserve
from tests.lineage_suite.deletions import TestDeferral
from tests.lineage_suite.deletions import TestDeletion
from tests.lineage_suite.flattens import TestDuty
from tests.lineage_suite.flattens import TestFlatten
from tests.lineage_suite.generations import TestAdoptTagged
from tests.lineage_suite.generations import TestGeneration
from tests.lineage_suite.imports import TestAdoptDisk
from tests.lineage_suite.imports import TestImport
from tests.lineage_suite.leases import TestLease
from tests.lineage_suite.parents import TestParent
from tests.lineage_suite.races import TestRace
from tests.lineage_suite.retiring import TestAdoptImage
from tests.lineage_suite.retiring import TestReapable
from tests.lineage_suite.retiring import TestReserveImage
from tests.lineage_suite.retiring import TestTree
from tests.lineage_suite.snapshots import TestSnapshot
from tests.lineage_suite.snapshots import TestUnneeded
from tests.lineage_suite.warrants import TestDoubt
from tests.lineage_suite.warrants import TestWarrant
from tests.lineage_suite.workers import TestHeld
from tests.lineage_suite.workers import TestWorker

__all__ = [
    'TestAbandoned',
    'TestAbsence',
    'TestAdoptDisk',
    'TestAdoptImage',
    'TestAdoptTagged',
    'TestBase',
    'TestBaseImage',
    'TestChange',
    'TestDeferral',
    'TestDeletion',
    'TestDoubt',
    'TestDuty',
    'TestFind',
    'TestFlatten',
    'TestGeneration',
    'TestHeld',
    'TestHold',
    'TestImport',
    'TestLease',
    'TestMove',
    'TestPage',
    'TestParent',
    'TestRace',
    'TestReapable',
    'TestReserve',
    'TestReserveImage',
    'TestSafety',
    'TestSnapshot',
    'TestTree',
    'TestUnneeded',
    'TestWarrant',
    'TestWithoutBases',
    'TestWorker',
]

# SPDX-License-Identifier: Apache-2.0
"""The lineage suite on SQLite."""

from tests.lineage_suite.clones import TestAbandoned
from tests.lineage_suite.clones import TestFind
from tests.lineage_suite.clones import TestHold
from tests.lineage_suite.clones import TestMove
from tests.lineage_suite.clones import TestPage
from tests.lineage_suite.clones import TestReserve
from tests.lineage_suite.parents import TestParent
from tests.lineage_suite.races import TestRace

__all__ = [
    'TestAbandoned',
    'TestFind',
    'TestHold',
    'TestMove',
    'TestPage',
    'TestParent',
    'TestRace',
    'TestReserve',
]

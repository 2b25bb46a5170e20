# SPDX-License-Identifier: Apache-2.0
"""The lineage suite on every database engine, as an operator has it."""

from tests.lineage_suite import TestAbandoned
from tests.lineage_suite import TestFind
from tests.lineage_suite import TestHold
from tests.lineage_suite import TestMove
from tests.lineage_suite import TestPage
from tests.lineage_suite import TestParent
from tests.lineage_suite import TestRace
from tests.lineage_suite import TestReserve

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

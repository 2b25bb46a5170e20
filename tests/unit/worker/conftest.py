# SPDX-License-Identifier: Apache-2.0
"""A lineage database in a file, as the commands' tests have it."""

from tests.unit.cmd.conftest import database as database
from tests.unit.cmd.conftest import lineage as lineage

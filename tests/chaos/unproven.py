# SPDX-License-Identifier: Apache-2.0
"""Kinds of faults that are made only where ``--only`` names them.

Until a run of each alone has ended clean, on each database.
"""

from __future__ import annotations

from tests.chaos import backup
from tests.chaos import moving
from tests.chaos import outages

SERVERS = outages.SERVERS | moving.SERVERS | backup.SERVERS
MANAGERS = outages.MANAGERS
KINDS = SERVERS | MANAGERS

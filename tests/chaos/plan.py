# SPDX-License-Identifier: Apache-2.0
"""What a run is to do."""

from __future__ import annotations

import dataclasses
import random


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the person at the command line asked for."""

    operations: int
    faults: int
    seed: int
    database: str
    clone_format: int
    callers: int
    timeout: int
    """Seconds after which nothing more is asked for."""
    keep: bool
    only: list[str]
    """The kinds of faults, in the place of all."""

    def chance(self, who: str) -> random.Random:
        """Return the dice of one who takes part, always the same ones."""
        return random.Random(f'{self.seed} {who}')

# SPDX-License-Identifier: Apache-2.0
"""Which lineage a database or a pool has, and how old it is."""

import dataclasses
import datetime
import json
from typing import Self


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """What a database and the pools of its disks have in common.

    ``lineage`` is a uuid, made with the database. ``generation`` grows while
    a manager runs; ``stamp`` is new with each generation, so that two copies
    of a database that went on apart differ.
    """

    lineage: str
    generation: int
    stamp: str

    def __str__(self) -> str:
        return f'{self.lineage}, generation {self.generation}'

    def as_text(self) -> str:
        """Return what is written into a pool."""
        return json.dumps(
            {
                'lineage': self.lineage,
                'generation': self.generation,
                'stamp': self.stamp,
            }
        )

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Return the mark that is written in a pool.

        :raises ValueError: it is none.
        """
        try:
            facts = json.loads(text)
            return cls(
                str(facts['lineage']),
                int(facts['generation']),
                str(facts['stamp']),
            )
        except (KeyError, TypeError) as exc:
            raise ValueError(f'no mark of a lineage: {text!r}') from exc


@dataclasses.dataclass(frozen=True, slots=True)
class Age:
    """What the database says of itself.

    ``advanced_at``: when it came to its generation, by its own clock, UTC.
    ``stopped`` is why nothing is destroyed, empty if nothing is against it.
    """

    mark: Mark
    advanced_at: datetime.datetime
    stopped: str

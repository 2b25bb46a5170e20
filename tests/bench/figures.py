# SPDX-License-Identifier: Apache-2.0
"""What a figure is: who does what, which number, what it is held against.

A ratio is the figure's value divided by the other's: of seconds it is good to
be small, of rates it is good to be large.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

from tests.bench import measuring


@dataclasses.dataclass(frozen=True, order=True)
class Contestant:
    """Who does which task, and with how much of it.

    ``count`` is bytes written to the disk of a snapshot, other images in the
    pool of a deletion, a parent's children; ``written`` is for disks that are
    not as they were made.
    """

    task: str
    who: str
    count: int = 0
    written: bool = False

    def __str__(self) -> str:
        count = f' of {self.count}' if self.count else ''
        written = ', written' if self.written else ''
        return f'{self.who} {self.task}{count}{written}'


#: Blocks by (contestant, threads, act).
Results = Mapping[tuple[Contestant, int, str], Sequence[measuring.Block]]


@dataclasses.dataclass(frozen=True)
class Reach:
    """How far the figure's ``value`` or ``ratio`` is to reach."""

    of: str
    most: float | None = None
    least: float | None = None

    def __str__(self) -> str:
        if self.most is not None:
            return f'{self.of} <= {self.most:g}'
        return f'{self.of} >= {self.least:g}'

    def is_reached(self, row: Mapping[str, Any]) -> bool:
        """Tell whether the printed figure is as it should be."""
        number = row[self.of]
        return bool(
            (self.most is None or number <= self.most)
            and (self.least is None or number >= self.least)
        )


_STATISTICS: Mapping[str, Callable[[Sequence[measuring.Block]], float]] = {
    'p50': measuring.median,
    'p95': lambda blocks: measuring.percentile(blocks, 95),
    'span': measuring.span,
    'sum': measuring.total,
}


@dataclasses.dataclass(frozen=True)
class Figure:
    """A number that is printed.

    ``statistic`` is ``p50``, ``p95`` or ``rate``; ``span`` and ``sum`` are of
    all of a block; or it is the name of a kind of memory, which is not of
    blocks but of the whole run. ``count`` and
    ``written`` are the contestant's.
    """

    name: str
    who: str
    statistic: str
    threads: int = 1
    act: str = 'create'
    against: str = ''
    task: str = 'create'
    count: int = 0
    written: bool = False
    reach: tuple[Reach, ...] = ()

    @property
    def contestant(self) -> Contestant:
        """Who is measured."""
        return Contestant(self.task, self.who, self.count, self.written)

    @property
    def unit(self) -> str:
        """The unit that the name ends with, or that a rate has."""
        if self.statistic == 'rate':
            return 'disks/s'
        return {'ms': 'ms', 's': 's', 'mib': 'MiB'}[self.name.split('_')[-1]]

    def value(self, blocks: Sequence[measuring.Block]) -> float:
        """Return the figure of what was measured."""
        if self.statistic == 'rate':
            return measuring.rate(blocks)
        factor = 1000 if self.unit == 'ms' else 1
        return factor * _STATISTICS[self.statistic](blocks)


def rows(
    wanted: Sequence[Figure], results: Results, memory: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return each figure as it is printed, in order."""
    rows: dict[str, dict[str, Any]] = {}
    for figure in wanted:
        if figure.statistic in memory:
            value, n = memory[figure.statistic], 1
        else:
            key = (figure.contestant, figure.threads, figure.act)
            blocks = results[key]
            value = figure.value(blocks)
            n = sum(len(block.seconds) for block in blocks)
        row = {
            'figure': figure.name,
            'value': round(value, 3),
            'unit': figure.unit,
            'n': n,
        }
        if figure.against:
            other = rows[figure.against]['value']
            row |= {
                'against': figure.against,
                'ratio': round(value / other, 3),
            }
        if figure.reach:
            row |= {
                'reach': [str(one) for one in figure.reach],
                'reached': all(one.is_reached(row) for one in figure.reach),
            }
        rows[figure.name] = row
    return list(rows.values())

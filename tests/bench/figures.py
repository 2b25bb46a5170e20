# SPDX-License-Identifier: Apache-2.0
"""Every figure: who does what, which number is taken, what it is held against.

A ratio is the figure's value divided by the other's: of seconds it is good to
be small, of rates it is good to be large.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

from tests.bench import measuring

#: Blocks by (contestant, threads, act).
Results = Mapping[tuple[str, int, str], Sequence[measuring.Block]]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A number that is printed.

    ``statistic`` is ``p50``, ``p95`` or ``rate``, or the name of a kind of
    memory, which is looked at when everything was done.
    """

    name: str
    contestant: str
    statistic: str
    threads: int = 1
    act: str = 'create'
    against: str = ''

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
        if self.statistic == 'p50':
            return factor * measuring.median(blocks)
        return factor * measuring.percentile(blocks, 95)


_THREADS = (1, 4, 16)

FIGURES = (
    Figure('librbd_create_p50_ms', 'librbd', 'p50'),
    Figure('librbd_create_p95_ms', 'librbd', 'p95'),
    Figure(
        'create_disk_p50_ms', 'sqlite', 'p50', against='librbd_create_p50_ms'
    ),
    Figure(
        'create_disk_p95_ms', 'sqlite', 'p95', against='librbd_create_p95_ms'
    ),
    Figure(
        'create_disk_mariadb_p50_ms',
        *('mariadb', 'p50'),
        against='librbd_create_p50_ms',
    ),
    Figure(
        'create_disk_cold_ms', 'fresh', 'p50', against='create_disk_p50_ms'
    ),
    Figure(
        'rbd_cli_create_p50_ms', 'rbd', 'p50', against='librbd_create_p50_ms'
    ),
    Figure('nova_create_p50_ms', 'nova', 'p50', against='create_disk_p50_ms'),
    Figure('get_disk_p50_ms', 'sqlite', 'p50', act='get'),
    Figure('librbd_remove_p50_ms', 'librbd', 'p50', act='remove'),
    Figure(
        'delete_disk_p50_ms',
        *('sqlite', 'p50'),
        act='remove',
        against='librbd_remove_p50_ms',
    ),
    *(
        Figure(f'librbd_create_rate_{threads}', 'librbd', 'rate', threads)
        for threads in _THREADS
    ),
    *(
        Figure(
            f'create_disk_rate_{threads}',
            *('sqlite', 'rate', threads),
            against=f'librbd_create_rate_{threads}',
        )
        for threads in _THREADS
    ),
    Figure(
        'create_disk_mariadb_rate_16',
        *('mariadb', 'rate', 16),
        against='librbd_create_rate_16',
    ),
    Figure('rbd_import_s', 'import', 'p50'),
    Figure('idle_worker_mib', 'sqlite', 'uss'),
    Figure('idle_worker_rss_mib', 'sqlite', 'rss'),
)

BY_NAME = {figure.name: figure for figure in FIGURES}


def chosen(names: Sequence[str], has_nova: bool) -> list[Figure]:
    """Return the figures called so, all if none, and what they need."""
    wanted = set(names or BY_NAME)
    if not has_nova:
        wanted.discard('nova_create_p50_ms')
    wanted |= {BY_NAME[name].against for name in wanted}
    return [figure for figure in FIGURES if figure.name in wanted]


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
        rows[figure.name] = row
    return list(rows.values())

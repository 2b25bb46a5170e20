# SPDX-License-Identifier: Apache-2.0
"""The figures of nova-compute: with the plug-in, against without."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench import scale
from tests.bench.figures import Figure
from tests.bench.figures import Reach

#: The task that they are of.
TASK = 'nova'
#: So many servers are booted at once.
AT_ONCE = 8

_HALF = (Reach('ratio', most=0.5),)
_TENTH = (Reach('ratio', most=0.1),)


def figures(sizes: scale.Scale) -> Iterator[Figure]:
    """Yield them in order."""
    many = sizes.pools[-1]
    yield from _pair('create_p50_ms', 'p50', reach=_HALF)
    yield from _pair('create_p95_ms', 'p95')
    yield from _pair('snapshot_p50_ms', 'p50', written=True, reach=_TENTH)
    yield from _pair('snapshot_p95_ms', 'p95', written=True)
    yield from _pair('delete_p50_ms', 'p50', act='remove', reach=_HALF)
    yield from _pair('delete_p95_ms', 'p95', act='remove')
    yield from _pair(
        'delete_written_p50_ms', 'p50', act='remove', written=True
    )
    yield from _pair('boot_p50_s', 'p50', act='boot')
    yield from _pair(f'boots_{AT_ONCE}_s', 'span', act='boot', threads=AT_ONCE)
    yield from _pair(f'boots_{AT_ONCE}_create_s', 'sum', threads=AT_ONCE)
    yield from _pair(
        f'delete_pool_{many}_p50_ms',
        'p50',
        act='remove',
        count=many,
        reach=_HALF,
    )


def _pair(
    name: str,
    statistic: str,
    *,
    act: str = 'create',
    threads: int = 1,
    count: int = 0,
    written: bool = False,
    reach: tuple[Reach, ...] = (),
) -> Iterator[Figure]:
    for who in ('off', 'on'):
        yield Figure(
            f'plugin_{who}_{name}',
            *(who, statistic, threads, act),
            against=f'plugin_off_{name}' if who == 'on' else '',
            task=TASK,
            count=count,
            written=written,
            reach=reach if who == 'on' else (),
        )

# SPDX-License-Identifier: Apache-2.0
"""The figures of images that cannot be cloned: imported, against copied."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.figures import Figure
from tests.bench.figures import Reach

#: The task that they are of.
TASK = 'import'
#: Who takes seconds, not milliseconds.
SLOW = frozenset({'host', 'first'})
#: The kinds of memory, by whose it is.
WORKER, QEMU = 'worker_peak', 'qemu_img_peak'


def figures() -> Iterator[Figure]:
    """Yield them in order."""
    yield Figure('host_first_disk_s', 'host', 'p50', task=TASK)
    yield Figure('host_next_disk_s', 'host', 'p50', act='again', task=TASK)
    yield Figure(
        'import_first_disk_s',
        *('first', 'p50'),
        against='host_first_disk_s',
        task=TASK,
    )
    yield Figure('import_raw_disk_p50_ms', 'raw', 'p50', task=TASK)
    yield Figure(
        'import_next_disk_p50_ms',
        *('next', 'p50'),
        against='import_raw_disk_p50_ms',
        task=TASK,
        reach=(Reach('ratio', most=1.2),),
    )
    yield Figure(
        'import_worker_peak_mib',
        *('first', WORKER),
        task=TASK,
        reach=(Reach('value', most=150),),
    )
    yield Figure('import_qemu_img_peak_mib', 'first', QEMU, task=TASK)

# SPDX-License-Identifier: Apache-2.0
"""rbdcloner-manager, whose workers die where they are told to.

Its driver and its lineage are the real ones, with a point before and after
each act and each transaction.
"""

from __future__ import annotations

import os
import pathlib
import sys

from rbdcloner.ceph import librbd
from rbdcloner.ceph import opening
from rbdcloner.cmd import manager
from rbdcloner.db import transaction
from tests.ceph_double import ACTS
from tests.chaos import failpoints

_OF_OPEN_IMAGES = (
    'tag',
    'mark_delivered',
    'mark_committed',
    'resize',
    'write',
    'take_snapshot',
    'protect',
)


def main() -> int:
    """Run until SIGTERM."""
    points = failpoints.Failpoints(
        pathlib.Path(os.environ[failpoints.VARIABLE])
    )
    for verb in sorted(ACTS):
        _watch(points, librbd.LibrbdDriver, verb)
    for verb in _OF_OPEN_IMAGES:
        _watch(points, opening.LibrbdImage, verb)
    _watch_transactions(points)
    points.publish()
    return manager.main()


def _watch(points: failpoints.Failpoints, room: type, verb: str) -> None:
    if act := getattr(room, verb, None):
        setattr(room, verb, points.around('ceph', verb, act))


def _watch_transactions(points: failpoints.Failpoints) -> None:
    """Watch every method that will be marked as writing."""
    writes = transaction.writes
    vars(transaction)['writes'] = lambda body: points.around(
        'db', body.__name__, writes(body)
    )
    from rbdcloner.db import lineage  # noqa: F401 - its methods are marked


if __name__ == '__main__':
    sys.exit(main())

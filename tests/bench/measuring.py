# SPDX-License-Identifier: Apache-2.0
"""Blocks of equal acts with the seconds that each took.

Nova's interpreter imports this as well: nothing but Python's own library.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from concurrent import futures
import dataclasses
import math
import statistics
import time
from typing import TypeVar

_T = TypeVar('_T')


@dataclasses.dataclass(frozen=True)
class Block:
    """The seconds of each act, and when the first began and the last ended.

    Both times are by the machine's monotonic clock, so that the blocks of
    several processes can be joined.
    """

    seconds: list[float]
    begun: float
    ended: float


def measure(
    act: Callable[[_T], object], items: Sequence[_T], threads: int = 1
) -> Block:
    """Do *act* once for each item, so many at a time."""

    def once(item: _T) -> float:
        started = time.monotonic()
        act(item)
        return time.monotonic() - started

    pool = futures.ThreadPoolExecutor(threads)
    try:
        begun = time.monotonic()
        seconds = list(pool.map(once, items))
        return Block(seconds, begun, time.monotonic())
    finally:
        pool.shutdown(cancel_futures=True)


def joined(blocks: Sequence[Block]) -> Block:
    """Return the block of what several processes did at the same time."""
    return Block(
        [one for block in blocks for one in block.seconds],
        min(block.begun for block in blocks),
        max(block.ended for block in blocks),
    )


def percentile(blocks: Sequence[Block], percent: int) -> float:
    """Return the seconds that so many percent of all acts did not exceed."""
    ordered = sorted(one for block in blocks for one in block.seconds)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def median(blocks: Sequence[Block]) -> float:
    """Return the median of the seconds of all acts."""
    return statistics.median(one for block in blocks for one in block.seconds)


def span(blocks: Sequence[Block]) -> float:
    """Return the seconds from beginning to end: the median block's."""
    return statistics.median(block.ended - block.begun for block in blocks)


def total(blocks: Sequence[Block]) -> float:
    """Return the sum of the seconds of a block's acts: the median block's."""
    return statistics.median(sum(block.seconds) for block in blocks)


def rate(blocks: Sequence[Block]) -> float:
    """Return how many acts were done in a second: the median block's."""
    return statistics.median(
        len(block.seconds) / (block.ended - block.begun) for block in blocks
    )

# SPDX-License-Identifier: Apache-2.0
"""Contestants take turns: a small block of disks each, round after round.

Whatever the machine does meanwhile it does to all of them; who begins changes
from round to round. A block's disks are removed before the next block, so
that everybody finds the pool empty.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import time
from typing import Any
import uuid

from tests.bench import figures
from tests.bench import measuring

#: No round begins later than this.
LIMIT_S = 900
# Ceph's own work after a removal.
_PAUSE_S = 0.3


@dataclasses.dataclass(frozen=True)
class Lane:
    """One contestant with so many threads: its blocks."""

    contestant: str
    threads: int
    disks: int
    rounds: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """How many disks a block has, and how many rounds there are.

    Who is slow has smaller blocks; *fresh* is the number of images without
    any clone, one for each disk of the lane of that name.
    """

    disks: int
    rounds: int
    disks_a_thread: int
    rate_rounds: int
    imports: int
    fresh: int

    def phases(self, wanted: Iterable[figures.Figure]) -> list[list[Lane]]:
        """Return the lanes, those that take turns in one list."""
        keys = {(one.contestant, one.threads) for one in wanted}
        lanes = [self._lane(*key) for key in sorted(keys)]
        imports = [lane for lane in lanes if lane.contestant == 'import']
        together = [lane for lane in lanes if lane.threads > 1]
        alone = [lane for lane in lanes if lane not in imports + together]
        return [phase for phase in (alone, together, imports) if phase]

    def _lane(self, contestant: str, threads: int) -> Lane:
        if threads > 1:
            disks = threads * self.disks_a_thread
            return Lane(contestant, threads, disks, self.rate_rounds)
        slow = max(2, self.disks // 3)
        disks, rounds = {
            'fresh': (1, self.fresh),
            'import': (1, self.imports),
            'nova': (slow, self.rounds),
            'rbd': (slow, self.rounds),
        }.get(contestant, (self.disks, self.rounds))
        return Lane(contestant, threads, disks, rounds)


FULL = Plan(
    disks=10, rounds=10, disks_a_thread=8, rate_rounds=6, imports=3, fresh=8
)
QUICK = Plan(
    disks=3, rounds=1, disks_a_thread=1, rate_rounds=1, imports=1, fresh=1
)


class Rounds:
    """What is measured, by contestant."""

    def __init__(
        self, contestants: dict[str, Any], report: Callable[[str], None]
    ) -> None:
        self.results: dict[tuple[str, int, str], list[measuring.Block]] = {}
        self._contestants = contestants
        self._report = report
        self._deadline = time.monotonic() + LIMIT_S

    def run(self, lanes: Sequence[Lane]) -> None:
        """Warm each lane up, then measure round after round."""
        for lane in lanes:
            if lane.contestant not in ('fresh', 'import'):
                for _ in self._block(lane, max(2, lane.threads)):
                    pass
        for number in range(max(lane.rounds for lane in lanes)):
            if time.monotonic() > self._deadline:
                self._report(f'no more rounds after {LIMIT_S} s')
                return
            self._round(lanes, number)

    def _round(self, lanes: Sequence[Lane], number: int) -> None:
        turn = number % len(lanes)
        said = []
        for lane in (*lanes[turn:], *lanes[:turn]):
            if number >= lane.rounds:
                continue
            for act, block in self._block(lane, lane.disks):
                key = (lane.contestant, lane.threads, act)
                self.results.setdefault(key, []).append(block)
                if act == 'create':
                    mean = (block.ended - block.begun) / len(block.seconds)
                    said.append(
                        f'{lane.contestant}/{lane.threads} {1000 * mean:.0f}'
                    )
        self._report(f'round {number + 1}, ms per disk: {", ".join(said)}')

    def _block(
        self, lane: Lane, disks: int
    ) -> Iterator[tuple[str, measuring.Block]]:
        """Yield each act and what it took."""
        names = [f'{uuid.uuid4()}_disk' for _ in range(disks)]
        contestant = self._contestants[lane.contestant]
        for act in ('create', 'get', 'remove'):
            if hasattr(contestant, act):
                yield act, getattr(contestant, act)(names, lane.threads)
        time.sleep(_PAUSE_S)

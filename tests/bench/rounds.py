# SPDX-License-Identifier: Apache-2.0
"""Contestants take turns: a small block of disks each, round after round.

Whatever the machine does meanwhile it does to all of them; who begins changes
from round to round. A block's disks are gone before the next block, so that
everybody finds the pool as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import time
from typing import Any
import uuid

from tests.bench import compute_figures
from tests.bench import figures
from tests.bench import import_figures
from tests.bench import measuring
from tests.bench.figures import Contestant

#: No round but the first of its kind begins later than this.
LIMIT_S = 600
# Ceph's own work after a removal.
_PAUSE_S = 0.3

_ACTS = ('boot', 'create', 'again', 'get', 'page', 'remove')
#: The act that a round's line tells of.
_TOLD = {
    'create': 'create',
    'snapshot': 'create',
    'delete': 'remove',
    'children': 'get',
    'faults': 'create',
    import_figures.TASK: 'create',
    compute_figures.TASK: 'create',
}


@dataclasses.dataclass(frozen=True)
class Lane:
    """One contestant with so many threads: its blocks, and a first to warm."""

    contestant: Contestant
    threads: int
    disks: int
    rounds: int
    warm_disks: int


@dataclasses.dataclass(frozen=True)
class Size:
    """How many disks a block has, and how many rounds there are."""

    disks: int
    rounds: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """How large each kind of lane is.

    Who is slow has smaller blocks; *fresh* is the number of images without
    any clone, one for each disk of the lane of that name.
    """

    disks: int
    rounds: int
    disks_a_thread: int
    rate_rounds: int
    imports: int
    fresh: int
    snapshots: Size
    copies: Size
    deletes: Size
    queries: Size
    lists: Size
    managers: Size
    kills: Size
    first_disks: Size
    next_disks: Size
    servers: Size
    written_servers: Size
    crowded_servers: Size
    servers_at_once: int

    def phases(self, wanted: Iterable[figures.Figure]) -> list[list[Lane]]:
        """Return the lanes, those that take turns in one list."""
        keys = {(one.contestant, one.threads) for one in wanted}
        lanes = [self._lane(*key) for key in sorted(keys)]
        phases = []
        for task in _TOLD:
            ours = [lane for lane in lanes if lane.contestant.task == task]
            imports = [one for one in ours if _is_import(one.contestant)]
            crowded = [one for one in ours if _is_crowded(one.contestant)]
            together = [lane for lane in ours if lane.threads > 1]
            apart = imports + crowded + together
            alone = [one for one in ours if one not in apart]
            kinds = [alone, together, imports, crowded]
            if task == import_figures.TASK:
                # The last first disk leaves the base to the next ones.
                kinds.reverse()
            phases += kinds
        return [phase for phase in phases if phase]

    def _lane(self, contestant: Contestant, threads: int) -> Lane:
        if contestant.task == compute_figures.TASK:
            return self._servers_lane(contestant, threads)
        if contestant.task != 'create':
            size = self._size(contestant)
            is_cold = contestant.who == 'killed' or _is_import(contestant)
            warm = 0 if is_cold else min(2, size.disks)
            return Lane(contestant, threads, size.disks, size.rounds, warm)
        if threads > 1:
            disks = threads * self.disks_a_thread
            return Lane(contestant, threads, disks, self.rate_rounds, threads)
        slow = max(2, self.disks // 3)
        disks, rounds, warm = {
            'fresh': (1, self.fresh, 0),
            'import': (1, self.imports, 0),
            'nova': (slow, self.rounds, 2),
            'rbd': (slow, self.rounds, 2),
        }.get(contestant.who, (self.disks, self.rounds, 2))
        return Lane(contestant, threads, disks, rounds, warm)

    def _servers_lane(self, contestant: Contestant, threads: int) -> Lane:
        if threads > 1:
            size = Size(threads, self.servers_at_once)
        elif contestant.written:
            size = self.written_servers
        elif contestant.count:
            size = self.crowded_servers
        else:
            size = self.servers
        return Lane(contestant, threads, size.disks, size.rounds, 1)

    def _size(self, contestant: Contestant) -> Size:
        if _is_import(contestant):
            return self.first_disks
        sizes = {
            ('snapshot', 'sqlite'): self.snapshots,
            ('snapshot', ''): self.copies,
            ('delete', ''): self.deletes,
            ('children', 'v1'): self.lists,
            ('children', 'v2'): self.lists,
            ('children', ''): self.queries,
            ('faults', 'killed'): self.kills,
            ('faults', ''): self.managers,
            (import_figures.TASK, ''): self.next_disks,
        }
        task = contestant.task
        return sizes.get((task, contestant.who)) or sizes[task, '']


FULL = Plan(
    disks=10,
    rounds=8,
    disks_a_thread=8,
    rate_rounds=4,
    imports=3,
    fresh=8,
    snapshots=Size(3, 10),
    copies=Size(1, 5),
    deletes=Size(4, 6),
    queries=Size(20, 10),
    lists=Size(1, 7),
    managers=Size(128, 4),
    kills=Size(1, 3),
    first_disks=Size(1, 5),
    next_disks=Size(10, 8),
    servers=Size(2, 8),
    written_servers=Size(1, 6),
    crowded_servers=Size(2, 5),
    servers_at_once=3,
)
QUICK = Plan(
    disks=3,
    rounds=1,
    disks_a_thread=1,
    rate_rounds=1,
    imports=1,
    fresh=1,
    snapshots=Size(1, 2),
    copies=Size(1, 1),
    deletes=Size(1, 2),
    queries=Size(5, 1),
    lists=Size(1, 1),
    managers=Size(16, 1),
    kills=Size(1, 1),
    first_disks=Size(1, 1),
    next_disks=Size(3, 1),
    servers=Size(1, 1),
    written_servers=Size(1, 1),
    crowded_servers=Size(1, 1),
    servers_at_once=1,
)


class Rounds:
    """What is measured, by contestant."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.results: dict[
            tuple[Contestant, int, str], list[measuring.Block]
        ] = {}
        self._report = report
        self._deadline = time.monotonic() + LIMIT_S

    def run(
        self, lanes: Sequence[Lane], contestants: Mapping[Contestant, Any]
    ) -> None:
        """Warm each lane up, then measure round after round."""
        for lane in lanes:
            if lane.warm_disks:
                for _ in _block(lane, lane.warm_disks, contestants):
                    pass
        for number in range(max(lane.rounds for lane in lanes)):
            if number and time.monotonic() > self._deadline:
                self._report(f'no more rounds after {LIMIT_S} s')
                return
            self._round(lanes, number, contestants)

    def _round(
        self,
        lanes: Sequence[Lane],
        number: int,
        contestants: Mapping[Contestant, Any],
    ) -> None:
        turn = number % len(lanes)
        said = []
        for lane in (*lanes[turn:], *lanes[:turn]):
            if number >= lane.rounds:
                continue
            for act, block in _block(lane, lane.disks, contestants):
                key = (lane.contestant, lane.threads, act)
                self.results.setdefault(key, []).append(block)
                if act == _TOLD[lane.contestant.task]:
                    said.append(_told(lane, block))
        self._report(f'round {number + 1}, ms: {", ".join(said)}')


def _is_import(contestant: Contestant) -> bool:
    """Tell whether all of an image's data is written for each disk."""
    slow = import_figures.SLOW
    return contestant.who == 'import' or contestant.who in slow


def _is_crowded(contestant: Contestant) -> bool:
    """Tell whether others are made in the one pool of all servers first."""
    return contestant.task == compute_figures.TASK and contestant.count > 0


def _told(lane: Lane, block: measuring.Block) -> str:
    seconds, threads = measuring.median([block]), ''
    if lane.threads > 1:
        seconds = 1 / measuring.rate([block])
        threads = f' by {lane.threads}'
    return f'{lane.contestant}{threads} {1000 * seconds:.1f}'


def _block(
    lane: Lane, disks: int, contestants: Mapping[Contestant, Any]
) -> Iterator[tuple[str, measuring.Block]]:
    """Yield each act and what it took."""
    names = [f'{uuid.uuid4()}_disk' for _ in range(disks)]
    contestant = contestants[lane.contestant]
    for act in _ACTS:
        if hasattr(contestant, act):
            yield act, getattr(contestant, act)(names, lane.threads)
    if hasattr(contestant, 'remove'):
        time.sleep(_PAUSE_S)

# SPDX-License-Identifier: Apache-2.0
"""What goes wrong: servers, managers and workers, each in its own way.

Two threads do it, one to servers and one to managers: what they do overlaps,
but never on the same one. Faults wait for callers, and callers for faults,
so that both come to their ends together.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import itertools
import random
import signal
import threading
import traceback

import psutil

from tests.chaos import backup
from tests.chaos import moving
from tests.chaos import outages
from tests.chaos.ledger import Ledger
from tests.chaos.outages import Disturb
from tests.chaos.plan import Plan
from tests.chaos.world import World
from tests.stack import server

#: So long as a lease, and some.
_PAUSE_S = (9.0, 12.0)
_OSD_PAUSE_S = (4.0, 12.0)
_DOWN_S = (0.0, 3.0)
_OPERATIONS_FOR_A_POINT = 40
_LOOKS_EVERY_S = 0.2
#: How far callers may be ahead.
_AHEAD = 0.02
#: What is left of the run when the last point is armed, and fault begun.
_LAST = 0.9


class Faults:
    """All that goes wrong in one run; ``made`` counts it by kind."""

    def __init__(self, plan: Plan, world: World, ledger: Ledger) -> None:
        self.made: collections.Counter[str] = collections.Counter()
        self.broken: list[str] = []
        self.unreached: list[str] = []
        self._plan = plan
        self._world = world
        self._ledger = ledger
        self._stopping = threading.Event()
        self._wanted = {'servers': 0, 'managers': 0}
        self._done = dict(self._wanted)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin."""
        chance = self._plan.chance('faults')
        of_all = kinds_for(self._plan)
        kinds = list(
            itertools.islice(_dealt(chance, of_all), self._plan.faults)
        )
        for lane, known in (('servers', SERVERS), ('managers', MANAGERS)):
            chosen = [kind for kind in kinds if kind in known]
            self._wanted[lane] = len(chosen)
            self._begin(self._disturb, lane, chosen)
        self._begin(self._kill_at_points)

    def _begin(self, act: Callable[..., None], *given: object) -> None:
        thread = threading.Thread(target=act, args=given, daemon=True)
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        """Begin no other."""
        self._stopping.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether all has been done, and undone, in that time."""
        for thread in self._threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def kinds(self) -> dict[str, int]:
        """How many there were of each kind, with the deaths at points."""
        deaths = len(self._world.points.reached())
        return {**self.made, **({'failpoint': deaths} if deaths else {})}

    def is_behind(self) -> bool:
        """Whether callers are to wait."""
        return any(
            self._ledger.progress * _LAST > (done + 1) / wanted + _AHEAD
            for lane, wanted in self._wanted.items()
            if wanted and (done := self._done[lane]) < wanted
        )

    def _disturb(self, lane: str, kinds: list[str]) -> None:
        chance = self._plan.chance(lane)
        for number, kind in enumerate(kinds):
            if not self._wait_for(_LAST * number / len(kinds)):
                return
            try:
                if KINDS[kind](self._world, chance, self._stopping):
                    self.made[kind] += 1
            except Exception:
                self.broken.append(f'{kind}: {traceback.format_exc()}')
            self._done[lane] += 1
            self._stopping.wait(chance.uniform(0.5, 3.0))

    def _kill_at_points(self) -> None:
        points = self._world.points
        names = points.names()
        self._plan.chance('points').shuffle(names)
        names = names[: self._plan.operations // _OPERATIONS_FOR_A_POINT]
        for number, name in enumerate(names):
            if not self._wait_for(_LAST * number / len(names)):
                break
            points.arm(name)
        self._wait_for(1.0)
        self.unreached = points.disarm()

    def _wait_for(self, progress: float) -> bool:
        """Wait until callers have come so far; False when it is over."""
        while self._ledger.progress < progress:
            if self._stopping.wait(_LOOKS_EVERY_S):
                return False
        return not self._stopping.is_set()


def kinds_for(plan: Plan) -> list[str]:
    """Return the kinds that a run has: SQLite has no server to disturb.

    :raises ValueError: a kind was named that there is not.
    """
    if unknown := set(plan.only) - KINDS.keys():
        raise ValueError(f'no kinds of faults: {sorted(unknown)}')
    return [
        kind
        for kind in plan.only or sorted(KINDS)
        if plan.database != 'sqlite' or not kind.startswith('database_')
    ]


def _dealt(chance: random.Random, kinds: list[str]) -> Iterator[str]:
    """Yield all kinds in one order, then in another, without an end."""
    while kinds:
        yield from chance.sample(kinds, len(kinds))


# Servers


def _broker(world: World) -> server.Server:
    return world.servers.rabbitmq


def _database(world: World) -> server.Server:
    return world.database


def _ceph(world: World) -> server.Server:
    return world.servers.ceph


def _ended(
    end: Callable[[server.Server, str], None],
    which: Callable[[World], server.Server],
    name: str = '',
) -> Disturb:
    """Return what ends a server's daemon, and starts it after a while."""

    def disturb(
        world: World, chance: random.Random, stopping: threading.Event
    ) -> bool:
        end(which(world), name or which(world).name)
        stopping.wait(chance.uniform(*_DOWN_S))
        which(world).start()
        return True

    return disturb


def _osd_paused(
    world: World, chance: random.Random, stopping: threading.Event
) -> bool:
    world.servers.ceph.pause('osd')
    stopping.wait(chance.uniform(*_OSD_PAUSE_S))
    world.servers.ceph.resume('osd')
    world.servers.ceph.peer_again()
    return True


def _broker_cut_off(
    world: World, chance: random.Random, stopping: threading.Event
) -> bool:
    world.servers.rabbitmq.close_all_connections()
    return True


def _database_cut_off(
    world: World, chance: random.Random, stopping: threading.Event
) -> bool:
    world.database.close_all_connections()
    return True


# Managers and workers


def _manager_killed(
    world: World, chance: random.Random, stopping: threading.Event
) -> bool:
    with world.a_manager(chance) as daemon:
        daemon.kill()
        stopping.wait(chance.uniform(*_DOWN_S))
    return True


def _manager_stopped(
    world: World, chance: random.Random, stopping: threading.Event
) -> bool:
    with world.a_manager(chance) as daemon:
        daemon.stop(timeout_s=60)
    return True


def _manager_paused(
    world: World, chance: random.Random, stopping: threading.Event
) -> bool:
    with world.a_manager(chance) as daemon:
        if not daemon.running:
            return False
        daemon.pause()
        stopping.wait(chance.uniform(*_PAUSE_S))
        if daemon.running:
            daemon.resume()
    return True


def _worker_killed(
    world: World, chance: random.Random, stopping: threading.Event
) -> bool:
    worker = world.a_worker(chance)
    return worker is not None and _signalled(worker, signal.SIGKILL)


def _worker_paused(
    world: World, chance: random.Random, stopping: threading.Event
) -> bool:
    worker = world.a_worker(chance)
    if worker is None or not _signalled(worker, signal.SIGSTOP):
        return False
    stopping.wait(chance.uniform(*_PAUSE_S))
    _signalled(worker, signal.SIGCONT)
    return True


def _worker_shut_out(
    world: World, chance: random.Random, stopping: threading.Event
) -> bool:
    addresses = world.servers.ceph.clients('client.rbdcloner')
    if not addresses:
        return False
    world.servers.ceph.shut_out(chance.choice(addresses))
    return True


def _signalled(one: psutil.Process, number: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        one.send_signal(number)
        return True
    return False


_STOP, _KILL = server.Server.stop, server.Server.kill

SERVERS: dict[str, Disturb] = {
    'rabbitmq_stopped': _ended(_STOP, _broker),
    'rabbitmq_killed': _ended(_KILL, _broker),
    'rabbitmq_cut_off': _broker_cut_off,
    'database_stopped': _ended(_STOP, _database),
    'database_killed': _ended(_KILL, _database),
    'database_cut_off': _database_cut_off,
    'osd_paused': _osd_paused,
    'osd_killed': _ended(_KILL, _ceph, 'osd'),
    **outages.SERVERS,
    **moving.SERVERS,
    **backup.SERVERS,
}
MANAGERS: dict[str, Disturb] = {
    'worker_killed': _worker_killed,
    'worker_paused': _worker_paused,
    'worker_shut_out': _worker_shut_out,
    'manager_killed': _manager_killed,
    'manager_stopped': _manager_stopped,
    'manager_paused': _manager_paused,
    **outages.MANAGERS,
}
KINDS = SERVERS | MANAGERS

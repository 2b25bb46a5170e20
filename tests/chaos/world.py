# SPDX-License-Identifier: Apache-2.0
"""The servers and managers of a run, each of which can be disturbed."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import pathlib
import random
import sys
import threading
from typing import Any
from typing import Self

import psutil

from rbdcloner import rpcapi
from rbdcloner.db import engine
from rbdcloner.db.lineage import Lineage
from tests import stack
from tests.bench import child
from tests.chaos import failpoints
from tests.chaos import guests
from tests.chaos.disks import Disks
from tests.chaos.ingress import Ingress
from tests.chaos.ledger import Ledger
from tests.chaos.plan import Plan
from tests.stack import manager
from tests.stack import process

POOLS = ('images', 'vms')
MANAGERS = 2
WORKERS = 2
_GUESTS = 4
#: Shorter than the longest pause of the OSD.
_CEPH_TIMEOUT_S = 10
#: Where much else runs on the machine.
_START_S = 240
_LOOKS_EVERY_S = 1.0
_SOON = {
    'workers': WORKERS,
    'recovery_interval': 2,
    'survey_interval': 2,
}


class World:
    """Ceph, RabbitMQ, Glance, a database, and managers that are kept up.

    A manager that ends is started again after a second, as systemd would.
    As a context it ends with everything in it; ``ending`` says how.
    """

    servers: stack.Stack
    ingress: Ingress
    database_url: str
    lineage: Lineage
    ledger: Ledger
    #: A caller's way to them, for who disturbs.
    disks: Disks

    def __init__(
        self, folder: pathlib.Path, plan: Plan, report: Callable[[str], None]
    ) -> None:
        self.ending = contextlib.ExitStack()
        self.plan = plan
        self.folder = folder
        self.points = failpoints.Failpoints(folder / 'failpoints')
        self.managers: list[manager.Manager] = []
        self.guests: guests.Guests
        self._report = report
        self._held = {n: threading.RLock() for n in range(MANAGERS)}
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.ending.close()

    def leave(self) -> None:
        """Have everything go on, but for what this process does."""
        self._ended.set()
        self.ending.pop_all()

    @property
    def logs(self) -> pathlib.Path:
        """The folder of everybody's logs."""
        return self.folder / 'stack' / 'log'

    @property
    def database(self) -> Any:
        """The database's server."""
        return self.servers.databases[self.plan.database]

    def start(self) -> None:
        """Start everything; return when the managers answer.

        :raises StackError: something did not start
        """
        self.servers = self.ending.enter_context(
            stack.Stack(
                self.folder / 'stack',
                databases=(self.plan.database,),
                report=self._report,
            )
        )
        self.ingress = self.ending.enter_context(
            Ingress(
                self.folder / 'stack', self.servers.glance.settings['port']
            )
        )
        self.database_url = self.database.create()
        connected = engine.connect(self.database_url)
        self.ending.callback(connected.dispose)
        self.lineage = Lineage(connected)
        self.ledger = Ledger(self.plan.operations, self.servers.ceph.fsid)
        self.points.prepare()
        for number in range(MANAGERS):
            self.managers.append(self._manager(number))
            self.ending.enter_context(self.managers[-1])
        for each in self.managers:
            each.daemons[each.name].timeout_s = _START_S
            each.daemons[each.name].wait_ready()
        self.guests = guests.Guests(
            self.servers.ceph.conf, self.logs / 'guests.out', _GUESTS
        )
        self.ending.callback(self.guests.close)
        keeper = threading.Thread(target=self._keep_up, daemon=True)
        keeper.start()
        self.ending.callback(keeper.join)
        self.ending.callback(self._ended.set)

    def _manager(self, number: int) -> manager.Manager:
        return manager.Manager(
            self.servers,
            self.database_url,
            name=f'manager-{number + 1}',
            options={
                'DEFAULT': _SOON,
                'ceph': {
                    'clone_format': self.plan.clone_format,
                    'timeout': _CEPH_TIMEOUT_S,
                },
                'flatten': {'soft_depth': 3},
                'glance': {
                    'endpoint': self.ingress.url,
                    'endpoint_override': self.ingress.url,
                },
                # What others remove here, they remove on purpose; what is in
                # doubt is to be gone by the end.
                'safety': {'brake_limit': 0, 'undo_delay': 5},
            },
            program=(sys.executable, '-m', 'tests.chaos.mortal'),
            env={
                'PYTHONPATH': str(child.ROOT),
                failpoints.VARIABLE: str(self.folder / 'failpoints'),
            },
            wait=False,
            sync=number == 0,
        )

    def client(self, timeout_s: float) -> rpcapi.API:
        """Return a client of the managers."""
        conf = self.managers[0].load_conf()
        return rpcapi.API.from_conf(conf, timeout_s=timeout_s)

    # For who disturbs

    @contextlib.contextmanager
    def a_manager(self, chance: random.Random) -> Iterator[process.Daemon]:
        """Yield a manager's process, which nobody else starts meanwhile."""
        number = chance.randrange(MANAGERS)
        with self._held[number]:
            yield self._daemon(number)

    def a_worker(self, chance: random.Random) -> psutil.Process | None:
        """Return one of all workers; None where there is none now."""
        workers = [
            worker
            for number in range(MANAGERS)
            if (master := self._daemon(number).process)
            for worker in _children(master)
        ]
        return chance.choice(workers) if workers else None

    def restore(self) -> None:
        """Have everything run that was running in the beginning.

        :raises StackError: it does not.
        """
        self.points.disarm()
        self.ingress.find_backend()
        for one in self.servers.servers.values():
            for daemon in one.daemons.values():
                _resume(daemon)
            one.start()
        for number in range(MANAGERS):
            with self._held[number]:
                _resume(self._daemon(number))
                self._daemon(number).start()

    def _daemon(self, number: int) -> process.Daemon:
        each = self.managers[number]
        return each.daemons[each.name]

    def _keep_up(self) -> None:
        while not self._ended.wait(_LOOKS_EVERY_S):
            for number, lock in self._held.items():
                if lock.acquire(blocking=False):
                    try:
                        self._daemon(number).start(wait=False)
                    finally:
                        lock.release()


def _children(master: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(master.children())
    return []


def _resume(daemon: process.Daemon) -> None:
    if daemon.running:
        daemon.resume()

# SPDX-License-Identifier: Apache-2.0
"""A process that dies at any of its steps.

The steps are found, not listed: a first run counts every COMMIT and every
act in Ceph; then the run is repeated and killed before each of them, and
once after the last, when only the answer was lost. Dying before a step is
dying after the one before it.
"""

from collections.abc import Callable
import threading
from typing import ClassVar

import testtools

from rbdcloner.model import CloneFormat
from tests.unit.cloning import service
from tests.unit.cloning.service import Process
from tests.unit.cloning.service import Service

# They come in their own time; with its process a heart stops, too.
_HEARTBEATS = frozenset({'lease', 'flatten', 'import'})


class Steps:
    """Counts the steps of one process, and dies before one of them."""

    def __init__(self, deadly: int | None = None) -> None:
        self.deadly = deadly
        self.seen: list[str] = []

    def commit(self) -> None:
        self.step('commit')

    def act(self, name: str, when: str) -> None:
        if when == 'before':
            self.step(name)

    def step(self, name: str) -> None:
        if threading.current_thread().name in _HEARTBEATS:
            return
        if len(self.seen) == self.deadly:
            raise service.Died(f'before {name}')
        self.seen.append(name)


class CrashTest(testtools.TestCase):
    """Runs an action, killed at each step in turn, in both clone formats."""

    world: ClassVar[type[Service]] = Service

    def each_death(
        self,
        prepare: Callable[[Service], str],
        act: Callable[[Process, str], object],
        check: Callable[[Service, str], None],
    ) -> list[str]:
        """Return the steps, after all deaths were survived."""
        seen: list[str] = []
        for clone_format in CloneFormat:
            deadly = 0
            while True:
                with self.world(clone_format) as world:
                    what = prepare(world)
                    steps = Steps(deadly)
                    process = world.process(steps.commit)
                    world.ceph.on_act = steps.act
                    died = self._dies(act, process, what)
                    world.ceph.on_act = lambda name, when: None
                    world.ceph.expire_watches()
                    world.end_leases()
                    try:
                        check(world, what)
                    except Exception as exc:
                        exc.add_note(f'died after {steps.seen}')
                        raise
                if not died:
                    break
                deadly += 1
            seen = steps.seen
        return seen

    def _dies(
        self,
        act: Callable[[Process, str], object],
        process: Process,
        what: str,
    ) -> bool:
        try:
            act(process, what)
        except service.Died:
            return True
        return False

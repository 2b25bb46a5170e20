# SPDX-License-Identifier: Apache-2.0
"""Callers: threads that ask for one thing after another, at random."""

from __future__ import annotations

from collections.abc import Callable
import random
import threading
import time
import traceback

from rbdcloner import rpcapi
from tests.chaos.asking import Asker
from tests.chaos.disks import Disks
from tests.chaos.faults import Faults
from tests.chaos.images import Images
from tests.chaos.ledger import Disk
from tests.chaos.ledger import Ledger
from tests.chaos.plan import Plan
from tests.chaos.world import World

#: Of one attempt; whoever asks makes more.
_TIMEOUT_S = 15
_HASTY_TIMEOUT_S = 2
#: As many as callers keep.
_DISKS = 40
_IMAGES = 12
_LOOKS_EVERY_S = 0.1
#: How often a disk that there is gets which.
_ON_DISKS = {
    'snapshot': 12,
    'snapshot_and_discard': 3,
    'resize': 10,
    'delete': 20,
    'create_snapshot': 8,
    'remove_snapshot': 4,
    'rollback': 5,
    'look': 5,
}


class Callers:
    """All callers of a run, over two clients."""

    def __init__(
        self, plan: Plan, world: World, ledger: Ledger, faults: Faults
    ) -> None:
        api = world.client(_TIMEOUT_S)
        hasty = world.client(_HASTY_TIMEOUT_S)
        self.broken: list[str] = []
        self._callers = [
            Caller(
                world, api, hasty, ledger, faults, plan.chance(f'caller {n}')
            )
            for n in range(plan.callers)
        ]
        self.first = self._callers[0]
        self._threads = [
            threading.Thread(target=self._run, args=(each,), daemon=True)
            for each in self._callers
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def are_done(self) -> bool:
        """Whether all have asked for all that they were to."""
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, caller: Caller) -> None:
        try:
            caller.run()
        except Exception:
            self.broken.append(traceback.format_exc())


class Caller:
    """One of them."""

    def __init__(
        self,
        world: World,
        api: rpcapi.API,
        hasty: rpcapi.API,
        ledger: Ledger,
        faults: Faults,
        chance: random.Random,
    ) -> None:
        asker = Asker(api, ledger, chance)
        self.disks = Disks(asker, Asker(hasty, ledger, chance), world.guests)
        self.images = Images(asker, world.servers.glance)
        self._ledger = ledger
        self._faults = faults
        self._chance = chance

    def run(self) -> None:
        """Ask, until as much was asked for as the run is to have."""
        while self._ledger.begin():
            self._choose()()
            while self._faults.is_behind():
                if self._ledger.stopping.is_set():
                    return
                time.sleep(_LOOKS_EVERY_S)

    def _choose(self) -> Callable[[], None]:
        disks = len(self._ledger.disks_there())
        images = len(self._ledger.images_there())
        if not images or self._chance.random() < 0.02:
            return self.images.upload
        if self._chance.random() > (disks + 1) / _DISKS:
            return self.disks.create
        if self._chance.random() < images / _IMAGES / 6:
            return self._delete_image
        return self._chance.choice(
            [self.disks.create, self._on_a_disk, self._on_a_disk]
        )

    def _delete_image(self) -> None:
        with self._ledger.taken(
            self._chance, self._ledger.images_there()
        ) as image:
            if image is not None:
                self.images.delete(image)

    def _on_a_disk(self) -> None:
        (what,) = self._chance.choices(
            list(_ON_DISKS), list(_ON_DISKS.values())
        )
        acts: dict[str, Callable[[Disk], None]] = {
            'snapshot': self.images.snapshot,
            'snapshot_and_discard': self.images.snapshot_and_discard,
            'resize': self.disks.resize,
            'delete': self.disks.delete,
            'create_snapshot': self.disks.create_snapshot,
            'remove_snapshot': self.disks.remove_snapshot,
            'rollback': self.disks.rollback,
            'look': self.disks.look,
        }
        sure = what != 'delete'
        with self._ledger.taken(
            self._chance, self._ledger.disks_there(), sure
        ) as disk:
            if disk is not None:
                acts[what](disk)

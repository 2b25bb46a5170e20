# SPDX-License-Identifier: Apache-2.0
"""What happens in a run: trouble, quiet, a look, and the end of everything."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
import dataclasses
import time
from typing import Any

from rbdcloner.model import Clone
from tests.chaos import inventory
from tests.chaos import promises
from tests.chaos import quiet
from tests.chaos import report
from tests.chaos.callers import Callers
from tests.chaos.faults import Faults
from tests.chaos.ledger import AnyThing
from tests.chaos.ledger import Known
from tests.chaos.plan import Plan
from tests.chaos.report import Finding
from tests.chaos.world import World

_IMAGES = 3
_TELLS_EVERY_S = 5
_LOOKS_EVERY_S = 0.5
#: A fault's own end, and a caller's patience.
_END_S = 180
QUIET_S = 240
#: The survey has found what Glance did by then.
_SETTLES_S = 8
_LOOKS = 3


@dataclasses.dataclass(frozen=True)
class Told:
    """What came of a run; ``incidents`` are its own errors."""

    figures: dict[str, Any]
    findings: list[Finding]
    surprises: list[Finding]
    incidents: list[str]

    @property
    def is_clean(self) -> bool:
        """Whether everything was as it should be."""
        return not self.findings and not self.incidents


class Story:
    """One run over one world; *check* raises when it is to end."""

    def __init__(
        self, plan: Plan, world: World, check: Callable[[], None]
    ) -> None:
        self._plan = plan
        self._world = world
        self._check = check
        self._begun = time.monotonic()
        self._told_at = 0.0

    def tell(self) -> Told:
        """Have everything happen; what came of it."""
        world = self._world
        world.start()
        self._ledger = world.ledger
        self._faults = Faults(self._plan, world, self._ledger)
        self._callers = Callers(self._plan, world, self._ledger, self._faults)
        world.disks = self._callers.first.disks
        self._lineage = world.lineage
        self._inventory = inventory.Inventory(world, self._lineage)
        for _ in range(_IMAGES):
            self._callers.first.images.upload()
        incidents = self._disturb()
        findings, quiet_s = self._settle()
        findings += self._look()
        findings += self._delete_everything()
        surprises = self._surprises()
        findings += [one for one in surprises if one.kind]
        imports = len(self._lineage.bases(limit=quiet.ALL))
        figures = report.result(
            self._ledger.begun, imports, self._faults.kinds, findings, quiet_s
        )
        return Told(
            figures,
            findings,
            [one for one in surprises if not one.kind],
            incidents,
        )

    def _disturb(self) -> list[str]:
        """Ask and disturb until both is done; what went wrong with that."""
        self._say(f'seed {self._plan.seed}')
        self._callers.start()
        self._faults.start()
        deadline = time.monotonic() + self._plan.timeout
        while not self._callers.are_done() and time.monotonic() < deadline:
            self._tick('')
            time.sleep(_LOOKS_EVERY_S)
        self._faults.stop()
        self._ledger.stopping.set()
        self._wait(lambda: self._faults.wait(0), 'faults')
        self._world.restore()
        self._wait(self._callers.are_done, 'callers')
        incidents = [*self._faults.broken, *self._callers.broken]
        if not self._callers.are_done():
            incidents.append('callers do not come to an end')
        if self._ledger.begun < self._plan.operations:
            incidents.append(f'no more than {self._ledger.begun} operations')
        if self._faults.unreached:
            self._say(f'never reached: {" ".join(self._faults.unreached)}')
        return incidents

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _END_S
        while not done() and time.monotonic() < deadline:
            self._tick(f'waiting for {what}')
            time.sleep(_LOOKS_EVERY_S)

    def _settle(self) -> tuple[list[Finding], float]:
        """Wait for quiet; what is not, and how long it took."""
        begun = time.monotonic()
        left = quiet.wait(
            self._lineage,
            lambda rows: list(rows.unfinished()),
            QUIET_S,
            self._tick,
        )
        quiet_s = time.monotonic() - begun
        self._say(f'quiet after {quiet_s:.1f} s' if not left else 'no quiet')
        return [_stuck(one) for one in left], quiet_s

    def _look(self) -> list[Finding]:
        """Return what is wrong, now and for a while."""
        findings: list[Finding] = []
        for _ in range(_LOOKS):
            deadline = time.monotonic() + _SETTLES_S
            while time.monotonic() < deadline:
                self._tick('looking')
                time.sleep(_LOOKS_EVERY_S)
            found = self._inventory.look()
            findings = [
                *inventory.compare(found),
                *promises.kept(self._ledger, found),
            ]
            if not findings:
                break
        images = sum(map(len, found.named.values()))
        trash = sum(map(len, found.trashed.values()))
        self._say(
            f'looked at {images} images, {trash} in the trash, '
            f'{len(found.rows.clones)} rows: {len(findings)} findings'
        )
        return findings

    def _delete_everything(self) -> list[Finding]:
        """Delete all that callers have; what is left."""
        caller = self._callers.first
        self._each(self._ledger.disks, caller.disks.delete)
        self._each(self._ledger.images, caller.images.remove)
        left = quiet.wait(
            self._lineage, self._inventory.left, QUIET_S, self._tick
        )
        self._say(f'{len(left)} left of everything')
        return [_stuck(one) for one in left]

    def _each(
        self, things: list[AnyThing], act: Callable[[AnyThing], None]
    ) -> None:
        """Do it with each that is not gone, some at a time."""
        with futures.ThreadPoolExecutor(self._plan.callers) as threads:
            waiting = {
                threads.submit(act, one)
                for one in things
                if one.known is not Known.GONE
            }
            while waiting:
                self._tick('deleting')
                done, waiting = futures.wait(waiting, _LOOKS_EVERY_S)
                for one in done:
                    one.result()

    def _surprises(self) -> list[Finding]:
        return [
            Finding(kind, why, thing=thing)
            for kind, why, thing in self._ledger.surprises
        ]

    def _tick(self, what: str) -> None:
        """Tell how far it is, every few seconds; end if that is wanted."""
        self._check()
        if time.monotonic() < self._told_at + _TELLS_EVERY_S:
            return
        self._told_at = time.monotonic()
        faults = ', '.join(
            f'{kind} {count}' for kind, count in self._faults.kinds.items()
        )
        failures = ', '.join(
            f'{name} {count}'
            for name, count in self._ledger.errors.most_common(4)
        )
        self._say(
            f'{self._ledger.begun} operations, '
            f'{len(self._ledger.disks_there())} disks, '
            f'{len(self._ledger.images_there())} images; '
            f'{sum(self._faults.kinds.values())} faults ({faults}); '
            f'errors: {failures or "none"}; '
            f'{len(self._ledger.surprises)} surprises. {what}'
        )

    def _say(self, text: str) -> None:
        report.say(f'{time.monotonic() - self._begun:6.0f} s  {text}')


def _stuck(one: object) -> Finding:
    kind = 'leaked' if isinstance(one, str) else 'stuck'
    names = [one.image.name] if isinstance(one, Clone) else []
    return Finding(kind, f'left: {one}', names=names)

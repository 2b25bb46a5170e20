# SPDX-License-Identifier: Apache-2.0
"""What is missing ends only in small numbers: a mishap takes all at once.

A Glance on an old database, or a pool that is another's by now, looks as if
everything had been deleted. So a look first counts what would end, and ends
it only if that is little. Else the brake is engaged, for all managers: nothing
that was inferred ends until an administrator releases it, or the images are
back.
"""

from collections.abc import Callable
import dataclasses
import logging

from rbdcloner import errors
from rbdcloner import metrics
from rbdcloner.db.lineage import Lineage

LOG = logging.getLogger(__name__)

_WHAT_TO_DO = (
    'nothing is removed for being missing until "rbdcloner-manage service '
    'release-brake", or until it is back. See that Glance and Ceph have '
    'what they should'
)


@dataclasses.dataclass(slots=True)
class _Group:
    """What one look saw of one kind, and what is missing of it."""

    seen: int = 0
    endings: list[Callable[[], object]] = dataclasses.field(
        default_factory=list
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Brake:
    """The brake of one cluster, whose state is in the database.

    It engages where a look would end more than *limit* rows of a kind, and
    more than *percent* of those that it saw; *limit* 0 is never.
    """

    lineage: Lineage
    fsid: str
    limit: int
    percent: int

    def is_engaged(self) -> bool:
        """Tell whether anything may end for being missing."""
        brakes = self.lineage.brakes(self.fsid)
        engaged = any(not brake.released for brake in brakes)
        metrics.BRAKE.set(engaged)
        return engaged

    def refuse(self) -> None:
        """Return if what is missing may end.

        :raises BrakeEngaged: it may not.
        """
        for brake in self.lineage.brakes(self.fsid):
            if not brake.released:
                raise errors.BrakeEngaged(reason=brake.reason)

    def engage(self, name: str, reason: str) -> None:
        """Let nothing end that is missing; say so once."""
        if self.lineage.engage_brake(self.fsid, name, reason):
            LOG.error('The brake is engaged: %s; %s', reason, _WHAT_TO_DO)
        metrics.BRAKE.set(True)

    def look(self, name: str) -> 'Look':
        """Return what a look called *name*, always the same, is counted in."""
        brakes = [b for b in self.lineage.brakes(self.fsid) if b.name == name]
        return Look(
            self,
            name,
            whole=bool(brakes),
            released=any(brake.released for brake in brakes),
        )


@dataclasses.dataclass(slots=True)
class Look:
    """One look: what would end is collected, and ends together or not at all.

    ``whole``: the brake is engaged, or was just released, and the look is to
    leave nothing for the next one. ``released``: what is missing may end,
    however much it is.
    """

    brake: Brake
    name: str
    whole: bool
    released: bool
    _agreed: list[Callable[[], object]] = dataclasses.field(
        default_factory=list
    )
    _groups: dict[str, _Group] = dataclasses.field(default_factory=dict)
    _reasons: list[str] = dataclasses.field(default_factory=list)

    def saw(self, group: str, number: int = 1) -> None:
        """Count what the look saw of a kind."""
        self._group(group).seen += number

    def would_end(self, group: str, end: Callable[[], object]) -> None:
        """Have *end* called when the look is over, if it may be."""
        self._group(group).endings.append(end)

    def will_end(self, end: Callable[[], object]) -> None:
        """As :meth:`would_end`, uncounted: Ceph and Glance agree on it."""
        self._agreed.append(end)

    def object_to(self, reason: str) -> None:
        """Engage the brake when the look is over, whatever it counted."""
        self._reasons.append(reason)

    def finish(self) -> None:
        """End what would end, or engage the brake; disengage it if it may."""
        reasons = [] if self.released else self._all_reasons()
        if reasons:
            self.brake.engage(self.name, '; '.join(reasons))
            return
        if self.whole:
            self.brake.lineage.end_brake(self.brake.fsid, self.name)
            LOG.info('The brake of the %s is off', self.name)
        if self.brake.is_engaged():
            return
        for group in self._groups.values():
            self._agreed += group.endings
        for end in self._agreed:
            try:
                end()
            except (errors.RowMoved, errors.DiskBusy):
                continue
            except errors.Error as exc:
                LOG.warning('Could not end a row, will retry: %s', exc)

    def _group(self, group: str) -> _Group:
        return self._groups.setdefault(group, _Group())

    def _all_reasons(self) -> list[str]:
        return [
            *self._reasons,
            *(
                f'{len(group.endings)} of {group.seen} {what} are missing'
                for what, group in self._groups.items()
                if self._is_too_much(group)
            ),
        ]

    def _is_too_much(self, group: _Group) -> bool:
        missing = len(group.endings)
        if not self.brake.limit or missing <= self.brake.limit:
            return False
        # Of what is back, a part is not enough.
        return self.whole or missing * 100 > self.brake.percent * group.seen

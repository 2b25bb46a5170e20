# SPDX-License-Identifier: Apache-2.0
"""The managers as an operator sees them: one per host, of its workers."""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import datetime
import enum
import itertools

from rbdcloner.cmd import presence
from rbdcloner.cmd.manage import columns
from rbdcloner.cmd.manage import progress
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import Flatten
from rbdcloner.model import Worker
from rbdcloner.states import FlattenState
from rbdcloner.states import State


class Condition(enum.StrEnum):
    """How a worker is; of a manager's, the first of these counts."""

    UP = 'up'
    STOPPING = 'stopping'
    """It answers what it has, and takes no more."""

    SHUT_OUT = 'shut out'
    """Ceph refuses it, and it has not connected anew."""

    DOWN = 'down'
    """It was not seen for a while, and has not said why."""

    STOPPED = 'stopped'
    UNKNOWN = 'unknown'
    """It works, but is not recorded."""


_VERBS = {
    State.RESERVED: 'create',
    State.IMPORTING: 'finish',
    State.RESIZING: 'resize',
    State.ROLLING_BACK: 'roll back',
    State.DELETING: 'delete',
    State.RETIRED: 'purge',
    State.RESTORING: 'restore',
    State.UNDOING: 'undo',
}


@dataclasses.dataclass(frozen=True, slots=True)
class Manager:
    """The workers of one host, and what they, or their dead, work on."""

    host: str
    workers: Sequence[Worker]
    doing: Sequence[str]

    @property
    def condition(self) -> Condition:
        """How it is, by its best worker."""
        found = set(map(condition, self.workers))
        return next((c for c in Condition if c in found), Condition.UNKNOWN)

    @property
    def last_seen(self) -> Worker | None:
        """The worker that was seen last."""
        return max(self.workers, key=lambda w: w.seen_at, default=None)

    @property
    def clock_offset_ms(self) -> int:
        """How far its clock is ahead of the database's."""
        return self.last_seen.clock_offset_ms if self.last_seen else 0

    def versions(self) -> list[tuple[str, str]]:
        """Return the versions, and RPC versions, of its workers."""
        return sorted({(w.version, w.rpc_version) for w in self.workers})


def condition(worker: Worker) -> Condition:
    """Return how *worker* is."""
    if presence.has_ended(worker):
        return Condition.STOPPED
    if not presence.is_alive(worker):
        return Condition.DOWN
    if worker.stopped_at is not None:
        return Condition.STOPPING
    if worker.shut_out_at is not None and not worker.addresses:
        return Condition.SHUT_OUT
    return Condition.UP


def managers(lineage: Lineage, everybody: bool) -> Iterator[Manager]:
    """Yield the managers, by host; then those who work and are not recorded.

    Unless *everybody*, without workers that others have taken the place of,
    and without managers that were stopped.
    """
    doing = _doings(lineage)
    recorded = lineage.workers()
    for host, of_host in itertools.groupby(recorded, lambda w: w.host):
        workers = list(of_host)
        texts = [text for w in workers for text in doing.pop(w.owner, ())]
        if not everybody:
            workers = [w for w in workers if not _is_replaced(w, workers)]
        manager = Manager(host or '(starting)', workers, texts)
        if everybody or texts or manager.condition is not Condition.STOPPED:
            yield manager
    for owner, others in sorted(doing.items()):
        yield Manager(owner, (), others)


def _is_replaced(worker: Worker, workers: Sequence[Worker]) -> bool:
    dead = not presence.is_alive(worker)
    return dead and any(w.started_at > worker.seen_at for w in workers)


def _doings(lineage: Lineage) -> dict[str, list[str]]:
    now = lineage.now()
    found: dict[str, list[str]] = {}
    for clone in lineage.held():
        found.setdefault(clone.owner, []).append(_of_clone(clone, now))
    for flatten in lineage.flattens([FlattenState.RUNNING]):
        found.setdefault(flatten.owner, []).append(_of_flatten(flatten, now))
    return found


def _of_clone(clone: Clone, now: datetime.datetime) -> str:
    since = columns.duration(now - clone.updated_at)
    return f'{_VERBS[clone.state]} {clone.image} {since}{_lease(clone, now)}'


def _of_flatten(flatten: Flatten, now: datetime.datetime) -> str:
    percent = progress.percent(flatten)
    return f'flatten {flatten.clone.image} {percent} %{_lease(flatten, now)}'


def _lease(row: Clone | Flatten, now: datetime.datetime) -> str:
    ends_at = row.lease_expires_at
    if ends_at is None or ends_at >= now:
        return ''
    return f', left {columns.duration(now - ends_at)} ago'

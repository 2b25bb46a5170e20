# SPDX-License-Identifier: Apache-2.0
"""How far the managers are with what was asked of them, by the rows."""

from collections.abc import Collection
from collections.abc import Sequence

from rbdcloner.cmd.manage import columns
from rbdcloner.cmd.manage.watching import Status
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Base
from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.model import Flatten
from rbdcloner.model import Way
from rbdcloner.states import BaseState
from rbdcloner.states import FlattenState
from rbdcloner.states import State

#: A flatten is not over yet.
UNFINISHED = (FlattenState.WANTED, FlattenState.RUNNING)

_ROWS_AT_ONCE = 500
_BAR = 30


class Flattens:
    """Flattens that were queued; each one that ends is read once more."""

    def __init__(self, lineage: Lineage, queued: Sequence[Flatten]) -> None:
        self._lineage = lineage
        self._left = {flatten.id: flatten for flatten in queued}
        self._queued = len(queued)
        self._done = 0
        self._refused: list[str] = []

    def look(self) -> Status:
        """Tell how many are done, and what the others do or wait for."""
        unfinished = self._unfinished()
        for id_ in self._left.keys() - unfinished.keys():
            self._end(self._left.pop(id_))
        text = '; '.join(
            [
                f'{self._done} of {self._queued} flattened',
                *self._refused,
                *_doings(list(unfinished.values())),
            ]
        )
        return Status(text, not self._left, not self._refused)

    def _unfinished(self) -> dict[int, Flatten]:
        found: dict[int, Flatten] = {}
        marker = min(self._left, default=1) - 1
        while page := self._lineage.flattens(
            UNFINISHED, marker=marker, limit=_ROWS_AT_ONCE
        ):
            found |= {one.id: one for one in page if one.id in self._left}
            marker = page[-1].id
        return found

    def _end(self, flatten: Flatten) -> None:
        marker = flatten.id - 1
        (now,) = self._lineage.flattens(
            clone_id=flatten.clone.id, marker=marker, limit=1
        )
        if not now.clone.attached:
            self._done += 1
        else:
            self._refused.append(f'{now.clone.image} was not: {now.reason}')


class Import:
    """An image that is imported."""

    def __init__(self, lineage: Lineage, base: Base) -> None:
        self._lineage = lineage
        self._base = base

    def look(self) -> Status:
        """Tell how far it is, with a bar, or what it waits for."""
        base = self._lineage.base(self._base.uuid)
        if base.state is BaseState.RUNNING:
            copied = base.way is Way.COPY
            return Status('Glance is copying it' if copied else _bar(base))
        if base.state is BaseState.WANTED:
            return Status(self._waits(base))
        text = f'Image {base.glance_image_id} is {base.state}'
        if base.state is BaseState.READY and base.clone:
            text += f': disks are cloned from {base.clone.image}'
            return Status(text, over=True, done=True)
        if base.state is BaseState.COPIED:
            text += ': Glance has it in this cluster now'
            return Status(text, over=True, done=True)
        return Status(f'{text}: {base.reason}', over=True)

    def _waits(self, base: Base) -> str:
        if base.reason:
            again = columns.moment(base.retry_at)
            return f'waiting: {base.reason} (next attempt {again})'
        running = len(self._lineage.bases((BaseState.RUNNING,)))
        if running:
            return f'waiting for others: {running} being imported'
        return 'waiting for a manager (see "service list")'


class Moves:
    """Rows that leave one state for another; *goal* is where they should."""

    def __init__(
        self,
        lineage: Lineage,
        clones: Sequence[Clone],
        goal: Collection[State],
    ) -> None:
        self._lineage = lineage
        self._uuids = [clone.uuid for clone in clones]
        self._leaves = {clone.state for clone in clones} - set(goal)
        self._goal = goal

    def look(self) -> Status:
        """Tell each row's state, and what it waits for."""
        rows = [
            clone
            for uuid in self._uuids
            for clone in self._lineage.page(Filters(uuid=uuid))
        ]
        return Status(
            '; '.join(map(self._told, rows)),
            all(row.state not in self._leaves for row in rows),
            all(row.state in self._goal for row in rows),
        )

    def _told(self, clone: Clone) -> str:
        text = f'{clone.image} is {clone.state}'
        if clone.state in self._goal:
            return text
        if clone.state not in self._leaves:
            return f'{text}: {clone.reason}'
        if clone.lease_expires_at is not None:
            return text
        if not clone.attempts:
            return f'{text} and waits for a manager'
        again = columns.moment(clone.retry_at)
        return f'{text} and waits: {clone.reason} (next attempt {again})'


def percent(flatten: Flatten) -> int:
    """Return how far *flatten* is."""
    if flatten.state is FlattenState.DONE:
        return 100
    if not flatten.total_objects:
        return 0
    return min(100 * flatten.done_objects // flatten.total_objects, 100)


def percent_imported(base: Base) -> int:
    """Return how far the import of *base* is."""
    if base.state in (BaseState.READY, BaseState.COPIED):
        return 100
    if not base.total_bytes:
        return 0
    return min(100 * base.done_bytes // base.total_bytes, 100)


def _bar(base: Base) -> str:
    """Return a bar that fits into a narrow terminal."""
    percent = percent_imported(base)
    filled = _BAR * percent // 100
    return (
        f'{percent:3} % [{"#" * filled}{"." * (_BAR - filled)}] '
        f'{columns.size(base.done_bytes)} of {columns.size(base.total_bytes)}'
    )


def _doings(unfinished: Sequence[Flatten]) -> list[str]:
    at_work = [
        f'{flatten.clone.image} {percent(flatten)} %'
        for flatten in unfinished
        if flatten.state is FlattenState.RUNNING
    ]
    waiting = [
        f'{flatten.clone.image} waits: {flatten.reason}'
        for flatten in unfinished
        if flatten.state is FlattenState.WANTED and flatten.reason
    ]
    if unfinished and not (at_work or waiting):
        return ['waiting for a manager']
    return [columns.few(some) for some in (at_work, waiting) if some]

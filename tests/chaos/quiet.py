# SPDX-License-Identifier: Apache-2.0
"""What the database has that somebody is still to go on with."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import time

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Base
from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.model import Flatten
from rbdcloner.model import Parent
from rbdcloner.states import BaseState
from rbdcloner.states import FlattenState
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.chaos.guests import Unreadable

ALL = 10**6
NOT_FINAL = tuple(sorted(set(State) - states.FINAL))
_LOOKS_EVERY_S = 1.0


@dataclasses.dataclass(frozen=True)
class Rows:
    """All rows of one moment, but those of before."""

    clones: list[Clone]
    parents: list[Parent]
    flattens: list[Flatten]
    bases: list[Base]

    @classmethod
    def read(cls, lineage: Lineage) -> Rows:
        """Return what *lineage* says now."""
        return cls(
            lineage.page(Filters(states=NOT_FINAL), limit=ALL),
            [
                parent
                for parent in lineage.parents()
                if parent.state is not ParentState.RELEASED
            ],
            lineage.flattens([FlattenState.WANTED, FlattenState.RUNNING]),
            lineage.bases([BaseState.WANTED, BaseState.RUNNING]),
        )

    def needed(self) -> set[str]:
        """Return the ids of the images that something descends from."""
        return {
            one.parent.snapshot.image.id
            for one in self.clones
            if one.attached and one.parent
        }

    def unfinished(self) -> list[Base | Clone | Flatten | Parent]:
        """Return what would not be there if all were quiet."""
        needed = self.needed()
        clones = [
            one
            for one in self.clones
            if one.state in states.IN_PROGRESS
            or one.lease_expires_at
            or (one.state is State.RETIRED and one.image.id not in needed)
        ]
        parents = [
            one
            for one in self.parents
            if one.state in (ParentState.PLANNED, ParentState.RELEASING)
        ]
        return [*clones, *parents, *self.flattens, *self.bases]


def wait(
    lineage: Lineage,
    left: Callable[[Rows], list[object]],
    timeout_s: float,
    tick: Callable[[str], None],
) -> list[object]:
    """Wait until nothing is *left*; what is, after so many seconds."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            found = left(Rows.read(lineage))
        except (errors.DatabaseUnavailable, Unreadable) as exc:
            found = [exc]
        if not found or time.monotonic() > deadline:
            return found
        tick(f'{len(found)} left')
        time.sleep(_LOOKS_EVERY_S)

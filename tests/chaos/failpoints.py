# SPDX-License-Identifier: Apache-2.0
"""Named points between any two writes, at which a worker dies if armed.

``before:ceph.clone`` and ``after:ceph.clone`` are about an act in Ceph,
``before:db.reserve`` about a transaction; that which moves a row has the new
state in its name. A point is armed by a file of its name; the first worker
to reach it renames the file and kills itself, so that one file is one death.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import functools
import json
import os
import pathlib
import signal
from typing import Any

from rbdcloner import states

VARIABLE = 'RBDCLONER_FAILPOINTS'
WHEN = ('before', 'after')
_NAMES = 'names.json'
_MOVE = 'move'
_REACHED = [
    after
    for after in states.State
    if any(states.may_follow(before, after) for before in states.State)
]


class Failpoints:
    """The points of all workers, in a folder that they share."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._armed = folder / 'armed'
        self._reached = folder / 'reached'
        self._known: set[str] = set()

    def prepare(self) -> None:
        """Make the folder, with nothing armed."""
        for one in (self._armed, self._reached):
            one.mkdir(parents=True)

    # For who arms

    def names(self) -> list[str]:
        """Return every point that workers have."""
        return sorted(json.loads((self._folder / _NAMES).read_text()))

    def arm(self, name: str) -> None:
        """Have the next worker die that gets there."""
        (self._armed / name).touch()

    def disarm(self) -> list[str]:
        """Let nobody die any more; the points that nobody had reached."""
        left = sorted(one.name for one in self._armed.iterdir())
        for name in left:
            (self._armed / name).unlink(missing_ok=True)
        return left

    def reached(self) -> list[str]:
        """Return the points at which somebody died, in that order."""
        found = sorted(
            self._reached.iterdir(), key=lambda one: one.stat().st_ctime_ns
        )
        return [one.name for one in found]

    # For who dies

    def around(
        self, room: str, verb: str, act: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Return *act* between two points; its first argument is self."""
        for each in _REACHED if verb == _MOVE else ['']:
            self._known |= {_name(when, room, verb, each) for when in WHEN}

        @functools.wraps(act)
        def watched(*given: Any, **named: Any) -> Any:
            state = (*given, named.get('state'))[2] if verb == _MOVE else ''
            self._reach(_name('before', room, verb, state))
            answer = act(*given, **named)
            self._reach(_name('after', room, verb, state))
            return answer

        return watched

    def publish(self) -> None:
        """Tell which points there are."""
        written = self._folder / f'{_NAMES}.{os.getpid()}'
        written.write_text(json.dumps(sorted(self._known)))
        written.rename(self._folder / _NAMES)

    def _reach(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._armed / name, self._reached / name)
            os.kill(os.getpid(), signal.SIGKILL)


def _name(when: str, room: str, verb: str, state: str) -> str:
    return '.'.join(filter(None, (f'{when}:{room}', verb, state)))

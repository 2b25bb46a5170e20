# SPDX-License-Identifier: Apache-2.0
"""The states of a clone, a parent, a flatten and a base, and what may follow.

This is the only home of the state machines: :mod:`rbdcloner.db.lineage` asks
:func:`may_follow` at its one door, and :func:`base_may_follow` at that of
bases; ``python -m rbdcloner.states`` draws both for the documentation.
"""

from collections.abc import Collection
from collections.abc import Mapping
import enum
from typing import TypeVar

_Each = TypeVar('_Each', bound=enum.StrEnum)


class State(enum.StrEnum):
    """What a clone's row promises about its RBD image."""

    RESERVED = 'reserved'
    """The name is promised; the image may not exist, or be half made."""

    IMPORTING = 'importing'
    """The image exists, without a parent; its caller writes into it."""

    READY = 'ready'
    """The image exists with the recorded size and belongs to its caller."""

    RESIZING = 'resizing'
    """The image has the old size or the new one."""

    ROLLING_BACK = 'rolling-back'
    """The image has its own data or that of the snapshot it goes back to."""

    DELETING = 'deleting'
    """The caller does not want the image any more; its name may be taken."""

    RETIRED = 'retired'
    """The name is free; the image is in the trash until no child needs it."""

    RESTORING = 'restoring'
    """The image was retired and is to have its name again."""

    UNDOING = 'undoing'
    """Making the image failed; what exists of it is being removed."""

    DELETED = 'deleted'
    """The image is gone, as its caller asked."""

    FAILED = 'failed'
    """The image was never delivered and nothing of it is left."""


class ParentState(enum.StrEnum):
    """Whether a parent snapshot takes children."""

    PLANNED = 'planned'
    """The service is about to make the snapshot; it may exist."""

    ACTIVE = 'active'
    """Children may be taken."""

    RELEASING = 'releasing'
    """No child is taken; what we hold on the snapshot is being given back."""

    RELEASED = 'released'
    """Nothing of ours is on the snapshot, or it is gone."""


class FlattenState(enum.StrEnum):
    """How far the flattening of a child has come."""

    WANTED = 'wanted'
    """Nobody is at work; some data may have been copied."""

    RUNNING = 'running'
    """A worker copies; a dead one leaves it so until its lease ends."""

    DONE = 'done'
    """The child has no parent any more."""

    CANCELLED = 'cancelled'
    """It is not wanted any more; the child keeps its parent."""


class BaseState(enum.StrEnum):
    """How far the import of a Glance image into a base has come."""

    WANTED = 'wanted'
    """Somebody asked for it; nobody is at work, first or again."""

    RUNNING = 'running'
    """A worker imports; a dead one leaves it so until its lease ends."""

    READY = 'ready'
    """The base's image is READY, its snapshot ACTIVE: disks are cloned."""

    COPIED = 'copied'
    """Glance has the image in this cluster now; it is cloned from there."""

    DROPPED = 'dropped'
    """The base was given up; its image goes as what is deleted does."""

    REFUSED = 'refused'
    """The image must not, or cannot, be imported; not tried again."""


_FOLLOWERS: dict[State, frozenset[State]] = {
    State.RESERVED: frozenset(
        {
            State.IMPORTING,
            State.READY,
            State.UNDOING,
            State.DELETING,
            State.FAILED,
        }
    ),
    State.IMPORTING: frozenset({State.READY, State.DELETING}),
    State.READY: frozenset(
        {State.RESIZING, State.ROLLING_BACK, State.DELETING}
    ),
    State.RESIZING: frozenset({State.READY, State.DELETING}),
    State.ROLLING_BACK: frozenset({State.READY, State.DELETING}),
    State.DELETING: frozenset({State.RETIRED}),
    State.RETIRED: frozenset({State.RESTORING, State.DELETED}),
    State.RESTORING: frozenset({State.READY, State.RETIRED, State.DELETING}),
    State.UNDOING: frozenset({State.FAILED, State.RETIRED}),
    State.DELETED: frozenset(),
    State.FAILED: frozenset(),
}

#: Nothing follows; nothing is left in Ceph.
FINAL = frozenset(s for s, after in _FOLLOWERS.items() if not after)

#: The name is taken.
LIVE = frozenset(State) - FINAL - {State.RETIRED}

#: Somebody is at work; a dead worker can leave a row here.
IN_PROGRESS = LIVE - {State.IMPORTING, State.READY}

_BASE_FOLLOWERS: dict[BaseState, frozenset[BaseState]] = {
    BaseState.WANTED: frozenset(
        {BaseState.RUNNING, BaseState.REFUSED, BaseState.DROPPED}
    ),
    BaseState.RUNNING: frozenset(
        {
            BaseState.WANTED,
            BaseState.READY,
            BaseState.COPIED,
            BaseState.REFUSED,
            BaseState.DROPPED,
        }
    ),
    BaseState.READY: frozenset({BaseState.DROPPED}),
    BaseState.COPIED: frozenset(),
    BaseState.DROPPED: frozenset(),
    BaseState.REFUSED: frozenset(),
}

#: The import is to come, or the base is there: there is one such row.
LIVE_BASES = frozenset(s for s, after in _BASE_FOLLOWERS.items() if after)


def may_follow(before: State, after: State) -> bool:
    """Tell whether a clone's row in *before* may be moved to *after*."""
    return after in _FOLLOWERS[before]


def base_may_follow(before: BaseState, after: BaseState) -> bool:
    """Tell whether a base's row in *before* may be moved to *after*."""
    return after in _BASE_FOLLOWERS[before]


def draw() -> str:
    """Return the machines in Graphviz's language."""
    clones = _drawn('clone', _FOLLOWERS, IN_PROGRESS)
    bases = _drawn('base', _BASE_FOLLOWERS, {BaseState.RUNNING})
    return f'{clones}\n{bases}'


def _drawn(
    name: str,
    followers: Mapping[_Each, Collection[_Each]],
    in_progress: Collection[_Each],
) -> str:
    lines = [f'digraph {name} {{']
    for state, after in followers.items():
        shape = 'circle' if after else 'doublecircle'
        style = ', style=dashed' if state in in_progress else ''
        lines.append(f'  "{state}" [shape={shape}{style}];')
    lines += [
        f'  "{before}" -> "{after}";'
        for before, among in followers.items()
        for after in followers
        if after in among
    ]
    return '\n'.join([*lines, '}'])


if __name__ == '__main__':
    print(draw())

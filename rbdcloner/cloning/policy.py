# SPDX-License-Identifier: Apache-2.0
"""How deep chains and how many snapshots may get, and what to flatten then.

Rules without I/O. A depth counts the images that one descends from, those in
the trash too: a read of what was never written goes through all of them.
What a guest has open is never chosen.
"""

from collections.abc import Sequence
import dataclasses

from rbdcloner.model import Clone
from rbdcloner.model import Kind
from rbdcloner.model import Parent
from rbdcloner.states import State


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Over *soft* something is flattened meanwhile; over *hard*, before.

    Ceph allows 510 snapshots of an image to kernel clients, and chains until
    librbd runs out of stack.
    """

    soft_depth: int = 4
    hard_depth: int = 8
    soft_snapshots: int = 250
    hard_snapshots: int = 450


def depth(parent: Parent, chain: Sequence[Clone]) -> int:
    """Return how many images a child of *parent* descends from.

    *chain* are the rows of its ancestors, nearest first; above them are
    images that nobody's row tells of, counted by the last parent.
    """
    highest = parent
    known = 0
    for clone in chain:
        known += 1
        if not clone.attached or clone.parent is None:
            return known + highest.depth
        highest = clone.parent
    return known + 1 + highest.depth


def relief(chain: Sequence[Clone]) -> Clone | None:
    """Return whom of *chain* to flatten, so that what is below gets shallow.

    The nearest one that no guest can have open: a Glance image, or what is
    in the trash. ``None`` if there is none.
    """
    for clone in chain:
        if clone.attached and is_idle(clone):
            return clone
    return None


def is_idle(clone: Clone) -> bool:
    """Tell whether no guest can have the image open, by what it is for."""
    if clone.state is State.RETIRED:
        return True
    return clone.kind is Kind.IMAGE and clone.state is State.READY

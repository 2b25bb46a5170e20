# SPDX-License-Identifier: Apache-2.0
"""The steps of a machine: what is drawn, and what goes wrong."""

from collections.abc import Callable
import dataclasses
import functools
import itertools
from typing import Any
from typing import TypeVar

from hypothesis import stateful
from hypothesis import strategies

from rbdcloner import errors
from tests.unit.cloning import service
from tests.unit.cloning.expected import PLACES

Chosen = TypeVar('Chosen')

_MAX_UNITS = 3


@dataclasses.dataclass(frozen=True)
class Trouble:
    """A process dies at its n-th step, or Ceph does not answer it there."""

    step: int
    when: str
    deadly: bool
    recovered: bool

    def steps(self, ceph: Any) -> Callable[[str, str], None]:
        numbers = itertools.count()

        def step(name: str, when: str) -> None:
            if when != self.when or next(numbers) != self.step:
                return
            ceph.on_act = no_trouble
            if self.deadly:
                raise service.Died(f'{when} {name}')
            raise errors.CephUnavailable(act=name)

        return step


def no_trouble(name: str, when: str) -> None:
    """Let the act go on."""


NUMBER = strategies.integers(0, 11)
WHO = strategies.integers(0, 1)
PLACE = strategies.integers(0, PLACES - 1)
UNITS = strategies.integers(1, _MAX_UNITS)
NAME = strategies.sampled_from(['first', 'second'])
TROUBLE = strategies.one_of(
    strategies.none(),
    strategies.none(),
    strategies.none(),
    strategies.builds(
        Trouble,
        step=strategies.integers(0, 6),
        when=strategies.sampled_from(['before', 'after']),
        deadly=strategies.booleans(),
        recovered=strategies.booleans(),
    ),
)


def step(**drawn: Any) -> Callable[[Callable[..., None]], Any]:
    """Make a method a rule that is counted."""

    def decorate(method: Callable[..., None]) -> Any:
        @functools.wraps(method)
        def counted(self: Any, **given: Any) -> None:
            self.counts['steps'] += 1
            self.counts[method.__name__] += 1
            method(self, **given)

        return stateful.rule(**drawn)(counted)

    return decorate


def with_room(limit: int, what: str) -> Callable[[Any], Any]:
    """Let a rule run only while there are less of *what*."""
    return stateful.precondition(
        lambda self: len(getattr(self.expected, what)) < limit
    )


def with_a(what: str) -> Callable[[Any], Any]:
    """Let a rule run only if there is one of *what*."""
    return stateful.precondition(lambda self: getattr(self.expected, what))


def pick(known: dict[str, Chosen], number: int) -> Chosen:
    return list(known.values())[number % len(known)]

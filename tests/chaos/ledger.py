# SPDX-License-Identifier: Apache-2.0
"""What callers asked for, and what they were told came of it."""

from __future__ import annotations

import collections
from collections.abc import Iterator
import contextlib
import dataclasses
import enum
import itertools
import random
import threading
import time
from typing import TypeVar

from tests.unit.cloning.expected import Data

UNIT = 4 * 2**20
TOKEN_BYTES = 4
_LOOKS_EVERY_S = 0.5
#: Whoever has begun has taken something by then.
_IDLE_LOOKS = 4


class Known(enum.StrEnum):
    """What callers know of a disk or an image."""

    ASKED = 'asked for'
    THERE = 'there'
    UNSURE = 'without an answer'
    GONE = 'gone'


@dataclasses.dataclass(eq=False)
class Thing:
    """A disk or an image, and all that was ever said of it.

    ``possible`` is what it may hold: more than one where a caller got no
    answer. ``late`` is set when somebody gave up on its creation.
    """

    name: str
    possible: list[Data]
    known: Known = Known.ASKED
    late: bool = False
    leaving: bool = False
    busy: bool = False
    uuid: str = ''
    history: list[str] = dataclasses.field(default_factory=list)

    @property
    def data(self) -> Data:
        """What it holds, where that is sure."""
        return self.possible[-1]

    def note(self, said: str) -> None:
        """Remember what was asked or answered, and when."""
        self.history.append(f'{time.strftime("%H:%M:%S")} {said}')


@dataclasses.dataclass(eq=False)
class Disk(Thing):
    """A disk; ``snapshots`` and ``removed`` are those that a caller named."""

    instance_uuid: str = ''
    image_id: str = ''
    snapshots: dict[str, Data] = dataclasses.field(default_factory=dict)
    removed: set[str] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(eq=False)
class Image(Thing):
    """A Glance image; ``location`` is empty if it was uploaded.

    What it may hold is what disks of it do: packed, its own bytes are others.
    """

    location: str = ''
    packed: bool = False


AnyThing = TypeVar('AnyThing', Disk, Image)


class Ledger:
    """What all callers know together."""

    def __init__(self, operations: int, fsid: str) -> None:
        self.fsid = fsid
        self.stopping = threading.Event()
        self.disks: list[Disk] = []
        self.images: list[Image] = []
        self.errors: collections.Counter[str] = collections.Counter()
        self.surprises: list[tuple[str, str, Thing]] = []
        self.begun = 0
        self._operations = operations
        self._tokens = itertools.count(1)
        self._may_begin = threading.Event()
        self._may_begin.set()
        self._lock = threading.Lock()

    def begin(self) -> bool:
        """Take one of the operations; False when there is none any more."""
        self._may_begin.wait()
        with self._lock:
            if self.stopping.is_set() or self.begun >= self._operations:
                return False
            self.begun += 1
            return True

    @contextlib.contextmanager
    def held(self, patience_s: float) -> Iterator[bool]:
        """Have callers begin nothing; yield whether what they began is done.

        In that time: they ask for long where something is down.
        """
        self._may_begin.clear()
        deadline = time.monotonic() + patience_s
        idle = 0
        try:
            while idle < _IDLE_LOOKS and time.monotonic() < deadline:
                time.sleep(_LOOKS_EVERY_S)
                idle = 0 if self._is_busy() else idle + 1
            yield idle == _IDLE_LOOKS
        finally:
            self._may_begin.set()

    def _is_busy(self) -> bool:
        with self._lock:
            # A disk whose name was claimed for another one stays busy.
            newest = {one.name: one for one in self.disks}
            return any(one.busy for one in (*newest.values(), *self.images))

    @property
    def progress(self) -> float:
        """The part of all operations that was begun."""
        return self.begun / self._operations

    def token(self) -> bytes:
        """Return bytes that nobody ever wrote."""
        return next(self._tokens).to_bytes(TOKEN_BYTES, 'big')

    def add(self, thing: Thing) -> None:
        """Remember a disk or an image that is going to be asked for."""
        with self._lock:
            thing.busy = True
            if isinstance(thing, Disk):
                self.disks.append(thing)
            elif isinstance(thing, Image):
                self.images.append(thing)

    def failed(self, name: str) -> None:
        """Count an error that a caller got."""
        with self._lock:
            self.errors[name] += 1

    def surprise(self, kind: str, why: str, thing: Thing) -> None:
        """Remember an answer that contradicts what callers know."""
        with self._lock:
            self.surprises.append((kind, why, thing))

    def disks_there(self) -> list[Disk]:
        """Return the disks that callers know to be there."""
        with self._lock:
            return [one for one in self.disks if one.known is Known.THERE]

    def images_there(self) -> list[Image]:
        """Return the images that may be used."""
        with self._lock:
            return [
                one
                for one in self.images
                if one.known is Known.THERE and not one.leaving
            ]

    def free_names(self) -> list[Disk]:
        """Return disks that are gone, and whose names nobody has now."""
        with self._lock:
            newest = {one.name: one for one in self.disks}
        return [
            one
            for one in newest.values()
            if one.known is Known.GONE and not one.late and not one.busy
        ]

    @contextlib.contextmanager
    def claimed(self, former: Disk) -> Iterator[Disk | None]:
        """Yield *former*, whose name is free, unless others took that."""
        with self._lock:
            newest = {one.name: one for one in self.disks}
            is_free = newest[former.name] is former and not former.busy
            former.busy = former.busy or is_free
        yield former if is_free else None

    @contextlib.contextmanager
    def taken(
        self, chance: random.Random, things: list[AnyThing], sure: bool = True
    ) -> Iterator[AnyThing | None]:
        """Yield one of *things* that nobody else works on meanwhile.

        If *sure*, one whose data is known.
        """
        with self._lock:
            idle = [
                one
                for one in things
                if not one.busy
                and one.known is Known.THERE
                and not (sure and len(one.possible) > 1)
            ]
            chosen = chance.choice(idle) if idle else None
            if chosen is not None:
                chosen.busy = True
        try:
            yield chosen
        finally:
            if chosen is not None:
                chosen.busy = False

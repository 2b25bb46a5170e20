# SPDX-License-Identifier: Apache-2.0
"""Ceph against the database, both against what callers were told."""

from __future__ import annotations

import collections
from collections.abc import Iterator
import dataclasses
import time

from rbdcloner import states
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import GLANCE_NAME
from rbdcloner.model import Clone
from rbdcloner.model import Filters
from rbdcloner.model import Kind
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.chaos import quiet
from tests.chaos.guests import Seen
from tests.chaos.guests import Unreadable
from tests.chaos.images import FAILURES
from tests.chaos.report import Finding
from tests.chaos.world import POOLS
from tests.chaos.world import World

_PATIENCE_S = 60
_AGAIN_S = 1.0
_MADE = (Purpose.EDGE, Purpose.GLANCE)


@dataclasses.dataclass(frozen=True)
class Found:
    """Everything at one moment."""

    rows: quiet.Rows
    every: dict[tuple[str, str], list[Clone]]
    """All rows of a pool and a name, final ones too."""
    named: dict[str, dict[str, str]]
    """Ids by name, by pool."""
    trashed: dict[str, dict[str, str]]
    """Names by id, by pool."""
    seen: dict[str, Seen | Unreadable]
    """Images by id."""
    in_glance: dict[str, str]
    """The states of Glance's images by id."""


class Inventory:
    """Looks at one world."""

    def __init__(self, world: World, lineage: Lineage) -> None:
        self._world = world
        self._lineage = lineage

    def look(self) -> Found:
        """Return everything there is."""
        rows = quiet.Rows.read(self._lineage)
        every = collections.defaultdict(list)
        for one in self._lineage.page(Filters(), limit=quiet.ALL):
            every[one.image.pool, one.image.name].append(one)
        named, trashed = self._pools()
        in_glance = self._states_in_glance()
        return Found(
            rows,
            every,
            named,
            trashed,
            {
                image_id: self._seen(pool, image_id)
                for pool in POOLS
                for image_id in (*named[pool].values(), *trashed[pool])
            },
            in_glance,
        )

    def _states_in_glance(self) -> dict[str, str]:
        client = self._world.servers.glance.client()
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return {one.id: one.status for one in client.images.list()}
            except FAILURES:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_AGAIN_S)

    def left(self, rows: quiet.Rows) -> list[object]:
        """Return what is there when everything was deleted."""
        in_ceph = [
            f'{pool}: {one} {found[pool][one]}'
            for found in self._pools()
            for pool in POOLS
            for one in found[pool]
        ]
        return [*rows.clones, *rows.unfinished(), *in_ceph]

    def _pools(self) -> tuple[dict[str, dict[str, str]], ...]:
        """Return what is named and what is trashed, by pool."""
        guests = self._world.guests
        found = {pool: guests.pool(pool) for pool in POOLS}
        return (
            {pool: named for pool, (named, _) in found.items()},
            {pool: trashed for pool, (_, trashed) in found.items()},
        )

    def _seen(self, pool: str, image_id: str) -> Seen | Unreadable:
        try:
            return self._world.guests.look(pool, image_id)
        except Unreadable as exc:
            return exc


def compare(found: Found) -> list[Finding]:
    """Return where Ceph and the database differ."""
    return [
        *_doubled(found),
        *_missing(found),
        *_unaccounted_images(found),
        *_unaccounted_snapshots(found),
        *_idle_parents(found),
    ]


def _doubled(found: Found) -> Iterator[Finding]:
    for (pool, name), rows in found.every.items():
        live = [one for one in rows if one.state in states.LIVE]
        if len(live) > 1:
            yield Finding(
                'doubled', f'{pool}/{name} has two live rows', rows,
                names=[name],
            )  # fmt: skip


def _missing(found: Found) -> Iterator[Finding]:
    for row in found.rows.clones:
        pool = row.image.pool
        if row.state is State.READY:
            is_there = found.named[pool].get(row.image.name) == row.image.id
        elif row.state is State.RETIRED:
            is_there = row.image.id in found.trashed[pool]
        else:
            continue
        if not is_there:
            kind = 'lost' if row.state is State.READY else 'stuck'
            why = f'{row.image} is {row.state}, and Ceph has no such image'
            yield Finding(kind, why, [row], names=[row.image.name])


def _unaccounted_images(found: Found) -> Iterator[Finding]:
    known = {one.image.id for one in found.rows.clones}
    for where, pools in (('named', found.named), ('trashed', found.trashed)):
        for pool in POOLS:
            for one, other in pools[pool].items():
                name, image_id = (
                    (one, other) if where == 'named' else (other, one)
                )
                if image_id in known or name in found.in_glance:
                    continue
                rows = found.every.get((pool, name), [])
                why = f"{where} image {pool}/{name} ({image_id}) is nobody's"
                yield Finding('leaked', why, rows, names=[name, image_id])


def _unaccounted_snapshots(found: Found) -> Iterator[Finding]:
    parents = collections.defaultdict(list)
    for one in found.rows.parents:
        parents[one.snapshot.image.id].append(one)
    glances = {
        image_id
        for name, image_id in found.named['images'].items()
        if name in found.in_glance
    } | {one.image.id for one in found.rows.clones if one.kind is Kind.ADOPTED}
    for image_id, seen in found.seen.items():
        if isinstance(seen, Unreadable):
            continue
        for taken in seen.snapshots:
            if image_id in glances and taken.name == GLANCE_NAME:
                continue
            rows = [
                one
                for one in parents[image_id]
                if one.snapshot.id in (None, taken.id)
            ]
            if not rows:
                why = f"{taken} of {image_id} is nobody's"
            elif taken.protected and not _is_protectors(rows):
                why = f'nobody has protected {taken} of {image_id}'
            else:
                continue
            names = [image_id, *(one.snapshot.image.name for one in rows)]
            yield Finding('leaked', why, rows, names=names)


def _is_protectors(rows: list[Parent]) -> bool:
    return any(one.protector is not Protector.NOBODY for one in rows)


def _idle_parents(found: Found) -> Iterator[Finding]:
    """Tell of snapshots that were made for somebody who is not there."""
    used = {
        one.parent.id
        for one in found.rows.clones
        if one.attached and one.parent
    }
    images = {one.image.id for one in found.rows.clones}
    for parent in found.rows.parents:
        if parent.state is not ParentState.ACTIVE or parent.id in used:
            continue
        image = parent.snapshot.image
        if image.name in found.in_glance:
            continue
        is_idle = parent.purpose is Purpose.EDGE
        if is_idle or (parent.purpose in _MADE and image.id not in images):
            why = f'{parent.snapshot} ({parent.purpose}) is for nobody'
            yield Finding('leaked', why, [parent], names=[image.name])

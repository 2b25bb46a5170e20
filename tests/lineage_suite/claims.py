# SPDX-License-Identifier: Apache-2.0
"""What the claims share."""

from collections.abc import Callable
from concurrent import futures
import dataclasses
import datetime
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import tables
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import DiskRequest
from rbdcloner.model import Image
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts
from rbdcloner.states import State

FSID = '6f9f2d9e-2f0a-4a1c-9a54-3f1f4f1b9b6a'
GIB = 1 << 30
THREADS = 16
EXPIRED = -1.0

FACTS = SnapshotFacts(
    snapshot=Snapshot(Image(FSID, 'images', '', 'an-image', 'abc'), 'snap', 4),
    size_bytes=GIB,
    order=23,
    protected=False,
    trashed=False,
    created_at=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
)

REQUEST = DiskRequest(
    image_id='glance-image',
    name='a_disk',
    pool='vms',
    size_bytes=2 * GIB,
    instance_uuid='instance',
    project_id='project',
    host='host',
)


def snapshot(**changes: Any) -> SnapshotFacts:
    """Return facts of a snapshot of the image with *changes*."""
    image = dataclasses.replace(FACTS.snapshot.image, **changes)
    return dataclasses.replace(
        FACTS, snapshot=dataclasses.replace(FACTS.snapshot, image=image)
    )


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Run *calls* at one moment; their results, or what they raised."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return call()
        except errors.Error as exc:
            return exc

    with futures.ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


class Claims:
    """What the claims below share."""

    @pytest.fixture
    def lineage(self, engine: sa.Engine) -> Lineage:
        return Lineage(engine)

    @pytest.fixture
    def parent(self, lineage: Lineage) -> Parent:
        return lineage.adopt(FACTS, 'glance-image', Protector.NOBODY)

    @pytest.fixture
    def reserve(self, lineage: Lineage, parent: Parent) -> Any:
        def call(
            owner: str = 'me',
            lease_s: float = 30,
            of: Parent = parent,
            **changes: Any,
        ) -> Clone:
            request = dataclasses.replace(REQUEST, **changes)
            return lineage.reserve(request, of, CloneFormat.V2, owner, lease_s)

        return call

    @pytest.fixture
    def ready(self, lineage: Lineage, reserve: Any) -> Any:
        def call(name: str = 'a_disk', **changes: Any) -> Clone:
            clone = reserve(name=name, **changes)
            return lineage.move(clone, State.READY, image_id=f'id-{name}')

        return call

    @pytest.fixture
    def image_of(self, lineage: Lineage) -> Any:
        """Make a READY image of a disk, with a snapshot 'snap'."""

        def call(disk: Clone, image_id: str = 'image') -> Clone:
            clone = lineage.reserve_image(
                disk, image_id, 'images', CloneFormat.V2, 'me', 30
            )
            edge = clone.parent.snapshot
            lineage.made_snapshot(clone.parent, seen(edge.image, edge.name, 1))
            clone = lineage.move(clone, State.READY, image_id=f'id-{image_id}')
            planned = lineage.plan_snapshot(
                clone.image,
                'snap',
                Purpose.GLANCE,
                Protector.NOBODY,
                size_bytes=clone.size_bytes,
                glance_image_id=image_id,
            )
            lineage.made_snapshot(planned, seen(clone.image, 'snap', 2))
            return clone

        return call


def seen(image: Image, name: str, number: int) -> SnapshotFacts:
    """Return facts of a snapshot of *image*."""
    return dataclasses.replace(FACTS, snapshot=Snapshot(image, name, number))


def finish(lineage: Lineage, clone: Clone) -> Clone:
    """Bring a RESERVED row to its end."""
    undoing = lineage.move(clone, State.UNDOING)
    return lineage.move(undoing, State.FAILED)


def count(engine: sa.Engine, *conditions: Any) -> int:
    """Return how many clones there are."""
    statement = sa.select(sa.func.count()).select_from(tables.clones)
    with engine.connect() as connection:
        return connection.scalars(statement.where(*conditions)).one()


def found(lineage: Lineage, name: str = 'a_disk') -> Clone:
    """Return the row of a name in the pool ``vms``."""
    return lineage.find(FSID, 'vms', '', name)


def still_waits(future: futures.Future[Any]) -> None:
    with pytest.raises(futures.TimeoutError):
        future.result(0.2)


def retire(lineage: Lineage, clone: Clone) -> Clone:
    """Bring a READY row to where its name is free."""
    deleting = lineage.move(clone, State.DELETING)
    return lineage.move(deleting, State.RETIRED)


def put(engine: sa.Engine, clone: Clone, **values: Any) -> None:
    """Write into a row past the one door."""
    statement = sa.update(tables.clones).where(tables.clones.c.id == clone.id)
    with engine.begin() as connection:
        connection.execute(statement.values(**values))

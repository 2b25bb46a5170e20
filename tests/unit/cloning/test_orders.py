# SPDX-License-Identifier: Apache-2.0
"""Image → disk → image → disk → image, deleted in every order but the last.

Under format v1, where Glance refuses what has children, an administrator
releases it: in turn by retiring it and by flattening its children.
"""

from collections.abc import Sequence
import datetime
import itertools
import uuid

import pytest

from rbdcloner import errors
from rbdcloner import states
from rbdcloner.cloning import survey
from rbdcloner.cloning.image_release import ImageRelease
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from tests.unit.cloning import service
from tests.unit.cloning.service import MIB

ORDERS = list(itertools.permutations(['disk 1', 'A', 'B', 'disk 2']))
_SHALLOW_ENOUGH = {'soft_depth': 8}
_ROUNDS = 10


class Chain:
    """The chain in a world of its own, on a process of the service."""

    def __init__(self, world: service.Service) -> None:
        self.world = world
        self.process = world.process()
        self.refused = 0
        first = world.add_image()
        self.disks = {'disk 1': self.boot(first, b'one', 10)}
        second = self.snapshot('disk 1')
        self.disks['disk 2'] = self.boot(second, b'two', MIB)
        self.images = {'A': first, 'B': second, 'C': self.snapshot('disk 2')}

    def boot(self, image_id: str, data: bytes = b'', at: int = 0) -> Clone:
        asked = service.request(image_id)
        disk = self.process.engine.create_disk(asked)
        self.world.ceph.write(disk.image, at, data)
        return disk

    def snapshot(self, disk: str) -> str:
        image_id = str(uuid.uuid4())
        row = self.disks[disk]
        location = self.process.snapshots.snapshot_disk(
            'vms', row.image.name, image_id, 'images'
        )
        self.world.register_image(image_id, location, row.size_bytes)
        return image_id

    def delete(self, what: str) -> None:
        if what in self.disks:
            name = self.disks[what].image.name
            self.process.engine.delete_disk('vms', name)
            return
        image_id = self.images[what]
        try:
            self.world.delete_image(image_id)
        except errors.RbdImageInUse:
            self.release(image_id)
            self.world.delete_image(image_id)

    def release(self, image_id: str) -> None:
        self.refused += 1
        release = ImageRelease(
            self.process.lineage, self.world.clone_format, 'administrator'
        )
        if self.refused % 2:
            assert release.retire(image_id)
        else:
            assert release.flatten(image_id)
        self.do_chores()

    def do_chores(self) -> None:
        self.process.survey.look()
        self.process.recovery.sweep()
        while self.process.flattener.run_next():
            continue
        self.process.reaper.sweep()

    def read_last(self) -> tuple[bytes, bytes, bytes]:
        disk = self.boot(self.images['C'])
        self.disks['disk 3'] = disk
        read = self.world.ceph.read
        found = [read(disk.image, at, 6) for at in (0, 10, MIB)]
        return found[0], found[1][:3], found[2][:3]

    def unfinished(self) -> list[object]:
        rows = [row for row in self.world.rows() if row[1] not in states.FINAL]
        return [*rows, *self.world.ceph.inventory()]


def _delete(
    clone_format: CloneFormat, order: Sequence[str], chores_between: bool
) -> int:
    """Delete a chain in that order; how often Glance refused."""
    with service.Service(clone_format, **_SHALLOW_ENOUGH) as world:
        chain = Chain(world)
        for what in order:
            chain.delete(what)
            if chores_between:
                chain.do_chores()
        assert chain.read_last() == (b'golden', b'one', b'two'), order
        for what in ('disk 3', 'C'):
            chain.delete(what)
            chain.do_chores()
        for _ in range(_ROUNDS):
            chain.do_chores()
        assert chain.unfinished() == [], order
        return chain.refused


@pytest.mark.parametrize('chores_between', [True, False])
@pytest.mark.parametrize(
    ('clone_format', 'refusals'),
    [(CloneFormat.V1, True), (CloneFormat.V2, False)],
)
def test_each_order_keeps_the_last_image_and_leaves_nothing(
    clone_format, refusals, chores_between
):
    refused = sum(
        _delete(clone_format, order, chores_between) for order in ORDERS
    )
    assert bool(refused) == refusals


def test_image_that_glance_deletes_while_it_is_restored_goes_too(monkeypatch):
    monkeypatch.setattr(
        survey, '_REGISTERED_WITHIN', -datetime.timedelta(minutes=1)
    )
    with service.Service() as world:
        chain = Chain(world)
        image_id = chain.images['C']
        chain.boot(image_id)
        release = ImageRelease(
            chain.process.lineage, world.clone_format, 'administrator'
        )
        release.retire(image_id)
        chain.process.recovery.sweep()
        (retired,) = chain.process.lineage.page(
            service.Filters(states=(states.State.RETIRED,))
        )
        release.restore(retired)
        world.delete_image(image_id)
        chain.do_chores()
        chain.do_chores()
        assert image_id not in world.ceph.named('images')

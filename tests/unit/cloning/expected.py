# SPDX-License-Identifier: Apache-2.0
"""What a machine expects of its world: every byte, every row, nothing else.

Data is a few bytes at a few places of an image, each written once: what is
read there says from whom it was inherited.
"""

from collections.abc import Iterator
import contextlib
import dataclasses

from rbdcloner.db.lineage import Lineage
from rbdcloner.model import GLANCE_NAME
from rbdcloner.model import DiskRequest
from rbdcloner.model import Filters
from rbdcloner.model import Flatten
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Parent
from rbdcloner.model import SnapshotFacts
from rbdcloner.states import FINAL
from rbdcloner.states import FlattenState
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.unit.cloning.service import Service

PLACES = 6
_TOKEN_BYTES = 4
_NOTHING = bytes(_TOKEN_BYTES)
_ALL = 10000


@dataclasses.dataclass(frozen=True)
class Data:
    """What an image holds: its size, and a token at some of its places."""

    size_bytes: int
    written: dict[int, bytes]

    def with_token(self, place: int, token: bytes) -> 'Data':
        return Data(self.size_bytes, {**self.written, place: token})

    def at(self, place: int) -> bytes:
        return self.written.get(place, _NOTHING)


@dataclasses.dataclass
class Disk:
    """A disk that was answered for; *lost* once others removed its image."""

    request: DiskRequest
    data: Data
    snapshots: dict[str, Data] = dataclasses.field(default_factory=dict)
    guest: contextlib.ExitStack | None = None
    lost: bool = False

    def close(self) -> None:
        if self.guest is not None:
            self.guest.close()
            self.guest = None


@dataclasses.dataclass
class Held:
    """An image that Glance has; *location* is empty if it is not of ours."""

    id: str
    rbd_id: str
    data: Data
    location: str = ''


class Expected:
    """The model of one world, and its comparison with that."""

    def __init__(self, world: Service, lineage: Lineage, unit: int) -> None:
        self.world = world
        self.lineage = lineage
        self.unit = unit
        self.disks: dict[str, Disk] = {}
        #: Their deletion was refused, for their guests.
        self.leaving: list[Disk] = []
        self.images: dict[str, Held] = {}

    def offset(self, place: int) -> int:
        """Return where *place* is: two in each unit of an image's size."""
        return place * self.unit // 2

    def disk_image(self, disk: Disk) -> Image:
        return self.world.child(disk.request.name)

    def rbd_image(self, held: Held) -> Image:
        """Return the noun of an image that may be in the trash."""
        fsid = self.world.ceph.fsid
        return Image(fsid, 'images', '', held.id, held.rbd_id)

    def state_of(self, held: Held) -> State | None:
        """Return the state of the image's row, if it has one."""
        row = self.lineage.find_by_image(self.rbd_image(held))
        return row.state if row else None

    def assert_bytes(self) -> None:
        """Assert that every disk and every image of Glance's reads right."""
        for disk in self.disks.values():
            if not disk.lost:
                self._assert_reads(self.disk_image(disk), disk.data)
        for held in self.images.values():
            self._assert_reads(self.rbd_image(held), held.data)
            if self.state_of(held) in (None, State.READY):
                named = self.world.child(held.id, 'images')
                self._assert_reads(named, held.data, GLANCE_NAME)

    def _assert_reads(
        self, image: Image, data: Data, snapshot: str = ''
    ) -> None:
        inside = [
            place
            for place in range(PLACES)
            if self.offset(place) < data.size_bytes
        ]
        with self.world.ceph.reading(image, snapshot) as read:
            found = {
                place: read(self.offset(place), _TOKEN_BYTES)
                for place in inside
            }
        expected = {place: data.at(place) for place in inside}
        assert found == expected, f'{image}: {found} for {expected}'

    def assert_rows(self) -> None:
        """Assert that what is promised is there, and who accounts for all."""
        rows = self.lineage.page(Filters(states=_UNFINISHED), limit=_ALL)
        names = {pool: self.world.ceph.named(pool) for pool in _POOLS}
        for row in rows:
            if row.state is State.READY and self._is_kept(row.image.name):
                found = names[row.image.pool].get(row.image.name)
                assert found == row.image.id, f'{row.image} is {found}'
        # Glance's snapshot goes with an image that Glance made.
        glances = {row.image.id for row in rows if row.kind is Kind.ADOPTED}
        glances |= {held.rbd_id for held in self.images.values()}
        parents = self.kept_parents()
        known = glances | {row.image.id for row in rows}
        known |= {parent.snapshot.image.id for parent in parents}
        for image in self._in_ceph():
            assert image.id in known, f'nobody accounts for {image}'
            for facts in self.world.ceph.snapshots(image):
                assert (
                    facts.snapshot.name == GLANCE_NAME and image.id in glances
                ) or _is_recorded(facts, parents), (
                    f'nobody accounts for {facts}'
                )

    def _is_kept(self, name: str) -> bool:
        """Tell whether others left the image of that name alone."""
        if name in self.disks:
            return not self.disks[name].lost
        return name in self.images

    def _in_ceph(self) -> Iterator[Image]:
        ceph = self.world.ceph
        for pool in _POOLS:
            for name, image_id in ceph.named(pool).items():
                yield Image(ceph.fsid, pool, '', name, image_id)
            for image_id, name in ceph.trashed(pool).items():
                yield Image(ceph.fsid, pool, '', name, image_id)

    def kept_parents(self) -> list[Parent]:
        return [
            parent
            for parent in self.lineage.parents()
            if parent.state is not ParentState.RELEASED
        ]

    def live_flattens(self) -> list[Flatten]:
        return self.lineage.flattens(
            [FlattenState.WANTED, FlattenState.RUNNING]
        )

    def unfinished(self) -> list[str]:
        """Return what is left when everything should be gone, as text."""
        rows = self.lineage.page(Filters(states=_UNFINISHED), limit=_ALL)
        return [
            *(f'{row.image} {row.state}: {row.reason}' for row in rows),
            *(f'{p.snapshot} {p.state}' for p in self.kept_parents()),
            *(f'flatten of {f.clone.image}' for f in self.live_flattens()),
            *(f'{image.pool}/{image.name}' for image in self._in_ceph()),
        ]


def _is_recorded(facts: SnapshotFacts, parents: list[Parent]) -> bool:
    snapshot = facts.snapshot
    return any(
        parent.snapshot.image.id == snapshot.image.id
        and parent.snapshot.id in (None, snapshot.id)
        for parent in parents
    )


_POOLS = ('images', 'vms')
_UNFINISHED = tuple(set(State) - FINAL)

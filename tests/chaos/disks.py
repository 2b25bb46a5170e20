# SPDX-License-Identifier: Apache-2.0
"""What callers ask for about disks."""

from __future__ import annotations

from concurrent import futures
import contextlib
from typing import Any
import uuid

from rbdcloner import errors
from tests.chaos import ledger
from tests.chaos.asking import PROJECT
from tests.chaos.asking import Asker
from tests.chaos.asking import GaveUp
from tests.chaos.guests import Guests
from tests.chaos.guests import Unreadable
from tests.chaos.ledger import Disk
from tests.chaos.ledger import Known
from tests.unit.cloning.expected import PLACES
from tests.unit.cloning.expected import Data

POOL = 'vms'
#: Of the snapshots that callers take.
SNAPSHOT_PREFIX = 'back-'
_MAX_UNITS = PLACES // 2
_HASTY_S = (0.2, 2.0)
_HASTE = 0.1
_TWINS = 0.1
_WRITES = 0.7
_NAMES_AGAIN = 0.3
#: Where an image is being deleted meanwhile, a disk of it may be refused so.
_OF_THE_IMAGE = (
    errors.ImageError,
    errors.ParentGone,
    errors.ParentReleased,
    errors.RbdImageNotFound,
    errors.SnapshotNotFound,
)


class Disks:
    """One caller's disks, which others may have next."""

    def __init__(self, asker: Asker, hasty: Asker, guests: Guests) -> None:
        self.asker = asker
        self._hasty = hasty
        self._guests = guests
        self._ledger = asker.ledger
        self._chance = asker.chance

    def create(self) -> None:
        """Ask for a disk of an image, and write into it."""
        images = self._ledger.images_there()
        if not images:
            return
        image = self._chance.choice(images)
        units = self._chance.randint(
            image.data.size_bytes // ledger.UNIT, _MAX_UNITS
        )
        disk = self._named(image.name, units * ledger.UNIT, image.data)
        self._ledger.add(disk)
        try:
            answer = self._asked_for(disk)
        except GaveUp:
            self._clean_up(disk)
        except errors.Error as exc:
            disk.known = Known.GONE
            if not (image.leaving and isinstance(exc, _OF_THE_IMAGE)):
                why = f'a creation was refused: {exc.name}: {exc}'
                self._ledger.surprise('', why, disk)
        else:
            disk.uuid = answer['uuid']
            disk.known = Known.THERE
            if self._chance.random() < _WRITES:
                self._write(disk)
        finally:
            disk.busy = False

    def _named(self, image_id: str, size_bytes: int, held: Data) -> Disk:
        """Return a disk that nobody asked for, with a new name or an old."""
        data = Data(size_bytes, dict(held.written))
        free = self._ledger.free_names()
        if free and self._chance.random() < _NAMES_AGAIN:
            with self._ledger.claimed(self._chance.choice(free)) as former:
                if former is not None:
                    return Disk(
                        former.name,
                        [data],
                        instance_uuid=former.instance_uuid,
                        image_id=image_id,
                    )
        instance = str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        return Disk(
            f'{instance}_disk',
            [data],
            instance_uuid=instance,
            image_id=image_id,
        )

    def _asked_for(self, disk: Disk) -> Any:
        wanted = {
            'image_id': disk.image_id,
            'name': disk.name,
            'size_bytes': disk.data.size_bytes,
            'pool': POOL,
            'instance_uuid': disk.instance_uuid,
            'project_id': PROJECT,
            'host': 'compute-1',
            'import_': 'allowed',
        }
        if self._chance.random() < _HASTE:
            patience_s = self._chance.uniform(*_HASTY_S)
            return self._hasty.ask(disk, 'create_disk', patience_s, **wanted)
        if self._chance.random() < _TWINS:
            return self._asked_twice(disk, wanted)
        return self.asker.ask(disk, 'create_disk', **wanted)

    def _asked_twice(self, disk: Disk, wanted: dict[str, Any]) -> Any:
        """Return what either of two was told who asked at once."""
        with futures.ThreadPoolExecutor(2) as threads:
            both = [
                threads.submit(self.asker.ask, disk, 'create_disk', **wanted)
                for _ in range(2)
            ]
        failures = [exc for one in both if (exc := one.exception())]
        answers = [one.result() for one in both if not one.exception()]
        if len({answer['uuid'] for answer in answers}) > 1:
            why = 'two who asked at once were told of two disks'
            self._ledger.surprise('doubled', why, disk)
        for failure in failures:
            if isinstance(failure, GaveUp) and not answers:
                raise failure
        if not answers:
            raise failures[0]
        return answers[0]

    def _clean_up(self, disk: Disk) -> None:
        """Delete, or not, what may be there, as whoever gave up on it."""
        disk.known, disk.late = Known.UNSURE, True
        if self._chance.random() < 0.7:
            self.delete(disk)

    def delete(self, disk: Disk) -> None:
        """Have the disk deleted."""
        was = disk.known
        disk.known = Known.UNSURE
        try:
            answer = self._deleted(disk)
            if was is Known.THERE and disk.uuid not in answer:
                why = f'a deletion tells of {answer}'
                self._ledger.surprise('lost', why, disk)
        except GaveUp:
            return
        except errors.Error as exc:
            if was is Known.THERE:
                why = f'a deletion was refused: {exc.name}: {exc}'
                self._ledger.surprise(_lost(exc), why, disk)
        disk.known = Known.GONE

    def _deleted(self, disk: Disk) -> list[str]:
        """Have the disk deleted, by name or instance; what was."""
        if self._chance.random() < 0.5:
            one = self.asker.ask(
                disk, 'delete_disk', name=disk.name, pool=POOL
            )
            return [one['uuid']]
        several = self.asker.ask(
            disk, 'delete_disks', instance_uuid=disk.instance_uuid
        )
        return [one['uuid'] for one in several]

    def resize(self, disk: Disk) -> None:
        """Have the disk grow, or ask for the size that it has."""
        units = self._chance.randint(
            disk.data.size_bytes // ledger.UNIT, _MAX_UNITS
        )
        size_bytes = units * ledger.UNIT
        data = Data(size_bytes, disk.data.written)
        self._change(
            disk, data, 'resize_disk', name=disk.name, size_bytes=size_bytes
        )

    def look(self, disk: Disk) -> None:
        """Ask what the disk is."""
        answer = self._answered(disk, 'get_disk', name=disk.name, pool=POOL)
        if answer is None:
            return
        if answer['uuid'] != disk.uuid:
            why = f'another disk, {answer["uuid"]}, has its name'
            self._ledger.surprise('doubled', why, disk)
        elif answer['size_bytes'] != disk.data.size_bytes:
            why = f'{answer["size_bytes"]} bytes, not {disk.data.size_bytes}'
            self._ledger.surprise('unreadable', why, disk)

    def create_snapshot(self, disk: Disk) -> None:
        """Take a snapshot that nobody has taken before."""
        name = f'{SNAPSHOT_PREFIX}{self._chance.getrandbits(32):08x}'
        given = {'name': disk.name, 'pool': POOL, 'snapshot': name}
        with contextlib.suppress(GaveUp):
            try:
                self.asker.ask(disk, 'create_snapshot', **given)
            except errors.DiskSnapshotExists:
                # A call before, whose answer was lost, has taken it, or has
                # begun to and never will.
                disk.note(f'may have a snapshot {name}')
            except errors.Error as exc:
                why = f'create_snapshot was refused: {exc.name}: {exc}'
                self._ledger.surprise(_lost(exc), why, disk)
            else:
                disk.snapshots[name] = disk.data

    def remove_snapshot(self, disk: Disk) -> None:
        """Remove one of the disk's snapshots."""
        if not disk.snapshots:
            return
        name = self._chance.choice(sorted(disk.snapshots))
        del disk.snapshots[name]
        given = {'name': disk.name, 'pool': POOL, 'snapshot': name}
        with contextlib.suppress(GaveUp):
            try:
                self.asker.ask(disk, 'remove_snapshot', **given)
            except errors.Error as exc:
                why = f'a removal was refused: {exc.name}: {exc}'
                self._ledger.surprise(_lost(exc), why, disk)
            else:
                disk.removed.add(name)

    def rollback(self, disk: Disk) -> None:
        """Have the disk go back to one of its snapshots, and write again."""
        if not disk.snapshots:
            return
        name = self._chance.choice(sorted(disk.snapshots))
        self._change(
            disk,
            disk.snapshots[name],
            'rollback_disk',
            name=disk.name,
            snapshot=name,
        )
        if len(disk.possible) == 1 and self._chance.random() < _WRITES:
            self._write(disk)

    def _change(
        self, disk: Disk, data: Data, method: str, **given: Any
    ) -> None:
        """Have the disk hold *data*, or perhaps, where nobody says so."""
        before = disk.possible
        disk.possible = [*before, data]
        try:
            self.asker.ask(disk, method, pool=POOL, **given)
        except GaveUp:
            return
        except errors.Error as exc:
            disk.possible = before
            why = f'{method} was refused: {exc.name}: {exc}'
            self._ledger.surprise(_lost(exc), why, disk)
        else:
            disk.possible = [data]

    def _answered(self, disk: Disk, method: str, **given: Any) -> Any:
        """Return the answer; None where there is none."""
        try:
            return self.asker.ask(disk, method, **given)
        except GaveUp:
            return None
        except errors.Error as exc:
            why = f'{method} was refused: {exc.name}: {exc}'
            self._ledger.surprise(_lost(exc), why, disk)
            return None

    def _write(self, disk: Disk) -> None:
        """Write where the disk has room, as its guest, which then ends."""
        units = disk.data.size_bytes // ledger.UNIT
        place = self._chance.randrange(2 * units)
        token = self._ledger.token()
        before = disk.data
        after = before.with_token(place, token)
        disk.possible = [before, after]
        try:
            self._guests.write(POOL, disk.name, offset(place), token)
        except Unreadable as exc:
            disk.note(f'a guest could not write: {exc}')
            self._ledger.surprise('unreadable', f'not writable: {exc}', disk)
            return
        disk.note(f'a guest wrote {token.hex()} at {place}')
        disk.possible = [after]


def offset(place: int) -> int:
    """Return where *place* is: two in each unit."""
    return place * ledger.UNIT // 2


def _lost(exc: errors.Error) -> str:
    """Return what is found by an answer that should not be."""
    missing = (errors.DiskNotFound, errors.DiskSnapshotNotFound)
    return 'lost' if isinstance(exc, missing) else ''

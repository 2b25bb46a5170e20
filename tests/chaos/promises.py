# SPDX-License-Identifier: Apache-2.0
"""What callers were told against what is there."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence

from rbdcloner import states
from rbdcloner.model import GLANCE_NAME
from rbdcloner.model import Clone
from rbdcloner.states import State
from tests.chaos import disks
from tests.chaos import images
from tests.chaos import ledger
from tests.chaos.guests import Seen
from tests.chaos.guests import Taken
from tests.chaos.guests import Unreadable
from tests.chaos.inventory import Found
from tests.chaos.ledger import Disk
from tests.chaos.ledger import Image
from tests.chaos.ledger import Known
from tests.chaos.ledger import Ledger
from tests.chaos.report import Finding
from tests.unit.cloning.expected import Data


def kept(told: Ledger, found: Found) -> list[Finding]:
    """Return where what callers were told does not hold."""
    newest = {disk.name: disk for disk in told.disks}
    return [
        *(
            finding
            for disk in newest.values()
            for finding in _of_disk(disk, found)
        ),
        *(
            finding
            for image in told.images
            for finding in _of_image(image, found)
        ),
    ]


def _of_disk(disk: Disk, found: Found) -> Iterator[Finding]:
    rows = found.every.get((disks.POOL, disk.name), [])
    live = [row for row in rows if row.state in states.LIVE]
    image_id = found.named[disks.POOL].get(disk.name)
    if disk.known is Known.GONE and (live or image_id):
        late = 'late: ' if disk.late else ''
        why = f'{late}disk {disk.name} was deleted, or refused'
        yield Finding('leaked', why, rows, disk)
    if disk.known is not Known.THERE:
        return
    if not live or live[0].state is not State.READY or not image_id:
        why = f'disk {disk.name} ({disk.uuid}) should be there'
        yield Finding('lost', why, rows, disk)
        return
    if live[0].uuid != disk.uuid:
        why = f'disk {disk.name} was {disk.uuid}, and is another'
        yield Finding('doubled', why, rows, disk)
    seen = found.seen[image_id]
    yield from _of_data(disk, live[0], seen)
    if isinstance(seen, Seen):
        yield from _of_snapshots(disk, seen.snapshots, rows)


def _of_snapshots(
    disk: Disk, snapshots: Sequence[Taken], rows: list[Clone]
) -> Iterator[Finding]:
    names = {one.name for one in snapshots if not one.trashed}
    if missing := disk.snapshots.keys() - names:
        yield Finding('lost', f'{disk.name} has no {missing}', rows, disk)
    if left := disk.removed & names:
        yield Finding('leaked', f'{disk.name} still has {left}', rows, disk)


def _of_image(image: Image, found: Found) -> Iterator[Finding]:
    rows = found.every.get((images.POOL, image.name), [])
    live = [row for row in rows if row.state in states.LIVE]
    image_id = found.named[images.POOL].get(image.name)
    if image.known is Known.GONE and (live or image_id):
        late = 'late: ' if image.late else ''
        why = f'{late}image {image.name} was deleted'
        yield Finding('leaked', why, rows, image)
    if image.known is not Known.THERE:
        return
    seen = found.seen.get(image_id or '')
    taken = seen.snapshots if isinstance(seen, Seen) else []
    names = {one.name for one in taken if not one.trashed}
    is_whole = image.leaving or GLANCE_NAME in names
    if seen is None or not is_whole or (image.location and not live):
        why = f'image {image.name} ({image_id}) has {names}'
        yield Finding('lost', why, rows, image)
        return
    row = live[0] if image.location else None
    if not image.packed:
        yield from _of_data(image, row, seen)


def _of_data(
    thing: ledger.Thing, row: Clone | None, seen: Seen | Unreadable
) -> Iterator[Finding]:
    rows = [row] if row else []
    if isinstance(seen, Unreadable):
        yield Finding('unreadable', f'{thing.name}: {seen}', rows, thing)
        return
    if row and row.size_bytes != seen.size_bytes:
        why = f'{thing.name} has {seen.size_bytes} bytes, its row differs'
        yield Finding('unreadable', why, rows, thing)
    possible = [
        (data.size_bytes, [data.at(place) for place in _places(data)])
        for data in thing.possible
    ]
    if (seen.size_bytes, seen.tokens) not in possible:
        why = f'{thing.name} is {seen}, not one of {possible}'
        yield Finding('unreadable', why, rows, thing)


def _places(data: Data) -> range:
    return range(2 * data.size_bytes // ledger.UNIT)

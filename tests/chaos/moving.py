# SPDX-License-Identifier: Apache-2.0
"""An administrator renames and migrates disks behind the service's back."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import random
import threading
import time

from rbdcloner import errors
from tests.chaos import disks
from tests.chaos.asking import GaveUp
from tests.chaos.guests import Unreadable
from tests.chaos.ledger import Disk
from tests.chaos.outages import Disturb
from tests.chaos.world import World
from tests.functional import administrator

#: Some looks of the managers' at the pools.
_MOVED_S = (5.0, 9.0)
_PATIENCE_S = 60
_AGAIN_S = 1.0


def _disk_renamed(
    world: World, chance: random.Random, stopping: threading.Event
) -> bool:
    """Rename a disk, and now and then give its name to another image."""
    with world.ledger.taken(chance, world.ledger.disks_there()) as disk:
        if disk is None:
            return False
        with _away(world, disk, chance.random() < 0.5):
            stopping.wait(chance.uniform(*_MOVED_S))
            is_leaving = chance.random() < 0.5
            if is_leaving:
                _delete_while_away(world, disk)
        if is_leaving:
            world.disks.delete(disk)
    return True


@contextlib.contextmanager
def _away(world: World, disk: Disk, replaced: bool) -> Iterator[None]:
    """Have a disk's image under another name, and back in the end."""
    administer = world.guests.administer
    other, token = f'moved-{disk.name}', world.ledger.token().hex()
    administer('rename', disks.POOL, disk.name, other)
    disk.note(f'was renamed{", and another has its name" * replaced}')
    if replaced:
        administer('create', disks.POOL, disk.name, token)
    try:
        yield
    finally:
        if replaced:
            administer('remove', disks.POOL, disk.name, token)
        administer('rename', disks.POOL, other, disk.name)
        disk.note('has its name again')


def _delete_while_away(world: World, disk: Disk) -> None:
    """Ask for the deletion of a disk that has another name now."""
    given = {'name': disk.name, 'pool': disks.POOL}
    with contextlib.suppress(GaveUp, errors.Error):
        world.disks.asker.ask(disk, 'delete_disk', 0.0, **given)
        why = 'a deletion was done, though the disk had another name'
        world.ledger.surprise('lost', why, disk)


def _disk_migrated(
    world: World, chance: random.Random, stopping: threading.Event
) -> bool:
    """Migrate a disk within its pool, to the end or not."""
    with world.ledger.taken(chance, world.ledger.disks_there()) as disk:
        if disk is None or disk.snapshots:
            return False
        administer = world.guests.administer
        given = (disks.POOL, disk.name)
        try:
            administer('prepare', *given)
        except Unreadable as exc:
            disk.note(f'could not be migrated: {exc}')
            return False
        disk.note('is being migrated')
        stopping.wait(chance.uniform(*_MOVED_S))
        administer('execute', *given)
        if chance.random() < 0.5:
            administer('abort', *given)
            disk.note('its migration was aborted')
            return True
        administer('commit', *given)
        disk.note('was migrated')
        _adopt(world, disk)
    return True


def _adopt(world: World, disk: Disk) -> None:
    """Have a disk recorded that has another id now."""
    conf = world.managers[0].conf
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        ran = administrator.run(
            conf, 'disk', 'adopt', '--pool', disks.POOL, disk.name
        )
        if not ran.code or time.monotonic() > deadline:
            break
        time.sleep(_AGAIN_S)
    disk.note(f'disk adopt: {ran.out} {ran.err}')
    answer = world.disks.asker.ask(
        disk, 'get_disk', name=disk.name, pool=disks.POOL
    )
    disk.uuid = answer['uuid']


SERVERS: dict[str, Disturb] = {
    'disk_renamed': _disk_renamed,
    'disk_migrated': _disk_migrated,
}

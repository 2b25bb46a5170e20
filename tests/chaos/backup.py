# SPDX-License-Identifier: Apache-2.0
"""A backup of the database, restored under managers that run.

Callers ask for nothing from the restore to the end of ``db restored``, as a
cloud that is told of it; what they asked for since the backup is at stake.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import threading
import time
from typing import Any

import sqlalchemy as sa

from rbdcloner.db import tables
from tests.chaos import disks
from tests.chaos.guests import Unreadable
from tests.chaos.ledger import Disk
from tests.chaos.ledger import Known
from tests.chaos.outages import Disturb
from tests.chaos.world import World
from tests.functional import administrator
from tests.stack.process import StackError

#: The generation is advanced each minute, and Ceph may be down meanwhile.
_NEXT_GENERATION_S = 150
#: A manager that runs finds an older database by then.
_FOUND_S = 6.0
_PATIENCE_S = 120
_AGAIN_S = 1.0


@dataclasses.dataclass(frozen=True)
class Backup:
    """All rows of one moment, and what callers knew of disks then."""

    rows: dict[sa.Table, list[dict[str, Any]]]
    snapshots: dict[Disk, set[str]]
    """Those of each disk that was there, or might have been."""


def _backup_restored(
    world: World, chance: random.Random, stopping: threading.Event
) -> bool:
    """Restore a backup of the generation before, and reconcile it."""
    backup = _back_up(world)
    if not _wait_for_generation(world, stopping):
        return False
    with world.ledger.held(_PATIENCE_S) as is_idle:
        if not is_idle:
            return False
        _restore(world, backup)
        stopping.wait(chance.uniform(0.0, _FOUND_S))
        _reconcile(world)
        for disk, before in backup.snapshots.items():
            _repeat(world, disk, before)
        _remove_unknown_snapshots(world, backup)
    return True


def _back_up(world: World) -> Backup:
    snapshots = {
        disk: set(disk.snapshots)
        for disk in list(world.ledger.disks)
        if disk.known is not Known.GONE
    }
    engine = world.lineage.writer
    isolation = (
        'SERIALIZABLE' if engine.name == 'sqlite' else 'REPEATABLE READ'
    )
    with engine.connect().execution_options(
        isolation_level=isolation
    ) as connection:
        rows = {
            table: [
                dict(row._mapping)
                for row in connection.execute(sa.select(table))
            ]
            for table in tables.Base.metadata.sorted_tables
        }
    return Backup(rows, snapshots)


def _wait_for_generation(world: World, stopping: threading.Event) -> bool:
    """Wait until the database is at another; tell whether it is."""
    before = world.lineage.age()
    deadline = time.monotonic() + _NEXT_GENERATION_S
    while time.monotonic() < deadline and not stopping.wait(_AGAIN_S):
        age = world.lineage.age()
        if age and before and age.mark.generation > before.mark.generation:
            # The pools are marked a moment after it.
            return not stopping.wait(_AGAIN_S)
    return False


def _restore(world: World, backup: Backup) -> None:
    """Give the database the rows of the backup, as one transaction."""
    for disk in backup.snapshots:
        disk.note('the database is restored from a backup')
    with world.lineage.writer.begin() as connection:
        for table in reversed(backup.rows):
            connection.execute(sa.delete(table))
        for table, rows in backup.rows.items():
            if rows:
                connection.execute(sa.insert(table), rows)


def _reconcile(world: World) -> None:
    """Run ``db restored`` until it says that all is well.

    :raises StackError: it does not, for long.
    """
    conf = world.managers[0].conf
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        ran = administrator.run(conf, 'db', 'restored')
        log = world.logs / 'restored.out'
        with log.open('a') as opened:
            opened.write(f'{ran.out}\n{ran.err}\n')
        if not ran.code:
            return
        if time.monotonic() > deadline:
            raise StackError(f'db restored: {ran.out} {ran.err}')
        time.sleep(_AGAIN_S)


def _repeat(world: World, disk: Disk, before: set[str]) -> None:
    """Delete again what was deleted since the backup."""
    newest = {one.name: one for one in world.ledger.disks}
    if disk.known is Known.GONE and newest[disk.name] is disk:
        disk.known = Known.UNSURE
        world.disks.delete(disk)
    # Of removals since the backup, Ceph is right.
    disk.removed -= before


def _remove_unknown_snapshots(world: World, backup: Backup) -> None:
    """Remove what callers took since the backup, as the documents say.

    Of disks in the trash, too, and where the caller got no answer.
    """
    for disk in world.ledger.disks_there():
        for name in disk.snapshots.keys() - backup.snapshots.get(disk, set()):
            del disk.snapshots[name]
    known = sa.select(
        tables.parents.c.image_id, tables.parents.c.snapshot_name
    )
    with world.lineage.writer.connect() as connection:
        recorded = {tuple(row) for row in connection.execute(known)}
    named, trashed = world.guests.pool(disks.POOL)
    for image_id in (*named.values(), *trashed):
        # Some are removed meanwhile.
        with contextlib.suppress(Unreadable):
            for taken in world.guests.look(disks.POOL, image_id).snapshots:
                if (
                    taken.name.startswith(disks.SNAPSHOT_PREFIX)
                    and (image_id, taken.name) not in recorded
                ):
                    world.guests.administer(
                        'remove_snapshot', disks.POOL, image_id, taken.name
                    )


SERVERS: dict[str, Disturb] = {'backup_restored': _backup_restored}

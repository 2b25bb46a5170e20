# SPDX-License-Identifier: Apache-2.0
"""The contestants, and what they find when they begin, made when needed."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import functools
from typing import Any

from rbdcloner.model import CloneFormat
from tests.bench import children
from tests.bench import deletes
from tests.bench import faults
from tests.bench import import_figures
from tests.bench import imports
from tests.bench import librbd
from tests.bench import rounds
from tests.bench import snapshots
from tests.bench.command_line import CommandLine
from tests.bench.command_line import Import
from tests.bench.figures import Contestant
from tests.bench.librbd import Librbd
from tests.bench.nova import Nova
from tests.bench.service import FreshImages
from tests.bench.service import Service
from tests.bench.testbed import Testbed

# Two and four processes were tried: create_disk's rates differed by less than
# they do from run to run, so the callers' Python is not what is measured.
CALLER_PROCESSES = 1


class Field:
    """Everybody who takes part, by what is to be done."""

    def __init__(
        self,
        bed: Testbed,
        admin: Librbd,
        plan: rounds.Plan,
        report: Callable[[str], None],
    ) -> None:
        self._bed = bed
        self._admin = admin
        self._plan = plan
        self._report = report
        self._services: dict[str, Service] = {}
        self._several: dict[int, faults.Managers] = {}
        self._disks: dict[int, snapshots.Disk] = {}
        self._filled: set[str] = set()
        self._imports: imports.Imports | None = None

    def contestants(
        self, wanted: Iterable[Contestant]
    ) -> dict[Contestant, Any]:
        """Return who does what is *wanted*."""
        ordered = sorted(set(wanted))
        families = [one for one in ordered if one.task == 'children']
        made = self._families(families) if families else {}
        others = [one for one in ordered if one not in made]
        return made | {one: self._contestant(one) for one in others}

    def finish(self) -> None:
        """Delete the disks that snapshots were taken of, and drop bases."""
        for disk in self._disks.values():
            disk.remove()
        if self._imports is not None:
            self._imports.drop()

    def memory(self) -> dict[str, float]:
        """Return the memory that contestants looked at themselves, in MiB."""
        return {} if self._imports is None else self._imports.memory()

    def _contestant(self, one: Contestant) -> Any:
        tasks = {
            'snapshot': self._snapshots,
            'delete': self._deletes,
            'faults': self._faults,
            import_figures.TASK: self._importers,
        }
        if one.task in tasks:
            return tasks[one.task](one)
        match one.who:
            case 'librbd':
                return self._librbd
            case 'nova':
                return self._nova
            case 'rbd':
                return CommandLine(self._bed, self._admin)
            case 'import':
                return Import(self._bed, self._admin)
            case 'fresh':
                return FreshImages(
                    self._bed, self._admin, 'sqlite', self._plan.fresh
                )
        return self._service(one.who)

    def _snapshots(self, one: Contestant) -> Any:
        service, disk = self._service('sqlite'), self._disk(one.count)
        match one.who:
            case 'librbd':
                return snapshots.LibrbdSnapshots(self._librbd, disk)
            case 'nova':
                return snapshots.NovaSnapshots(self._nova, self._librbd, disk)
        return snapshots.ServiceSnapshots(
            self._bed, service, self._admin, disk
        )

    def _deletes(self, one: Contestant) -> Any:
        service = self._service('sqlite')
        match one.who:
            case 'librbd':
                delete = deletes.by_librbd(self._librbd)
            case 'nova':
                delete = self._nova.delete
            case 'reaper':
                delete = deletes.reaping(service, self._admin)
            case _:
                delete = service.delete
        objects = self._bed.wishes.scale.written_objects if one.written else 0
        return deletes.Deletes(
            service, self._admin, self._pool(one.count), delete, objects
        )

    def _faults(self, one: Contestant) -> Any:
        if one.who == 'killed':
            return faults.Killed(self._bed, self._managers(2))
        return self._managers(one.count)

    def _importers(self, one: Contestant) -> Any:
        if self._imports is None:
            self._report('managers that import, and an image for them')
            self._imports = imports.Imports(self._bed, self._admin)
        if one.who == 'host':
            return imports.HostDisks(
                self._bed, self._admin, self._imports.image_id
            )
        return imports.contestant(self._imports, one.who)

    def _families(self, wanted: list[Contestant]) -> dict[Contestant, Any]:
        """Return who answers, about families made now."""
        counts = {one.count for one in wanted}
        v1_counts = {one.count for one in wanted if one.who == 'v1'}
        families = [
            self._family(clone_format, count)
            for clone_format, some in (
                (CloneFormat.V2, counts),
                (CloneFormat.V1, v1_counts),
            )
            for count in sorted(some)
        ]
        by_key = {
            (int(one.clone_format), len(one.children)): one for one in families
        }
        asked = {
            database: children.recorded(
                self._bed, self._admin, database, families
            )
            for database in {one.who for one in wanted} - {'v1', 'v2'}
        }
        made: dict[Contestant, Any] = {}
        for one in wanted:
            if one.who in asked:
                made[one] = asked[one.who](by_key[2, one.count])
                continue
            family = by_key[int(one.who[1:]), one.count]
            made[one] = children.ListChildren(self._bed, self._librbd, family)
        return made

    def _family(
        self, clone_format: CloneFormat, count: int
    ) -> children.Family:
        self._report(f'{count} children, format v{int(clone_format)}')
        cloner = Librbd(self._bed, clone_format=int(clone_format))
        try:
            return children.Family(self._bed, cloner, clone_format, count)
        finally:
            cloner.close()

    @functools.cached_property
    def _librbd(self) -> Librbd:
        made = Librbd(self._bed)
        self._bed.callback(made.close)
        return made

    @functools.cached_property
    def _nova(self) -> Nova:
        return Nova(self._bed, self._admin)

    def _service(self, database: str) -> Service:
        if database not in self._services:
            self._services[database] = Service(
                self._bed, self._admin, database, CALLER_PROCESSES
            )
        return self._services[database]

    def _managers(self, count: int) -> faults.Managers:
        if count not in self._several:
            self._several[count] = faults.Managers(
                self._bed, self._admin, count
            )
        return self._several[count]

    def _disk(self, written_bytes: int) -> snapshots.Disk:
        if written_bytes not in self._disks:
            service = self._service('sqlite')
            self._disks[written_bytes] = snapshots.Disk(
                self._bed, service, self._admin, written_bytes
            )
        return self._disks[written_bytes]

    def _pool(self, count: int) -> str:
        pool = self._bed.pool_of(count)
        if pool not in self._filled:
            self._report(f'{pool}: {count} images')
            names = [f'{librbd.OTHERS}{number}' for number in range(count)]
            self._admin.make(pool, names)
            self._filled.add(pool)
        return pool

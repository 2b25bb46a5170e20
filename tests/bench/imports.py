# SPDX-License-Identifier: Apache-2.0
"""Disks of an image that cannot be cloned: a qcow2 that is half empty.

Managers of their own import it, with nothing else to do, so that their memory
is an import's alone. Its base is dropped before each first disk.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import os
import pathlib
import subprocess
import sys
from typing import Any
import uuid

from tests.bench import import_figures
from tests.bench import measuring
from tests.bench import peaks
from tests.bench.command_line import CommandLine
from tests.bench.librbd import Librbd
from tests.bench.service import Service
from tests.bench.testbed import Testbed
from tests.demo import content
from tests.stack import process

TIMEOUT_S = 120
_MANAGERS = 'imports'
_MANAGE = pathlib.Path(sys.executable).with_name('rbdcloner-manage')
_FORMAT = 'qcow2'


class Imports:
    """The managers, the image, and its base, which comes and goes."""

    def __init__(self, bed: Testbed, admin: Librbd) -> None:
        self._bed = bed
        self._admin = admin
        bed.start_managers(
            _MANAGERS,
            'sqlite',
            options={
                # A base that was dropped is retired that soon.
                'DEFAULT': {'recovery_interval': 1},
                'imports': {'pool': bed.HOMES[_MANAGERS]},
            },
        )
        self.service = Service(bed, admin, _MANAGERS, processes=1)
        self.image_id = self._upload()
        self.is_imported = False
        self._peaks = peaks.Peaks(bed.worker_pids(_MANAGERS))

    def create(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Make disks of the image."""
        return self.service.create(
            names, threads, image_id=self.image_id, import_='allowed'
        )

    def import_(self, name: str) -> measuring.Block:
        """Make the first disk of the image."""
        self.drop()
        with self._peaks.watched():
            block = self.create([name], 1)
        self.is_imported = True
        return block

    def drop(self) -> None:
        """Drop the base, and wait until nothing of it is left."""
        if not self.is_imported:
            return
        conf = self._bed.managers[_MANAGERS].conf
        _run(_MANAGE, '--config-file', conf, 'base', 'drop', self.image_id)
        self.is_imported = False
        process.wait_until(
            lambda: not self._bases(), 'the end of the base', TIMEOUT_S
        )
        self._admin.wait_reaped(self.service.pool)

    def memory(self) -> dict[str, float]:
        """Return the peaks of all imports, in MiB."""
        return {
            import_figures.WORKER: self._peaks.worker_mib,
            import_figures.QEMU: self._peaks.qemu_img_mib,
        }

    def _bases(self) -> list[str]:
        return [
            name
            for name in self._admin.names(self.service.pool)
            if name.startswith(self.image_id)
        ]

    def _upload(self) -> str:
        """Make the image, which has as much data as it has zeros."""
        raw, image = (
            self._bed.folder / f'imported.{suffix}'
            for suffix in ('raw', _FORMAT)
        )
        size_bytes = self._bed.wishes.scale.imported_bytes
        content.make(raw, size_bytes, lambda done, whole: None)
        _run('qemu-img', 'convert', '-f', 'raw', '-O', _FORMAT, raw, image)
        raw.unlink()
        _run('qemu-img', 'resize', '-f', _FORMAT, image, 2 * size_bytes)
        with image.open('rb') as opened:
            uploaded = self._bed.servers.glance.upload(
                'imported', opened, disk_format=_FORMAT
            )
        image.unlink()
        return str(uploaded.id)


class Disks:
    """Disks that the managers make by one of the functions."""

    def __init__(
        self,
        service: Service,
        create: Callable[[Sequence[str], int], measuring.Block],
    ) -> None:
        self._service = service
        self._create = create

    def create(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Make disks of these names."""
        return self._create(names, threads)

    def remove(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Delete the disks."""
        return self._service.remove(names, threads)


def contestant(imports: Imports, who: str) -> Disks:
    """Return who makes the first disk of the image, the next, or a raw one."""

    def first(names: Sequence[str], threads: int) -> measuring.Block:
        return measuring.joined([imports.import_(name) for name in names])

    def following(names: Sequence[str], threads: int) -> measuring.Block:
        if not imports.is_imported:
            before = [f'{uuid.uuid4()}_disk']
            first(before, 1)
            imports.service.remove(before, 1)
        return imports.create(names, threads)

    makers = {
        'first': first,
        'next': following,
        'raw': imports.service.create,
    }
    return Disks(imports.service, makers[who])


class HostDisks(CommandLine):
    """What each compute host does for a disk of the image without us.

    Counted is the least of it: the download into a file, with its checksum
    and fsync; ``qemu-img convert`` to a raw file; ``rbd import`` of that; the
    resize. As Nova does it, but not its looks at the file, and into the
    page cache, where Nova goes round that if it can. Nova keeps the raw file:
    the host's next disk of the image is ``rbd import`` and resize.
    """

    def __init__(self, bed: Testbed, admin: Librbd, image_id: str) -> None:
        super().__init__(bed, admin)
        self._image_id = image_id
        self._downloaded = bed.folder / 'downloaded'
        self._raw = bed.folder / 'converted'
        self._more: list[str] = []

    def again(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Make as many more disks, of the file that is there."""
        self._more = [f'{name}.again' for name in names]
        return measuring.measure(self._import, self._more, threads)

    def remove(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Remove all of them, and the file."""
        self._raw.unlink()
        return super().remove([*names, *self._more], threads)

    def _create(self, name: str) -> None:
        images: Any = self._bed.servers.glance.client().images
        with self._downloaded.open('wb') as file:
            for piece in images.data(self._image_id):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        _run(
            *('qemu-img', 'convert', '-t', 'writeback', '-f', _FORMAT),
            *('-O', 'raw', self._downloaded, self._raw),
        )
        self._downloaded.unlink()
        self._import(name)

    def _import(self, name: str) -> None:
        disk = f'{self._bed.POOL}/{name}'
        self._rbd('import', self._raw, disk)
        self._rbd('resize', '--size', f'{self._bed.DISK_BYTES}B', disk)


def _run(*command: object) -> None:
    """Run a program.

    :raises StackError: it failed, with its words.
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    if done.returncode:
        raise process.StackError(f'{words}: {done.stderr or done.stdout}')

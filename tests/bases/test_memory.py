# SPDX-License-Identifier: Apache-2.0
"""How much memory a worker takes for an import."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import subprocess
import threading

import psutil

from tests.bases import elsewhere
from tests.bases import two_stores
from tests.bases.test_bases import MIB
from tests.stack import process

GIB = 1024 * MIB
#: Of the image's, that much is not zeros.
DATA_BYTES = 128 * MIB
BOUND_BYTES = 150 * MIB


class Peaks:
    """The most memory that workers, and qemu-img, have been seen with."""

    def __init__(self, workers: list[psutil.Process]) -> None:
        self._idle = {one: _held(one) for one in workers}
        self.worker_bytes = self.program_bytes = 0

    def look(self) -> None:
        """Look once; of workers what they have above what they had first."""
        for worker, idle in self._idle.items():
            self.worker_bytes = max(self.worker_bytes, _held(worker) - idle)
            for child in worker.children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    rss = child.memory_info().rss
                    self.program_bytes = max(self.program_bytes, rss)

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Look all the time, at another import."""
        self.worker_bytes = self.program_bytes = 0
        over = threading.Event()

        def look() -> None:
            while not over.wait(process.POLL_S):
                self.look()

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _held(worker: psutil.Process) -> int:
    """Return what memory is a process's alone."""
    return int(worker.memory_full_info().uss)


class MemoryTest(elsewhere.ElsewhereTest):
    def workers(self) -> list[psutil.Process]:
        master = self.manager.daemons[self.manager.name].process
        assert master is not None
        return master.children()

    def uploaded(self, path: pathlib.Path, disk_format: str) -> str:
        made = self.glance.upload(
            'large', path, disk_format=disk_format, store=two_stores.FAR
        )
        self.addCleanup(self.delete_image, made.id)
        return str(made.id)

    def test_import_of_a_gib_takes_little(self) -> None:
        raw, qcow2 = self.folder / 'raw', self.folder / 'qcow2'
        with raw.open('wb') as opened:
            for _ in range(DATA_BYTES // MIB):
                opened.write(os.urandom(MIB))
            opened.truncate(GIB)
        subprocess.run(
            ['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2],
            check=True,
        )
        peaks = Peaks(self.workers())
        for path in (raw, qcow2):
            image_id = self.uploaded(path, path.name)
            with peaks.looking():
                self.create(image_id, size_bytes=GIB)
            told = (
                f'{path.name}: {peaks.worker_bytes // MIB} MiB above idle, '
                f'{peaks.program_bytes // MIB} MiB of qemu-img'
            )
            print(told)
            self.assertLess(peaks.worker_bytes, BOUND_BYTES, told)
            self.assertEqual(path == qcow2, bool(peaks.program_bytes), told)

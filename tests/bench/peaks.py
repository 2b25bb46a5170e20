# SPDX-License-Identifier: Apache-2.0
"""The most memory that workers, and the qemu-img that they run, ever have.

A worker's peak is the kernel's own number: it forgets the last one when it is
asked to, and misses no moment. A qemu-img's is read while it lives.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import pathlib
import threading

import psutil

from tests.bench import scale

_LOOK_EVERY_S = 0.05
_FORGET_PEAK = '5'
_KIB = 1024


class Peaks:
    """What was seen in all the time that was watched, in MiB.

    ``worker_mib`` is the most that one worker had above what it had when the
    watch began; pages that it shares are counted, too.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self.worker_mib = 0.0
        self.qemu_img_mib = 0.0

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch what happens meanwhile."""
        before = {pid: _begin(pid) for pid in self._pids}
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(over,))
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
        above = [_mib(pid, 'VmHWM') - mib for pid, mib in before.items()]
        self.worker_mib = max(self.worker_mib, *above)

    def _watch(self, over: threading.Event) -> None:
        workers = [psutil.Process(pid) for pid in self._pids]
        while not over.wait(_LOOK_EVERY_S):
            for child in [one for each in workers for one in each.children()]:
                # It may end meanwhile; what has ended has no memory.
                with contextlib.suppress(psutil.Error, OSError, IndexError):
                    if child.name() == 'qemu-img':
                        peak = _mib(child.pid, 'VmHWM')
                        self.qemu_img_mib = max(self.qemu_img_mib, peak)


def _begin(pid: int) -> float:
    """Have a process's peak forgotten; what it has now, in MiB."""
    pathlib.Path(f'/proc/{pid}/clear_refs').write_text(_FORGET_PEAK)
    return _mib(pid, 'VmRSS')


def _mib(pid: int, name: str) -> float:
    status = pathlib.Path(f'/proc/{pid}/status').read_text()
    kib = int(status.partition(f'{name}:')[2].split()[0])
    return kib * _KIB / scale.MiB

# SPDX-License-Identifier: Apache-2.0
"""A guest: a process that has a disk open and goes on writing to it.

Two blocks get the same growing number, one after the other, so that what is
copied of them at any moment is told from a mixture of moments.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
import pathlib
import select
import signal
import subprocess
import sys
import time
from typing import Any

FIRST, SECOND = 5 * 2**20, 6 * 2**20
_NUMBER = 8
_PAUSE_S = 0.005
_PATIENCE_S = 30


class Guest:
    """A guest's process, from outside."""

    def __init__(self, conf: pathlib.Path, user: str, disk: Any) -> None:
        names = (str(conf), user, disk['pool'], disk['name'])
        self._process = subprocess.Popen(
            (sys.executable, '-m', __name__, *names),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.written()

    def written(self) -> int:
        """Return a number that is on the disk, later than all before.

        :raises AssertionError: the guest does not write any more.
        """
        os.write(_pipe(self._process.stdin), b'?')
        answers = _pipe(self._process.stdout)
        if not select.select([answers], [], [], _PATIENCE_S)[0]:
            raise AssertionError('the guest hangs')
        answer = os.read(answers, 64)
        if not answer:
            raise AssertionError(f'the guest ended: {self._process.wait()}')
        return int(answer)

    def close(self) -> None:
        """Close the disk and end; nothing if it was killed."""
        if self._process.returncode == -signal.SIGKILL:
            return
        self._process.communicate(timeout=_PATIENCE_S)
        if self._process.returncode:
            raise AssertionError(f'the guest: {self._process.returncode}')

    def kill(self) -> None:
        """End without a word to Ceph; nothing if it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()


@contextlib.contextmanager
def running(conf: pathlib.Path, user: str, disk: Any) -> Iterator[Guest]:
    """Run a guest; it has closed its disk afterwards."""
    guest = Guest(conf, user, disk)
    try:
        yield guest
        guest.close()
    finally:
        guest.kill()


def numbers(data: bytes) -> tuple[int, int]:
    """Return both numbers out of a disk's bytes from ``FIRST`` on."""
    second = SECOND - FIRST
    return (
        int.from_bytes(data[:_NUMBER], 'big'),
        int.from_bytes(data[second : second + _NUMBER], 'big'),
    )


def _pipe(pipe: Any) -> int:
    return int(pipe.fileno())


def _write(image: Any, number: int) -> None:
    data = number.to_bytes(_NUMBER, 'big')
    for offset in (FIRST, SECOND):
        image.write(data, offset)
        image.flush()
        if image.read(offset, _NUMBER) != data:
            raise SystemExit('the disk lost what was written')


def main() -> None:
    """Write until standard input ends; tell a number for each byte of it."""
    import rados  # Debian's modules: only the guest's own process needs them
    import rbd

    conf, user, pool, name = sys.argv[1:]
    number = time.time_ns() // 10**6
    with (
        rados.Rados(conffile=conf, name=user) as cluster,
        cluster.open_ioctx(pool) as ioctx,
        rbd.Image(ioctx, name) as image,
    ):
        while True:
            number += 1
            _write(image, number)
            asked, _, _ = select.select([sys.stdin], [], [], _PAUSE_S)
            if not asked:
                continue
            if not os.read(sys.stdin.fileno(), 1):
                return
            os.write(sys.stdout.fileno(), b'%d' % number)


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""The ``rbd`` command line: a disk by clone and resize, or by import."""

from __future__ import annotations

from collections.abc import Sequence
import subprocess

from tests.bench import measuring
from tests.bench.librbd import Librbd
from tests.bench.testbed import Testbed
from tests.stack import process

TIMEOUT_S = 120


class CommandLine:
    """``rbd clone`` and ``rbd resize``."""

    def __init__(self, bed: Testbed, remover: Librbd) -> None:
        self._bed = bed
        self._remover = remover

    def create(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Make disks of these names."""
        return measuring.measure(self._create, names, threads)

    def remove(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Remove them, with librbd."""
        return self._remover.remove(names, threads)

    def _create(self, name: str) -> None:
        bed = self._bed
        parent = f'{bed.IMAGE_POOL}/{bed.image_id}@{bed.SNAPSHOT}'
        self._rbd('clone', parent, f'{bed.POOL}/{name}')
        size = f'{bed.DISK_BYTES}B'
        self._rbd('resize', '--size', size, f'{bed.POOL}/{name}')

    def _rbd(self, *arguments: object) -> None:
        """Run ``rbd``.

        :raises StackError: it failed, with its words.
        """
        command = [
            'rbd',
            *('--conf', self._bed.servers.ceph.conf, '--id', 'rbdcloner'),
            *('--rbd-default-clone-format', self._bed.wishes.clone_format),
            *arguments,
        ]
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        if done.returncode:
            raise process.StackError(f'rbd {arguments}: {done.stderr}')


class Import(CommandLine):
    """``rbd import`` of the file that the image was made of."""

    def _create(self, name: str) -> None:
        self._rbd('import', self._bed.raw, f'{self._bed.POOL}/{name}')

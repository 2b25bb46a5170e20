# SPDX-License-Identifier: Apache-2.0
"""The image's bytes: made, read with progress, summed, on disk and in Ceph."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import hashlib
import io
import os
import pathlib
import random
import shutil
from typing import Any

from tests import stack

MiB = 1 << 20
BLOCK_BYTES = 4 * MiB

Progress = Callable[[int, int], None]


def make(path: pathlib.Path, size_bytes: int, progress: Progress) -> str:
    """Write a file of noise that no store can shrink; its SHA-256.

    Each block is the same noise, turned by another number of bytes: making
    fresh noise takes longer than writing it.
    """
    noise = memoryview(os.urandom(BLOCK_BYTES))
    digest = hashlib.sha256()
    with path.open('wb') as file:
        for begin in range(0, size_bytes, BLOCK_BYTES):
            cut = random.randrange(BLOCK_BYTES)
            block = bytes(noise[cut:]) + bytes(noise[:cut])
            block = block[: size_bytes - begin]
            digest.update(block)
            file.write(block)
            progress(file.tell(), size_bytes)
    return digest.hexdigest()


def require_space(folder: pathlib.Path, size_bytes: int) -> None:
    """Make sure that file, image and import fit beside Ceph's own needs.

    :raises StackError: they do not
    """
    needed = 3 * size_bytes + 1024 * MiB
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise stack.StackError(
            f'{folder} has {free // MiB} MiB free, and {needed // MiB} MiB '
            'are needed: make room, or choose a smaller --size'
        )


class Reader(io.FileIO):
    """An open file that tells how far it was read."""

    def __init__(self, path: pathlib.Path, progress: Progress) -> None:
        super().__init__(path)
        self._size_bytes = path.stat().st_size
        self._progress = progress

    def read(self, size_bytes: int | None = -1) -> bytes:
        """Read on."""
        read = super().read(size_bytes)
        self._progress(self.tell(), self._size_bytes)
        return read


class Images:
    """RBD images, read and written through librbd as a guest's would be."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster

    @contextlib.contextmanager
    def open(
        self, pool: str, name: str, snapshot: str | None = None
    ) -> Iterator[Any]:
        """An open image; a snapshot is opened for reading only."""
        import rbd  # a Debian module: not for who only wants --help

        with (
            self._cluster.open_ioctx(pool) as ioctx,
            rbd.Image(
                ioctx, name, snapshot=snapshot, read_only=bool(snapshot)
            ) as image,
        ):
            yield image

    def sha256(self, image: Any, progress: Progress) -> str:
        """Return the sum of all that an open image holds."""
        digest, size_bytes = hashlib.sha256(), image.size()
        for begin in range(0, size_bytes, BLOCK_BYTES):
            length = min(BLOCK_BYTES, size_bytes - begin)
            digest.update(image.read(begin, length))
            progress(begin + length, size_bytes)
        return digest.hexdigest()

    def names(self, pool: str) -> list[str]:
        """Return the names of all images in a pool."""
        import rbd

        with self._cluster.open_ioctx(pool) as ioctx:
            return sorted(rbd.RBD().list(ioctx))

    def trash(self, pool: str) -> list[str]:
        """Return the names of all that lies in a pool's trash."""
        import rbd

        with self._cluster.open_ioctx(pool) as ioctx:
            return [each['name'] for each in rbd.RBD().trash_list(ioctx)]

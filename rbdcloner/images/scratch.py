# SPDX-License-Identifier: Apache-2.0
"""Scratch files of a host's imports: bounded together, and never left behind.

A folder has room for so many bytes, and every process of the host keeps to
it: who needs a file locks the folder, adds up the files that are there, and
has the file system reserve the blocks, so that nobody runs out of them in the
middle. Each file is locked by its process for as long as that lives. What
nobody has locked is what a dead one left, and whoever comes next removes it.

Rejected: a record of who has which file, which a crash would leave wrong; and
pids in names, which the kernel gives to others.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import errno
import fcntl
import os
import pathlib
import secrets
from typing import BinaryIO

from rbdcloner import errors

_SUFFIX = '.image'
_LOCK = 'lock'
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclasses.dataclass(frozen=True, slots=True)
class ScratchFile:
    """A file of zeros to write to, with a path for those who must open it."""

    path: pathlib.Path
    opened: BinaryIO


class Scratch:
    """A folder for scratch files; safe to use from many threads."""

    def __init__(self, folder: pathlib.Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes

    @contextlib.contextmanager
    def file(self, image_id: str, size_bytes: int) -> Iterator[ScratchFile]:
        """Give a file of *size_bytes*, which is gone afterwards.

        Only this service's user can open it, and nobody can guess its name.

        :raises ScratchFull: the folder's limit, or its file system, has no
            room for it now.
        :raises ScratchTooSmall: neither will ever have.
        :raises ConfigurationError: the folder cannot be used.
        """
        with self._locked():
            made = self._allocate(image_id, size_bytes)
        try:
            yield made
        finally:
            # First the name: a file without a lock is anybody's to remove.
            made.path.unlink(missing_ok=True)
            made.opened.close()

    def check(self) -> None:
        """Return if the folder can be used, or made; change nothing.

        :raises ConfigurationError: it cannot.
        """
        folder = self._folder
        while not os.path.exists(folder):
            folder = folder.parent
        if not folder.is_dir():
            raise self._unusable(f'{folder} is not a folder')
        if not os.access(folder, os.W_OK | os.X_OK):
            raise self._unusable(f'{folder} cannot be written to')

    def sweep(self) -> int:
        """Remove what dead processes left; return how many files it was.

        :raises ConfigurationError: the folder cannot be used.
        """
        with self._locked():
            return self._sweep()[0]

    def _allocate(self, image_id: str, size_bytes: int) -> ScratchFile:
        _removed, used_bytes = self._sweep()
        free_bytes = self._limit_bytes - used_bytes
        disk = os.statvfs(self._folder)
        free_bytes = min(free_bytes, disk.f_bavail * disk.f_frsize)
        # What is kept for root is not ours, however empty it is.
        blocks = disk.f_blocks - (disk.f_bfree - disk.f_bavail)
        most_bytes = min(self._limit_bytes, blocks * disk.f_frsize)
        if size_bytes > most_bytes:
            raise errors.ScratchTooSmall(
                image_id=image_id,
                size_bytes=size_bytes,
                limit_bytes=most_bytes,
            )
        full = errors.ScratchFull(
            size_bytes=size_bytes,
            image_id=image_id,
            free_bytes=max(0, free_bytes),
        )
        if size_bytes > free_bytes:
            raise full
        try:
            return self._reserve(size_bytes)
        except OSError as exc:
            if exc.errno in _NO_ROOM:
                raise full from exc
            raise

    def _reserve(self, size_bytes: int) -> ScratchFile:
        made = self._create()
        try:
            if size_bytes:
                os.posix_fallocate(made.opened.fileno(), 0, size_bytes)
        except BaseException:
            made.path.unlink()
            made.opened.close()
            raise
        return made

    def _create(self) -> ScratchFile:
        path = self._folder / (secrets.token_hex(16) + _SUFFIX)
        descriptor = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        opened = os.fdopen(descriptor, 'r+b')
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return ScratchFile(path, opened)

    def _sweep(self) -> tuple[int, int]:
        """Remove what nobody has locked; return how many, and bytes left."""
        removed = used_bytes = 0
        for path in self._folder.glob(f'*{_SUFFIX}'):
            with (
                contextlib.suppress(FileNotFoundError),
                path.open('rb') as opened,
            ):
                try:
                    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    used_bytes += os.fstat(opened.fileno()).st_size
                    continue
                path.unlink()
                removed += 1
        return removed, used_bytes

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep every other process and thread out of the folder."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(
                self._folder / _LOCK,
                os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
                0o600,
            )
        except OSError as exc:
            raise self._unusable(str(exc.strerror)) from exc
        with os.fdopen(descriptor) as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)
            yield

    def _unusable(self, reason: str) -> errors.ConfigurationError:
        return errors.ConfigurationError(
            problem=f'Scratch folder {self._folder} cannot be used: {reason}',
            remedy='Let the service write there, or set scratch_dir in group '
            '[imports]',
        )

# SPDX-License-Identifier: Apache-2.0
"""Disks are deleted in pools with few and with many other images.

This service makes all of them. Nova removes an image at once and lists the
whole pool to find it; this service frees the name and destroys in the
background, for which everybody waits before the next turn.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

from tests.bench import measuring
from tests.bench.librbd import Librbd
from tests.bench.service import Service

Delete = Callable[[Sequence[str], int, str], measuring.Block]


class Deletes:
    """Disks in one pool, deleted by a function.

    With *objects*, each disk has so many of its own before.
    """

    def __init__(
        self,
        service: Service,
        admin: Librbd,
        pool: str,
        delete: Delete,
        objects: int = 0,
    ) -> None:
        self._service = service
        self._admin = admin
        self._pool = pool
        self._delete = delete
        self._objects = objects

    def create(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Make disks of these names."""
        block = self._service.create(names, threads, self._pool)
        for name in names:
            self._admin.touch(self._pool, name, self._objects)
        return block

    def remove(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Delete the disks; wait until this service, too, knows them gone."""
        block = self._delete(names, threads, self._pool)
        self._service.delete(names, threads, self._pool)
        self._admin.wait_reaped(self._pool)
        return block


def by_librbd(librbd: Librbd) -> Delete:
    """Return what lists and removes, as Nova does, on a warm connection."""

    def delete(
        names: Sequence[str], threads: int, pool: str
    ) -> measuring.Block:
        return measuring.measure(
            lambda name: librbd.delete(name, pool), names, threads
        )

    return delete


def reaping(service: Service, admin: Librbd) -> Delete:
    """Return what measures from the answer until the image is destroyed."""

    def delete(
        names: Sequence[str], threads: int, pool: str
    ) -> measuring.Block:
        blocks = []
        for name in names:
            answered = service.delete([name], 1, pool).ended
            gone = admin.wait_reaped(pool)
            blocks.append(measuring.Block([gone - answered], answered, gone))
        return measuring.joined(blocks)

    return delete

# SPDX-License-Identifier: Apache-2.0
"""Disks are deleted in pools with few and with many other images.

This service makes all of them. Nova removes an image at once and lists the
whole pool to find it; this service frees the name and destroys in the
background, which nobody's next deletion has to share the cluster with.
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
        """Delete one disk after the other, each when the last is destroyed.

        That it is gone is told to this service, whoever deleted it.
        """
        blocks = []
        for name in names:
            blocks.append(self._delete([name], threads, self._pool))
            self._service.delete([name], threads, self._pool)
            self._admin.wait_reaped(self._pool)
        return measuring.joined(blocks)


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
    """Return what measures from the answer until a disk is destroyed."""

    def delete(
        names: Sequence[str], threads: int, pool: str
    ) -> measuring.Block:
        answered = service.delete(names, threads, pool).ended
        gone = admin.wait_reaped(pool)
        return measuring.Block([gone - answered], answered, gone)

    return delete

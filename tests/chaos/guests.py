# SPDX-License-Identifier: Apache-2.0
"""Guests: what writes into disks, and looks at images, from outside.

Processes of their own: librbd 16.2 ends the process that has it, once in a
long while.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import pathlib
import queue
import sys
from typing import Any

from tests.bench import child
from tests.chaos.ledger import TOKEN_BYTES
from tests.chaos.ledger import UNIT

#: Who is not shut out.
_USER = 'client.admin'
_TIMEOUT_S = 120
#: What was only looked at is closed later: librbd may still be opening it.
_KEPT_OPEN = 32


class Unreadable(Exception):
    """An image could not be opened or read; the argument says why."""


@dataclasses.dataclass(frozen=True)
class Taken:
    """A snapshot in Ceph."""

    id: int
    name: str
    protected: bool
    trashed: bool


@dataclasses.dataclass(frozen=True)
class Seen:
    """An image in Ceph; ``tokens`` are what stands at each of its places."""

    size_bytes: int
    tokens: Sequence[bytes]
    snapshots: Sequence[Taken]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a guest's process says: in JSON's types alone."""

    failed: str = ''
    named: dict[str, str] = dataclasses.field(default_factory=dict)
    trashed: dict[str, str] = dataclasses.field(default_factory=dict)
    size_bytes: int = 0
    tokens: Sequence[str] = ()
    snapshots: Sequence[Sequence[Any]] = ()


class Guests:
    """Some processes, each for one caller at a time."""

    def __init__(self, conf: pathlib.Path, log: pathlib.Path, count: int):
        self._command = (sys.executable, '-m', __name__, conf)
        self._log = log
        self._idle: queue.Queue[child.Child] = queue.Queue()
        for _ in range(count):
            self._idle.put(self._start())

    def write(self, pool: str, name: str, offset: int, data: bytes) -> None:
        """Write into the image of that name, and close it.

        :raises Unreadable: it could not be opened or written.
        """
        self.administer('write', pool, name, offset, data.hex())

    def pool(self, pool: str) -> tuple[dict[str, str], dict[str, str]]:
        """Return the ids by name, and the trash's names by id.

        :raises Unreadable: Ceph does not tell.
        """
        answer = self._ask(pool=pool)
        return answer.named, answer.trashed

    def look(self, pool: str, image_id: str) -> Seen:
        """Return what the image with that id holds, trashed or not.

        :raises Unreadable: it could not be opened or read.
        """
        answer = self._ask(pool=pool, image_id=image_id)
        return Seen(
            answer.size_bytes,
            [bytes.fromhex(token) for token in answer.tokens],
            [Taken(*taken) for taken in answer.snapshots],
        )

    def administer(self, act: str, pool: str, name: str, *more: Any) -> None:
        """Do as an administrator does with ``rbd``; see ``_ACTS``.

        Those that reach images in the trash take the id as *name*.

        :raises Unreadable: Ceph refuses.
        """
        self._ask(act=act, pool=pool, name=name, more=more)

    def close(self) -> None:
        """End those that are idle."""
        while not self._idle.empty():
            self._idle.get().close()

    def _ask(self, **request: Any) -> Answer:
        guest = self._idle.get()
        try:
            try:
                answer = _answer(guest, request)
            except (child.ChildError, OSError):
                guest.close()
                guest = self._start()
                answer = _answer(guest, request)
        except (child.ChildError, OSError) as exc:
            raise Unreadable(f'a guest ended: {exc}') from exc
        finally:
            self._idle.put(guest)
        if answer.failed:
            raise Unreadable(answer.failed)
        return answer

    def _start(self) -> child.Child:
        return child.Child(self._command, self._log)


def _answer(guest: child.Child, request: dict[str, Any]) -> Answer:
    guest.ask(request)
    return Answer(**guest.received())


def _prepare() -> Callable[..., Answer]:
    import rados  # Debian's modules: only a guest's process needs them
    import rbd

    limits = {'rados_osd_op_timeout': str(_TIMEOUT_S)}
    cluster = rados.Rados(conffile=sys.argv[1], name=_USER, conf=limits)
    cluster.connect()
    # Kept open: librbd's threads may still use that of a closed image.
    ioctxs: dict[str, Any] = {}
    kept_open: collections.deque[Any] = collections.deque()

    def look(ioctx: Any, image_id: str) -> Answer:
        opened = rbd.Image(ioctx, image_id=image_id, read_only=True)
        kept_open.append(opened)
        if len(kept_open) > _KEPT_OPEN:
            kept_open.popleft().close()
        return _looked(opened, rbd)

    def do(
        pool: str,
        image_id: str = '',
        name: str = '',
        act: str = '',
        more: Sequence[Any] = (),
    ) -> Answer:
        if pool not in ioctxs:
            ioctxs[pool] = cluster.open_ioctx(pool)
        try:
            if image_id:
                return look(ioctxs[pool], image_id)
            if not name:
                return _listed(ioctxs[pool], rbd.RBD())
            _ACTS[act](rbd, ioctxs[pool], name, *more)
        except (rbd.Error, rados.Error) as exc:
            return Answer(failed=f'{type(exc).__name__}: {exc}')
        return Answer()

    return do


def _write(
    librbd: Any, ioctx: Any, name: str, offset: int, token: str
) -> None:
    with librbd.Image(ioctx, name) as opened:
        opened.write(bytes.fromhex(token), offset)


def _create(librbd: Any, ioctx: Any, name: str, token: str) -> None:
    librbd.RBD().create(ioctx, name, UNIT, old_format=False)
    _write(librbd, ioctx, name, 0, token)


def _remove(librbd: Any, ioctx: Any, name: str, token: str) -> None:
    """Remove an image that must hold *token* still."""
    with librbd.Image(ioctx, name, read_only=True) as opened:
        held = opened.read(0, TOKEN_BYTES).hex()
    if held != token:
        raise librbd.InvalidArgument(f'{name} holds {held}, not {token}')
    librbd.RBD().remove(ioctx, name)


def _remove_snapshot(
    librbd: Any, ioctx: Any, image_id: str, taken: str
) -> None:
    with librbd.Image(ioctx, image_id=image_id) as opened:
        opened.remove_snap(taken)


#: What a guest or an administrator does to an image.
_ACTS: dict[str, Callable[..., None]] = {
    'write': _write,
    'create': _create,
    'remove': _remove,
    'remove_snapshot': _remove_snapshot,
    'rename': lambda rbd, ioctx, *given: rbd.RBD().rename(ioctx, *given),
    'prepare': lambda rbd, ioctx, name: rbd.RBD().migration_prepare(
        ioctx, name, ioctx, name
    ),
    'execute': lambda rbd, *given: rbd.RBD().migration_execute(*given),
    'commit': lambda rbd, *given: rbd.RBD().migration_commit(*given),
    'abort': lambda rbd, *given: rbd.RBD().migration_abort(*given),
}


def _listed(ioctx: Any, librbd: Any) -> Answer:
    return Answer(
        named={one['name']: one['id'] for one in librbd.list2(ioctx)},
        trashed={one['id']: one['name'] for one in librbd.trash_list(ioctx)},
    )


def _looked(opened: Any, librbd: Any) -> Answer:
    size_bytes = opened.size()
    snapshots = []
    for one in opened.list_snaps():
        trashed = one['namespace'] == librbd.RBD_SNAP_NAMESPACE_TYPE_TRASH
        name = one['trash']['original_name'] if trashed else one['name']
        protected = not trashed and opened.is_protected_snap(name)
        snapshots.append((one['id'], name, protected, trashed))
    return Answer(
        size_bytes=size_bytes,
        tokens=[
            opened.read(at, TOKEN_BYTES).hex()
            for at in range(0, size_bytes, UNIT // 2)
        ],
        snapshots=snapshots,
    )


if __name__ == '__main__':
    child.serve(_prepare)

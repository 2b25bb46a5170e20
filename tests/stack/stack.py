# SPDX-License-Identifier: Apache-2.0
"""All servers of a stack together: started at once, ended for sure."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from collections.abc import Iterator
from concurrent import futures
import contextlib
import json
import os
import pathlib
import shutil
import signal
import tempfile
import threading
import time
from typing import Any

from tests.stack import ceph
from tests.stack import database
from tests.stack import glance
from tests.stack import process
from tests.stack import rabbitmq
from tests.stack import server

SHARED_VARIABLE = 'RBDCLONER_STACK'
_INDEX = 'stack.json'
_shared: Stack | None = None
_shared_lock = threading.Lock()


class Stack(server.PlainFixture):
    """Running servers in one scratch folder.

    ``ceph``, ``rabbitmq`` and ``glance`` are the servers; ``databases`` maps
    an engine's name to its server. A server left out is absent. ``options``
    are keyword arguments of the servers, by server name:
    ``Stack(options={'ceph': {'pools': ('images', 'vms', 'other')}})``.
    A given folder must not exist, or be empty; it is removed in the end.
    """

    ceph: ceph.Ceph
    rabbitmq: rabbitmq.RabbitMQ
    glance: glance.Glance

    def __init__(
        self,
        folder: pathlib.Path | str | None = None,
        *,
        ceph: bool = True,
        rabbitmq: bool = True,
        glance: bool = True,
        databases: tuple[str, ...] = ('sqlite',),
        options: dict[str, dict[str, Any]] | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self.folder = pathlib.Path(folder).absolute() if folder else None
        chosen = {
            'ceph': ceph or glance,
            'rabbitmq': rabbitmq,
            'glance': glance,
        }
        self._names = [name for name, wanted in chosen.items() if wanted]
        self._names += databases
        self._options = options or {}
        self._report = report or (lambda line: None)
        self.databases: dict[str, database.Database] = {}
        self.servers: dict[str, server.Server] = {}

    @classmethod
    def attach(cls, folder: pathlib.Path | str) -> Stack:
        """Handles to the servers of a running stack; ends nothing.

        :raises StackError: when no stack runs there
        """
        index = _index(pathlib.Path(folder))
        if not index:
            raise process.StackError(f'{folder}: no running stack')
        stack = cls(folder)
        stack._names = list(index)
        stack._make_servers(index)
        return stack

    def _make_servers(self, index: dict[str, Any]) -> None:
        for name in self._names:
            options = self._options.get(name, {})
            made = self._make_server(name, index.get(name), options)
            self.servers[name] = made
            if isinstance(made, database.Database):
                self.databases[name] = made
            else:
                setattr(self, name, made)

    def _make_server(
        self, name: str, settings: Any, options: dict[str, Any]
    ) -> server.Server:
        assert self.folder is not None
        if name == 'glance':
            return glance.Glance(self.folder, self.ceph, settings, **options)
        kinds: dict[str, Any] = {
            'ceph': ceph.Ceph,
            'rabbitmq': rabbitmq.RabbitMQ,
            **database.ENGINES,
        }
        made: server.Server = kinds[name](self.folder, settings, **options)
        return made

    def _setUp(self) -> None:
        started = time.monotonic()
        self._make_folder()
        self.addCleanup(self._end)
        self._make_servers({})
        self._start_all()
        self._write_index()
        self._report(f'stack: ready in {time.monotonic() - started:.1f} s')

    def _make_folder(self) -> None:
        if self.folder is None:
            # /tmp, whatever TMPDIR says: unix sockets have short paths.
            name = tempfile.mkdtemp(prefix='rbdcloner-', dir='/tmp')
            self.folder = pathlib.Path(name)
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise process.StackError(f'{self.folder}: is not empty')
        server.prepare(self.folder)
        _write_private(self.folder / _INDEX, '{}')

    def _write_index(self) -> None:
        index = {name: one.settings for name, one in self.servers.items()}
        assert self.folder is not None
        _write_private(self.folder / _INDEX, json.dumps(index, indent=1))

    def _start_all(self) -> None:
        """Start every server at once; the first failure ends the others."""
        with futures.ThreadPoolExecutor(len(self.servers) * 2) as pool:
            steps: dict[str, futures.Future[None]] = {}
            for name, one in self.servers.items():
                steps[name] = pool.submit(self._bring_up, one, dict(steps))
            try:
                for step in futures.as_completed(steps.values()):
                    step.result()
            except BaseException:
                for one in self.servers.values():
                    one.abandon()
                raise

    def _bring_up(
        self, one: server.Server, earlier: dict[str, futures.Future[None]]
    ) -> None:
        begun = time.monotonic()
        one.prepare()
        if one.name == 'glance':
            earlier['ceph'].result()
        one.setUp()
        self._report(f'{one.name}: ready in {time.monotonic() - begun:.1f} s')

    def detach(self) -> None:
        """Leave the stack running when this process ends.

        ``down(folder)`` ends it, from any process.
        """
        self._clear_cleanups()
        for one in self.servers.values():
            one._clear_cleanups()

    def _end(self) -> None:
        with _no_interrupt():
            down(self.folder)


def _index(folder: pathlib.Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / _INDEX).read_text()))
    except FileNotFoundError:
        return {}


def _write_private(path: pathlib.Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """A second Ctrl-C does not stop the clearing away of the first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def down(folder: pathlib.Path | str | None) -> None:
    """End every process of the stack in the folder; remove the folder.

    Works from any process, also for a stack that was never complete; repeat
    it as you like.

    :raises StackError: when the folder is there and holds no stack
    """
    if folder is None or not pathlib.Path(folder).exists():
        return
    folder = pathlib.Path(folder)
    if not (folder / _INDEX).exists():
        raise process.StackError(f'{folder}: holds no stack')
    files = [process.PidFile(one) for one in (folder / 'pids').glob('*.pid')]
    process.kill_all([one for file in files if (one := file.process())])
    _remove(folder)


def _remove(folder: pathlib.Path) -> None:
    """Remove the folder, its index last: it says that a stack is here."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _INDEX:
            path.unlink()
    shutil.rmtree(folder)


def shared() -> Stack:
    """The stack that all suites of a run use, with every database engine.

    The one in the folder that RBDCLONER_STACK names, else one that is started
    now and ended when this process exits.
    """
    global _shared
    with _shared_lock:
        if _shared is None:
            folder = os.environ.get(SHARED_VARIABLE)
            _shared = Stack.attach(folder) if folder else _start_shared()
        return _shared


def _start_shared() -> Stack:
    stack = Stack(databases=tuple(database.ENGINES))
    stack.setUp()
    atexit.register(stack.cleanUp)
    return stack

# SPDX-License-Identifier: Apache-2.0
"""An ingress in front of Glance, which can lose its backend.

Without one it answers each request with a page of its own, status 404.
"""

from __future__ import annotations

import contextlib
import pathlib
import socket
import sys
import threading
from typing import Any

from tests.bench import child
from tests.stack import ports
from tests.stack import process
from tests.stack import server

_ADDRESS = '127.0.0.1'
_PAGE = b'default backend - 404'
_ANSWER = (
    b'HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n'
    b'Connection: close\r\nContent-Length: %d\r\n\r\n%s' % (len(_PAGE), _PAGE)
)
_AT_ONCE = 2**16


class Ingress(server.Server):
    """A running ingress for the port *backend*; its daemon has its name."""

    name = 'ingress'

    def __init__(self, stack_folder: pathlib.Path, backend: int) -> None:
        self._backend = backend
        super().__init__(stack_folder)

    def _choose(self) -> dict[str, Any]:
        return {'port': ports.claim()}

    @property
    def url(self) -> str:
        """The endpoint."""
        return f'http://{_ADDRESS}:{self.settings["port"]}'

    @property
    def _lost(self) -> pathlib.Path:
        return self.folder / 'lost'

    def lose_backend(self) -> None:
        """Answer with the page from now on."""
        self._lost.touch()

    def find_backend(self) -> None:
        """Pass requests on again."""
        self._lost.unlink(missing_ok=True)

    def _make_daemons(self) -> list[process.Daemon]:
        return [
            process.Daemon(
                self.name,
                self.stack_folder,
                [
                    *(sys.executable, '-m', __name__),
                    *(self.settings['port'], self._backend, self._lost),
                ],
                self._listens,
                env={'PYTHONPATH': str(child.ROOT)},
            )
        ]

    def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            address = (_ADDRESS, self.settings['port'])
            socket.create_connection(address).close()
            return True
        return False


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes from *source*, until either end is closed."""
    with contextlib.suppress(OSError):
        while data := source.recv(_AT_ONCE):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def _serve(client: socket.socket, backend: int, lost: pathlib.Path) -> None:
    """Pass one client's requests on, or answer them."""
    with contextlib.suppress(OSError), client:
        if lost.exists() and client.recv(_AT_ONCE):
            client.sendall(_ANSWER)
            return
        with socket.create_connection((_ADDRESS, backend)) as glance:
            _start(_pump, glance, client)
            while data := client.recv(_AT_ONCE):
                if lost.exists():
                    client.sendall(_ANSWER)
                    break
                glance.sendall(data)
            glance.shutdown(socket.SHUT_RDWR)


def _start(act: Any, *given: object) -> None:
    threading.Thread(target=act, args=given, daemon=True).start()


def _main(port: str, backend: str, lost: str) -> None:
    with socket.create_server((_ADDRESS, int(port))) as listening:
        while True:
            client, _ = listening.accept()
            _start(_serve, client, int(backend), pathlib.Path(lost))


if __name__ == '__main__':
    _main(*sys.argv[1:])

# SPDX-License-Identifier: Apache-2.0
"""Stands in for Neutron: a network service that has nothing.

Nova asks for the ports of every server, also of those without networks. What
is tested needs none, and a Neutron would cost half a minute and a database.
"""

from __future__ import annotations

from http import server as http
import json
import pathlib
import sys
from typing import Any

from tests.stack import ports
from tests.stack import process
from tests.stack import server

LISTS = frozenset(
    (
        *('networks', 'ports', 'subnets', 'floatingips', 'routers'),
        *('extensions', 'security_groups', 'segments', 'agents'),
        *('security_group_rules', 'network_ip_availabilities'),
    )
)


class Neutron(server.Server):
    """A running stand-in."""

    name = 'neutron'

    def _choose(self) -> dict[str, Any]:
        return {'port': ports.claim()}

    @property
    def url(self) -> str:
        """The endpoint."""
        return f'http://127.0.0.1:{self.settings["port"]}'

    def _make_daemons(self) -> list[process.Daemon]:
        root = pathlib.Path(__file__).parents[2]
        port = self.settings['port']
        return [
            process.Daemon(
                self.name,
                self.stack_folder,
                [sys.executable, '-m', __name__, port],
                lambda: ports.is_open(port),
                env={'PYTHONPATH': str(root)},
            )
        ]


class Handler(http.BaseHTTPRequestHandler):
    """Answers with empty lists."""

    protocol_version = 'HTTP/1.1'

    def do_GET(self) -> None:
        """Give what there is: nothing."""
        self.rfile.read(int(self.headers.get('Content-Length') or 0))
        path = self.path.partition('?')[0].rstrip('/').removesuffix('.json')
        name = path.rpartition('/')[2].replace('-', '_')
        if path in ('', '/v2.0'):
            self._answer(200, self._versions())
        elif self.command == 'GET' and name in LISTS:
            self._answer(200, {name: []})
        elif '/quotas/' in path:
            self._answer(200, {'quota': {}})
        else:
            error = {'type': 'NotFound', 'message': path, 'detail': ''}
            self._answer(404, {'NeutronError': error})

    do_POST = do_PUT = do_DELETE = do_GET

    def _versions(self) -> dict[str, Any]:
        base = f'http://{self.headers.get("Host")}/v2.0'
        links = [{'rel': 'self', 'href': base}]
        version = {'id': 'v2.0', 'status': 'CURRENT', 'links': links}
        return {'versions': [version], 'resources': []}

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == '__main__':
    address = ('127.0.0.1', int(sys.argv[1]))
    http.ThreadingHTTPServer(address, Handler).serve_forever()

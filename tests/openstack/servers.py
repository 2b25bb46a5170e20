# SPDX-License-Identifier: Apache-2.0
"""Servers as Nova's API has them, and waiting for what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import itertools
from typing import Any

from keystoneauth1 import adapter
from keystoneauth1 import exceptions
from keystoneauth1 import session

from tests.stack import process

MICROVERSION = '2.79'
TIMEOUT_S = 120


class ServerFailed(process.StackError):
    """A server got into ERROR."""


class Servers:
    """Nova's API; a server is its id, and each call returns when it is done.

    ``api`` is there for what has no method: ``api.get('/servers')``.
    """

    def __init__(self, of_user: session.Session) -> None:
        self.api = adapter.Adapter(
            of_user,
            service_type='compute',
            interface='public',
            default_microversion=MICROVERSION,
        )
        self._numbers = itertools.count(1)

    def hypervisors(self) -> list[str]:
        """Return the hosts that a server can be scheduled to."""
        found = self.api.get('/os-hypervisors/detail').json()['hypervisors']
        return [str(one['service']['host']) for one in found]

    def flavor(
        self,
        disk_gb: int = 1,
        ephemeral_gb: int = 0,
        swap_mib: int = 0,
        ram_mib: int = 64,
    ) -> str:
        """Return a flavor of these sizes; the same one for the same."""
        sizes = (disk_gb, ephemeral_gb, swap_mib, ram_mib)
        name = 'rbd-' + '-'.join(map(str, sizes))
        for known in self.api.get('/flavors').json()['flavors']:
            if known['name'] == name:
                return str(known['id'])
        answer = self.api.post(
            '/flavors',
            json={
                'flavor': {
                    'name': name,
                    'vcpus': 1,
                    'ram': ram_mib,
                    'disk': disk_gb,
                    'OS-FLV-EXT-DATA:ephemeral': ephemeral_gb,
                    'swap': swap_mib,
                }
            },
        )
        return str(answer.json()['flavor']['id'])

    def boot(
        self,
        image_id: str,
        flavor: str = '',
        *,
        config_drive: bool = False,
        wait: bool = True,
        **more: Any,
    ) -> str:
        """Return a running server without networks; ``more`` is its JSON.

        :raises ServerFailed: it could not be built; it is still there
        """
        body = {
            'name': f'server-{next(self._numbers)}',
            'imageRef': image_id,
            'flavorRef': flavor or self.flavor(),
            'networks': 'none',
            'config_drive': config_drive,
            **more,
        }
        answer = self.api.post('/servers', json={'server': body})
        server_id = str(answer.json()['server']['id'])
        if wait:
            self.wait(server_id, 'ACTIVE')
        return server_id

    def server(self, server_id: str) -> dict[str, Any]:
        """Return what Nova says of a server."""
        return dict(self.api.get(f'/servers/{server_id}').json()['server'])

    def servers(self) -> list[str]:
        """Return the ids of all servers."""
        found = self.api.get('/servers?all_tenants=1').json()['servers']
        return [str(one['id']) for one in found]

    def wait(
        self, server_id: str, status: str, timeout_s: float = TIMEOUT_S
    ) -> dict[str, Any]:
        """Return the server once it has a status and nothing is under way.

        :raises ServerFailed: it got into ERROR, and that was not wanted
        :raises StackError: not in time, with what it is instead
        """
        seen: dict[str, Any] = {}

        def is_there() -> bool:
            seen.update(self.server(server_id))
            if seen['status'] == 'ERROR' != status:
                raise ServerFailed(f'{server_id}: {self.faults(server_id)}')
            idle = seen['OS-EXT-STS:task_state'] is None
            return bool(idle and seen['status'] == status)

        try:
            process.wait_until(is_there, status, timeout_s)
        except ServerFailed:
            raise
        except process.StackError as exc:
            state = (seen.get('status'), seen.get('OS-EXT-STS:task_state'))
            message = f'{exc}: {server_id} is {state}'
            raise process.StackError(message) from exc
        return seen

    def faults(self, server_id: str) -> list[str]:
        """Return why a server is in ERROR, and which actions failed how."""
        fault = self.server(server_id).get('fault', {})
        found = [fault[key] for key in ('message', 'details') if key in fault]
        for action in self.actions(server_id):
            for event in action['events']:
                if event['result'] == 'Error':
                    found.append(f'{event["event"]}: {event["traceback"]}')
        return found

    def actions(self, server_id: str) -> list[dict[str, Any]]:
        """Return what was done to a server, the last first, with events."""
        path = f'/servers/{server_id}/os-instance-actions'
        found = self.api.get(path).json()['instanceActions']
        return [
            self.api.get(f'{path}/{one["request_id"]}').json()[
                'instanceAction'
            ]
            for one in found
        ]

    def console(self, server_id: str) -> str:
        """Return what a server has written to its serial console."""
        answer = self._act(server_id, 'os-getConsoleOutput', {})
        return str(answer.json()['output'])

    def delete(self, *server_ids: str, wait: bool = True) -> None:
        """Delete servers.

        :raises ServerFailed: one got into ERROR instead
        """
        for server_id in server_ids:
            self.api.delete(f'/servers/{server_id}')
        for server_id in server_ids if wait else ():
            process.wait_until(
                self._goes(server_id), f'end of {server_id}', TIMEOUT_S
            )

    def _goes(self, server_id: str) -> Callable[[], bool]:
        try:
            before = self.server(server_id)
        except exceptions.NotFound:
            return lambda: True

        def is_gone() -> bool:
            try:
                now = self.server(server_id)
            except exceptions.NotFound:
                return True
            failed = now['status'] == 'ERROR' != before['status']
            if failed and now['OS-EXT-STS:task_state'] is None:
                raise ServerFailed(f'{server_id}: {self.faults(server_id)}')
            return False

        return is_gone

    def _act(
        self,
        server_id: str,
        action: str,
        arguments: Mapping[str, Any] | str | None = None,
    ) -> Any:
        path = f'/servers/{server_id}/action'
        return self.api.post(path, json={action: arguments})

# SPDX-License-Identifier: Apache-2.0
"""What people do with servers and images, and what they wait for."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import itertools
import pathlib
from typing import IO
from typing import Any

from keystoneauth1 import adapter
from keystoneauth1 import exceptions
from keystoneauth1 import session

from tests.stack import glance
from tests.stack import process

MICROVERSION = '2.79'
TIMEOUT_S = 120


class ServerFailed(process.StackError):
    """A server got into ERROR."""


class Client:
    """Nova's and Glance's API; each call returns when it is done.

    A server is its id, an image is its id. ``api`` is there for what has no
    method: ``client.api.get('/servers')``.
    """

    def __init__(
        self, of_user: session.Session, images: glance.Glance
    ) -> None:
        self.api = adapter.Adapter(
            of_user,
            service_type='compute',
            interface='public',
            default_microversion=MICROVERSION,
        )
        self._images = images
        self._flavors: dict[tuple[int, ...], str] = {}
        self._numbers = itertools.count(1)

    # Images and flavors

    def upload(
        self,
        data: str | pathlib.Path | bytes | IO[bytes],
        disk_format: str = 'raw',
        name: str = 'image',
        **properties: Any,
    ) -> str:
        """Return an active image of a file or of bytes."""
        image = self._images.upload(name, data, disk_format, **properties)
        return str(image.id)

    def image(self, image_id: str) -> Any:
        """Return an image as Glance's client gives it."""
        return self._images.client().images.get(image_id)

    def delete_image(self, image_id: str) -> None:
        """Delete an image; Glance may refuse."""
        self._images.delete(image_id)

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

    # Servers

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
        before = self.server(server_id) if self._exists(server_id) else {}

        def is_gone() -> bool:
            try:
                now = self.server(server_id)
            except exceptions.NotFound:
                return True
            failed = now['status'] == 'ERROR' != before.get('status')
            if failed and now['OS-EXT-STS:task_state'] is None:
                raise ServerFailed(f'{server_id}: {self.faults(server_id)}')
            return False

        return is_gone

    def _exists(self, server_id: str) -> bool:
        try:
            self.server(server_id)
        except exceptions.NotFound:
            return False
        return True

    def _act(
        self,
        server_id: str,
        action: str,
        arguments: Mapping[str, Any] | str | None = None,
    ) -> Any:
        path = f'/servers/{server_id}/action'
        return self.api.post(path, json={action: arguments})

    # What is done to them

    def snapshot(self, server_id: str, name: str = 'snapshot') -> str:
        """Return an active image of a server.

        :raises StackError: there will be none
        """
        answer = self._act(server_id, 'createImage', {'name': name})
        image_id = str(answer.json()['image_id'])
        process.wait_until(
            lambda: self._is_active(image_id), f'image {image_id}', TIMEOUT_S
        )
        process.wait_until(
            lambda: not self.server(server_id)['OS-EXT-STS:task_state'],
            f'end of the snapshot of {server_id}',
        )
        return image_id

    def _is_active(self, image_id: str) -> bool:
        try:
            status = str(self.image(image_id).status)
        except Exception as exc:
            raise process.StackError(f'image {image_id}: {exc}') from exc
        if status in ('killed', 'deleted'):
            raise process.StackError(f'image {image_id}: {status}')
        return status == 'active'

    def rescue(self, server_id: str, image_id: str = '') -> None:
        """Run a server from a rescue disk."""
        arguments = {'rescue_image_ref': image_id} if image_id else {}
        self._act(server_id, 'rescue', arguments)
        self.wait(server_id, 'RESCUE')

    def unrescue(self, server_id: str) -> None:
        """Run a rescued server from its own disk again."""
        self._act(server_id, 'unrescue')
        self.wait(server_id, 'ACTIVE')

    def resize(self, server_id: str, flavor: str) -> None:
        """Give a server another flavor, which is still to be confirmed."""
        self._act(server_id, 'resize', {'flavorRef': flavor})
        self.wait(server_id, 'VERIFY_RESIZE')

    def confirm_resize(self, server_id: str) -> None:
        """Keep the new flavor."""
        self._act(server_id, 'confirmResize')
        self.wait(server_id, 'ACTIVE')

    def revert_resize(self, server_id: str) -> None:
        """Go back to the flavor before."""
        self._act(server_id, 'revertResize')
        self.wait(server_id, 'ACTIVE')

    def shelve(self, server_id: str) -> None:
        """Shelve a server; its disks stay."""
        self._act(server_id, 'shelve')
        self.wait(server_id, 'SHELVED')

    def offload(self, server_id: str) -> None:
        """Take a shelved server's disks away."""
        self._act(server_id, 'shelveOffload')
        self.wait(server_id, 'SHELVED_OFFLOADED')

    def unshelve(self, server_id: str) -> None:
        """Run a shelved server again."""
        self._act(server_id, 'unshelve')
        self.wait(server_id, 'ACTIVE')

    def rebuild(self, server_id: str, image_id: str) -> None:
        """Make a server's root disk anew of an image."""
        self._act(server_id, 'rebuild', {'imageRef': image_id})
        self.wait(server_id, 'ACTIVE')

    def stop(self, server_id: str) -> None:
        """Power a server off."""
        self._act(server_id, 'os-stop')
        self.wait(server_id, 'SHUTOFF')

    def start(self, server_id: str) -> None:
        """Power a server on."""
        self._act(server_id, 'os-start')
        self.wait(server_id, 'ACTIVE')

    def hypervisors(self) -> list[str]:
        """Return the hosts that a server can be scheduled to."""
        found = self.api.get('/os-hypervisors/detail').json()['hypervisors']
        return [str(one['service']['host']) for one in found]

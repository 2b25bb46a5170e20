# SPDX-License-Identifier: Apache-2.0
"""What people do with servers and images."""

from __future__ import annotations

import pathlib
from typing import IO
from typing import Any

from keystoneauth1 import session

from tests.openstack import servers
from tests.stack import glance
from tests.stack import process

_UNFINISHED = ('pending', 'processing')


class Client(servers.Servers):
    """Nova's and Glance's API; an image is its id, too."""

    def __init__(
        self, of_user: session.Session, images: glance.Glance
    ) -> None:
        super().__init__(of_user)
        self._images = images

    # Images

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
        """Delete an image, once Glance has read what it was told of."""
        self.await_checksums()
        self._images.delete(image_id)

    def await_checksums(self) -> None:
        """Return when Glance computes no checksum of a new location.

        Glance 33 answers a deletion with HTTP 500 ("Operation file for %s
        does not exist, cannot cancel") where it is about to begin that or has
        just ended: the image says that it is being read, and the file by
        which the reader is to be stopped is not there yet, or not any more.
        """
        tasks = self._images.client().tasks
        process.wait_until(
            lambda: (
                not any(each.status in _UNFINISHED for each in tasks.list())
            ),
            "the end of Glance's tasks",
            servers.TIMEOUT_S,
        )

    # Hosts

    def update_host(self, host: str, **changes: Any) -> None:
        """Change what Nova has on a host: its ``status``, ``forced_down``.

        Nova forces no host up that has not done with what was evacuated.
        """
        self.api.put(self._service(host), json=changes)

    def remove_host(self, host: str) -> None:
        """Have Nova forget a host that has no server."""
        self.api.delete(self._service(host))

    def _service(self, host: str) -> str:
        path = f'/os-services?binary=nova-compute&host={host}'
        (found,) = self.api.get(path).json()['services']
        return f'/os-services/{found["id"]}'

    # What is done to them

    def snapshot(self, server_id: str, name: str = 'snapshot') -> str:
        """Return an active image of a server.

        :raises StackError: there will be none
        """
        answer = self._act(server_id, 'createImage', {'name': name})
        image_id = str(answer.json()['image_id'])
        process.wait_until(
            lambda: self._is_active(image_id),
            f'image {image_id}',
            servers.TIMEOUT_S,
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
        """Run a shelved server again; Nova deletes its image."""
        self.await_checksums()
        self._act(server_id, 'unshelve')
        self.wait(server_id, 'ACTIVE')

    def rebuild(self, server_id: str, image_id: str) -> None:
        """Make a server's root disk anew of an image."""
        self._act(server_id, 'rebuild', {'imageRef': image_id})
        self.wait(server_id, 'ACTIVE')

    def migrate(self, server_id: str, host: str) -> None:
        """Move a server to a host, which is still to be confirmed."""
        self._act(server_id, 'migrate', {'host': host})
        self.wait(server_id, 'VERIFY_RESIZE')

    def evacuate(self, server_id: str, host: str) -> None:
        """Run a server on a host when its own is down."""
        self._act(server_id, 'evacuate', {'host': host})
        self.wait(server_id, 'ACTIVE')

    def host(self, server_id: str) -> str:
        """Return the host that a server is on."""
        return str(self.server(server_id)['OS-EXT-SRV-ATTR:host'])

    def migrations(self, server_id: str) -> list[dict[str, Any]]:
        """Return a server's moves from host to host."""
        path = f'/os-migrations?instance_uuid={server_id}'
        return list(self.api.get(path).json()['migrations'])

    def stop(self, server_id: str) -> None:
        """Power a server off."""
        self._act(server_id, 'os-stop')
        self.wait(server_id, 'SHUTOFF')

    def start(self, server_id: str) -> None:
        """Power a server on."""
        self._act(server_id, 'os-start')
        self.wait(server_id, 'ACTIVE')

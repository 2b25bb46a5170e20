# SPDX-License-Identifier: Apache-2.0
"""What a guest wrote is what its descendants read."""

import secrets
import uuid

from testtools import content

from tests.endtoend import guest
from tests.endtoend.cloud import IMAGE
from tests.endtoend.cloud import MIB
from tests.endtoend.cloud import CloudTest
from tests.stack import process

_PATIENCE_S = 120


class GuestTest(CloudTest):
    def upload(self, word: str) -> str:
        """Return an image whose guest writes a word and powers off."""
        kernel, ramdisk = (
            self.client.upload(data, kind, container_format=kind)
            for kind, data in (
                ('aki', guest.kernel()),
                ('ari', guest.ramdisk()),
            )
        )
        return self.client.upload(
            IMAGE,
            kernel_id=kernel,
            ramdisk_id=ramdisk,
            os_command_line=f'console=ttyS0 word={word}',
        )

    def test_word_of_a_guest_is_in_a_clone_of_its_snapshot(self) -> None:
        word = secrets.token_hex(16)
        server_id = self.client.boot(
            self.upload(word), self.client.flavor(ram_mib=192), wait=False
        )
        try:
            self.client.wait(server_id, 'SHUTOFF', _PATIENCE_S)
        except process.StackError:
            said = self.client.console(server_id)
            self.addDetail('console', content.text_content(said))
            raise
        snapshot = self.client.snapshot(server_id)
        instance = str(uuid.uuid4())
        clone = self.api.create_disk(
            self.ctxt,
            image_id=snapshot,
            name=f'{instance}_disk',
            size_bytes=1024 * MIB,
            pool='vms',
            instance_uuid=instance,
            project_id=self.row(server_id)['project_id'],
            host='nowhere',
        )
        self.addCleanup(self.api.delete_disk, self.ctxt, clone['name'], 'vms')
        self.assertEqual(snapshot, clone['parent']['image'])
        self.assertEqual(
            word.encode(), self.read(clone, guest.WORD_OFFSET, len(word))
        )

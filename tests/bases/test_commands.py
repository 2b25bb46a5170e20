# SPDX-License-Identifier: Apache-2.0
"""rbdcloner-manage base in an administrator's hands, on real managers."""

from concurrent import futures
import os
import re
from typing import Any
from typing import ClassVar

from rbdcloner import rpcapi
from tests.bases import test_bases
from tests.functional import administrator
from tests.functional.administrator import DONE
from tests.functional.administrator import NOT_FOUND
from tests.functional.administrator import REFUSED
from tests.functional.administrator import Ran
from tests.functional.service import MIB
from tests.stack import process

_PATIENCE_S = 120


class CommandsTest(test_bases.BasesTest):
    #: Slow enough to be seen in the middle by programs that take seconds.
    options: ClassVar[dict[str, dict[str, object]]] = {
        'DEFAULT': test_bases.EAGER,
        'imports': {'mib_per_s': 2},
    }

    def setUp(self) -> None:
        super().setUp()
        self.data = os.urandom(24 * MIB)
        self.source.write_bytes(self.data)

    def create(self, image_id: str, **changes: Any) -> rpcapi.Disk:
        """Make a disk that has room for these data."""
        return super().create(image_id, size_bytes=32 * MIB, **changes)

    def run_base(self, *arguments: str) -> Ran:
        return administrator.run(self.manager.conf, 'base', *arguments)

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        """Return what the list has for programs."""
        ran = self.run_base('list', '-f', 'json', *arguments)
        self.assertEqual((DONE, ''), (ran.code, ran.err))
        return ran.rows

    def test_image_is_imported_while_somebody_looks(self) -> None:
        image_id = self.image('qcow2')
        ran = administrator.run_on_terminal(
            self.manager.conf, 'base', 'import', image_id
        )
        self.assertEqual(DONE, ran.code, ran.err)
        asked, _newline, shown = ran.err.partition('\n')
        self.assertEqual(f'Image {image_id} is to be imported.', asked.strip())
        bars = re.findall(r'\r\x1b\[K *(\d+) % \[#*\.*\] ', shown)
        percents = [int(percent) for percent in bars]
        self.assertEqual(sorted(percents), percents)
        self.assertTrue({*range(10, 90)} & {*percents}, shown)
        last = shown.rpartition('\r\x1b[K')[2].strip()
        (base,) = self.listed()
        self.assertEqual(
            f'Image {image_id} is ready: disks are cloned from {base["base"]}',
            last,
        )
        self.assertEqual(('ready', 100), (base['state'], base['percent']))
        self.assert_is_of(self.data, self.create(image_id))

    def test_list_shows_an_import_come_on(self) -> None:
        image_id = self.image('vmdk')
        with futures.ThreadPoolExecutor(1) as thread:
            disk = thread.submit(self.create, image_id)
            coming = rf'\| {image_id} \| running \| convert \| [1-9]\d? %'
            process.wait_until(
                lambda: re.search(coming, self.run_base('list').out),
                'an import that is on its way',
                _PATIENCE_S,
            )
            disk.result(_PATIENCE_S)

    def test_base_is_dropped_when_no_disk_needs_it(self) -> None:
        image_id = self.image('vdi')
        disk = self.create(image_id)
        ran = self.run_base('drop', image_id)
        self.assertEqual((REFUSED, ''), (ran.code, ran.out))
        self.assertIn(f'is needed by vms/{disk["name"]}. Delete', ran.err)
        self.api.delete_disk(self.ctxt, disk['name'], 'vms')
        self.assert_becomes(DONE, lambda: self.run_base('drop', image_id).code)
        self.assert_becomes(self.before, self.in_ceph)
        self.assertEqual([], self.listed())
        self.assertEqual('dropped', self.listed('--all')[-1]['state'])

    def test_what_is_not_imported_is_told(self) -> None:
        ran = self.run_base('import', self.upload_golden())
        self.assertEqual(DONE, ran.code, ran.err)
        self.assertIn('can be cloned as it is', ran.err)
        unknown = '00000000-0000-4000-8000-000000000000'
        ran = self.run_base('import', unknown)
        self.assertEqual(NOT_FOUND, ran.code, ran.err)

    def upload_golden(self) -> str:
        """Return a raw image in this cluster."""
        return self.upload(self.source, 'raw')

# SPDX-License-Identifier: Apache-2.0
"""Disks made of a file of the compute host: swap, ephemeral, config drive."""

import os
import pathlib
import signal
from typing import Any

from tests.functional.service import MIB
from tests.nova import compute

CONFIG = 'disk.config'


class FileTest(compute.ComputeTest):
    def imported(self, data: bytes, name: str = CONFIG) -> None:
        self.disk(name).import_file(self.instance, self.file(data), name)

    def test_file_becomes_a_disk_on_record(self) -> None:
        data = os.urandom(9 * MIB + 1)
        self.imported(data)
        row = self.row(CONFIG)
        self.assertEqual('ready', row['state'])
        self.assertEqual(len(data), row['size_bytes'])
        self.assertEqual(data, self.read(row, 0, len(data)))

    def test_file_takes_the_place_of_another(self) -> None:
        self.imported(b'one' * MIB)
        self.imported(b'other')
        row = self.row(CONFIG)
        self.assertEqual(5, row['size_bytes'])
        self.assertEqual(b'other', self.read(row, 0, 5))

    def test_zeros_take_no_space(self) -> None:
        path = pathlib.Path(self.file(bytes(4 * MIB)))
        with path.open('r+b') as file:
            file.seek(40 * MIB)
            file.write(b'end')
            file.truncate(64 * MIB)
        self.disk(CONFIG).import_file(self.instance, str(path), CONFIG)
        row = self.row(CONFIG)
        self.assertEqual(64 * MIB, row['size_bytes'])
        self.assertEqual(b'\0end\0', self.read(row, 40 * MIB - 1, 5))
        with self.pool() as ioctx:
            held = [
                each.key
                for each in ioctx.list_objects()
                if each.key.startswith(f'rbd_data.{row["image_id"]}.')
            ]
        self.assertEqual(1, len(held))

    def test_ephemeral_disk_is_made_once(self) -> None:
        made = []

        def fetch(target: str, **given: Any) -> None:
            made.append(target)
            pathlib.Path(target).write_bytes(b'filesystem')

        for _ in range(2):
            self.disk('disk.local').cache(
                fetch_func=fetch,
                context=self.context,
                filename='ephemeral_1_default',
                size=16 * MIB,
                ephemeral_size=1,
                safe=True,
            )
        row = self.row('disk.local')
        self.assertEqual(16 * MIB, row['size_bytes'])
        self.assertEqual(b'filesystem', self.read(row, 0, 10))
        self.assertEqual(1, len(made))

    def test_half_written_disk_is_none(self) -> None:
        path = self.file(os.urandom(64 * MIB))
        died = self.elsewhere('die', path=path)
        self.assertEqual(-signal.SIGKILL, died.returncode, died.stderr)
        self.assertEqual('importing', self.row(CONFIG)['state'])
        self.assertFalse(self.disk(CONFIG).exists())
        # The one that was killed has it open for half a minute.
        self.imported(b'whole')
        row = self.row(CONFIG)
        self.assertEqual('ready', row['state'])
        self.assertTrue(self.disk(CONFIG).exists())
        self.assertEqual(b'whole', self.read(row, 0, 5))

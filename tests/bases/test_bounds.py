# SPDX-License-Identifier: Apache-2.0
"""What an import may take, and what becomes of it where that is not there."""

from concurrent import futures
import contextlib
import os
import time
from typing import ClassVar

from rbdcloner import errors
from rbdcloner.images import scratch
from tests.bases import elsewhere
from tests.bases.test_bases import MIB
from tests.stack import process

MIB_PER_S = 4
SCRATCH_MIB = 8
_PATIENCE_S = 120


class BoundsTest(elsewhere.ElsewhereTest):
    imports: ClassVar[dict[str, object]] = {
        'limit': 1,
        'mib_per_s': MIB_PER_S,
        'scratch_mib': SCRATCH_MIB,
    }

    def running(self) -> list[tuple[str, int]]:
        """Return which images are imported, and how far that is."""
        query = 'SELECT glance_image_id, done_bytes FROM bases WHERE state = '
        return [(one, done) for one, done in self.select(f"{query}'running'")]

    def test_images_are_imported_one_after_the_other(self) -> None:
        images = [self.far(elsewhere.sparse(8 * MIB, 0)) for _ in range(2)]
        seen = set()
        began = time.monotonic()
        with futures.ThreadPoolExecutor(2) as threads:
            asked = [threads.submit(self.create, one) for one in images]
            while not all(each.done() for each in asked):
                running = [one for one, _done in self.running()]
                self.assertLessEqual(len(running), 1)
                seen.update(running)
                time.sleep(process.POLL_S)
        self.assertEqual({*images}, seen)
        took_s = time.monotonic() - began
        self.assertGreaterEqual(took_s, 2 * 8 / MIB_PER_S)
        for each in asked:
            self.assertEqual('ready', each.result()['state'])

    def test_download_that_broke_off_is_made_again(self) -> None:
        data = elsewhere.sparse(24 * MIB, 0, 5)
        image_id = self.far(data)
        with futures.ThreadPoolExecutor(1) as thread:
            asked = thread.submit(self.create, image_id, size_bytes=len(data))
            process.wait_until(
                lambda: any(done for _one, done in self.running()),
                'some of the data',
                _PATIENCE_S,
            )
            self.glance.kill()
            self.addCleanup(self.glance.start)
            process.wait_until(
                lambda: self.bases(image_id)[-1] == ('wanted', 2),
                'an attempt without Glance',
                _PATIENCE_S,
            )
            self.glance.start()
            # Who asks while Glance is down is told so.
            with contextlib.suppress(errors.GlanceUnavailable):
                asked.result(_PATIENCE_S)
        disk = self.create(image_id, size_bytes=len(data))
        self.assert_is_of(data, disk)
        self.assertEqual(1, len(self.bases(image_id)))

    def test_image_that_never_fits_is_refused(self) -> None:
        self.source.write_bytes(os.urandom(SCRATCH_MIB * MIB))
        image_id = self.far(self.converted('qcow2').read_bytes(), 'qcow2')
        told = self.assertRaises(errors.ImportRefused, self.create, image_id)
        self.assertIn('ScratchTooSmall', str(told))
        self.assertEqual('refused', self.bases(image_id)[-1][0])

    def test_image_deleted_during_its_import_is_not_found(self) -> None:
        data = elsewhere.sparse(24 * MIB, 0, 5)
        image_id = self.far(data)
        with futures.ThreadPoolExecutor(1) as thread:
            asked = thread.submit(self.create, image_id, size_bytes=len(data))
            process.wait_until(
                lambda: any(done for _one, done in self.running()),
                'some of the data',
                _PATIENCE_S,
            )
            self.glance.delete(image_id)
            self.assertRaises(errors.ImageNotFound, asked.result, _PATIENCE_S)
        self.assert_becomes(
            {'dropped'},
            lambda: {state for state, _attempts in self.bases(image_id)},
        )
        self.assert_becomes(self.before, self.in_ceph)

    def test_image_whose_data_glance_lost_is_refused(self) -> None:
        image_id = self.far(elsewhere.sparse(MIB, 0))
        (self.glance.far / image_id).unlink()
        told = self.assertRaises(errors.ImportRefused, self.create, image_id)
        self.assertIn('ImageDataMissing', str(told))
        made = self.rows(f"kind = 'base' AND glance_image_id = '{image_id}'")
        self.assertEqual([], made)

    def test_import_waits_for_room_and_its_caller_is_told(self) -> None:
        image_id = self.far(self.converted('qcow2').read_bytes(), 'qcow2')
        taken = scratch.Scratch(
            self.manager.folder / 'scratch', SCRATCH_MIB * MIB
        )
        with taken.file('another', (SCRATCH_MIB - 1) * MIB):
            told = self.assertRaises(
                errors.ImageImporting, self.ask, 5, image_id
            )
            self.assertIn('The scratch folder has no room for', str(told))
        self.assert_is_of(self.data, self.create(image_id))
        self.assertEqual([], self.scratch())

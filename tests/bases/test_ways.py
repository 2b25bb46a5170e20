# SPDX-License-Identifier: Apache-2.0
"""The ways of an image's data into a base: streamed, or copied by Glance."""

from typing import ClassVar

from rbdcloner import errors
from tests.bases import elsewhere
from tests.bases import two_stores
from tests.bases.test_bases import MIB


class StreamTest(elsewhere.ElsewhereTest):
    #: There is no room for any of the images.
    imports: ClassVar[dict[str, object]] = {'scratch_mib': 1}

    def test_raw_data_is_streamed_without_its_zeros(self) -> None:
        data = elsewhere.sparse(26 * MIB + 512, 0, 3, 6)
        image_id = self.far(data)
        disk = self.create(image_id, size_bytes=32 * MIB)
        self.assert_is_of(data, disk)
        ((state, way, done_bytes),) = self.bases(
            image_id, 'state, way, done_bytes'
        )
        self.assertEqual(('ready', 'stream'), (state, way))
        self.assertEqual(len(data), done_bytes)
        self.assertEqual(3, self.objects(disk['parent']['image_id']))
        self.assertEqual([], self.scratch())

    def test_data_that_is_not_the_images_is_refused(self) -> None:
        data = elsewhere.sparse(5 * MIB, 0)
        for name, found in (
            ('ChecksumDiffers', data[:-1] + b'x'),
            ('DataTruncated', data[: 2 * MIB]),
        ):
            image_id = self.far(data)
            (self.glance.far / image_id).write_bytes(found)
            refused = self.assertRaises(
                errors.ImportRefused, self.create, image_id
            )
            self.assertIn(name, str(refused))
            self.assertEqual('refused', self.bases(image_id)[-1][0])
            self.assert_becomes(self.before, self.in_ceph)

    def test_image_larger_than_the_disk_is_imported_once(self) -> None:
        image_id = self.far(elsewhere.sparse(9 * MIB, 0))
        for _ in range(2):
            self.assertRaises(errors.ImageTooBig, self.create, image_id)
        self.assertEqual([('ready', 0)], self.bases(image_id))
        self.create(image_id, size_bytes=9 * MIB)
        made = self.rows(f"kind = 'base' AND glance_image_id = '{image_id}'")
        self.assertEqual(['ready'], [state for _name, state in made])


class CopyTest(elsewhere.ElsewhereTest):
    imports: ClassVar[dict[str, object]] = {'glance_store': two_stores.HERE}

    def test_glance_copies_and_the_disk_is_a_clone_of_its_image(self) -> None:
        data = elsewhere.sparse(6 * MIB, 0, 1)
        image_id = self.far(data)
        disk = self.create(image_id)
        self.assert_is_of(data, disk)
        self.assertEqual(
            ('images', image_id),
            (disk['parent']['pool'], disk['parent']['image']),
        )
        # Who waits for it clones what Glance has, as soon as that is there.
        self.assert_becomes(
            [('copied', 'copy')], lambda: self.bases(image_id, 'state, way')
        )
        self.assertEqual([], self.rows("kind = 'base'"))


class FallbackTest(elsewhere.ElsewhereTest):
    imports: ClassVar[dict[str, object]] = {'glance_store': 'unheard-of'}

    def test_what_glance_does_not_copy_is_streamed(self) -> None:
        data = elsewhere.sparse(MIB, 0)
        image_id = self.far(data)
        self.assert_is_of(data, self.create(image_id))
        self.assertEqual(
            [('ready', 'stream')], self.bases(image_id, 'state, way')
        )

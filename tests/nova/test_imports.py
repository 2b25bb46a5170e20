# SPDX-License-Identifier: Apache-2.0
"""Images that cannot be cloned, imported by a manager for all hosts."""

from nova import exception

from tests.functional.service import GOLDEN
from tests.functional.service import MIB
from tests.nova import compute


class ImportTest(compute.ComputeTest):
    imports = 'allowed'

    def test_disks_of_a_qcow2_image_are_clones_of_one_base(self) -> None:
        image_id = self.upload(GOLDEN, 'qcow2')
        other = compute.Instance()
        self.boot(self.disk(), image_id)
        self.boot(self.disk(instance=other), image_id)
        row = self.row()
        self.assertEqual(GOLDEN, self.read(row, 0, len(GOLDEN)))
        second = self.api.get_disk(self.ctxt, f'{other.uuid}_disk', 'vms')
        self.assertEqual(row['parent'], second['parent'])

    def test_nothing_of_it_comes_to_the_host(self) -> None:
        self.override('never_download_image_if_on_rbd', True, 'workarounds')
        image_id = self.upload(GOLDEN, 'qcow2')
        before = set(self.folder.rglob('*'))
        self.boot(self.disk(), image_id)
        made = set(self.folder.rglob('*')) - before
        self.assertEqual(set(), {each for each in made if each.is_file()})

    def test_image_larger_than_the_disk_is_refused(self) -> None:
        image_id = self.upload(GOLDEN, 'qcow2')
        self.assertRaises(
            exception.FlavorDiskSmallerThanImage,
            *(self.boot, self.disk(), image_id, MIB),
        )

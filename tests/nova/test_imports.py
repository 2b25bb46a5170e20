# SPDX-License-Identifier: Apache-2.0
"""Images that cannot be cloned, imported by a manager for all hosts."""

from cursive import exception as cursive_errors
from nova import exception
from nova.objects import trusted_certs

from rbdcloner import errors
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


class VerifiedTest(compute.ComputeTest):
    """Images without a signature, where one is asked for."""

    imports = 'allowed'

    def assert_refused(self, image_id: str) -> None:
        self.assertRaises(
            cursive_errors.SignatureVerificationError,
            *(self.boot, self.disk(), image_id),
        )
        self.assertRaises(errors.DiskNotFound, self.row)

    def test_users_certificates_are_heeded_for_every_image(self) -> None:
        self.instance.trusted_certs = trusted_certs.TrustedCerts(
            ids=['a', 'b']
        )
        for image_id in (self.image_id, self.upload(GOLDEN, 'qcow2')):
            self.assert_refused(image_id)

    def test_build_fails_where_nothing_may_be_downloaded(self) -> None:
        self.instance.trusted_certs = trusted_certs.TrustedCerts(
            ids=['a', 'b']
        )
        self.override('never_download_image_if_on_rbd', True, 'workarounds')
        self.assertRaises(exception.ImageUnacceptable, self.boot, self.disk())

    def test_what_nova_verifies_is_not_imported(self) -> None:
        self.override('verify_glance_signatures', True, 'glance')
        self.assert_refused(self.upload(GOLDEN, 'qcow2'))

    def test_what_nova_clones_unverified_is_cloned(self) -> None:
        self.override('verify_glance_signatures', True, 'glance')
        self.boot(self.disk())
        self.assertIsNotNone(self.row()['parent'])

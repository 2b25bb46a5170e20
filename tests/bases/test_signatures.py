# SPDX-License-Identifier: Apache-2.0
"""Signatures of images, verified by a manager that is to."""

import os
import pathlib
import tempfile
from typing import Any
from typing import ClassVar

from rbdcloner import errors
from rbdcloner.model import ImageSignature
from tests.bases import elsewhere
from tests.bases import key_manager
from tests.bases.test_bases import MIB
from tests.stack import manager
from tests.unit.images import keys

ROOT = pathlib.Path(__file__).parents[2]


class Manager(manager.Manager):
    """A manager that finds the key manager's class, and certificates."""

    certificates: ClassVar[pathlib.Path]

    def __init__(self, *given: Any, **options: Any) -> None:
        env = {
            'PYTHONPATH': str(ROOT),
            key_manager.VARIABLE: str(self.certificates),
        }
        super().__init__(*given, env=env, **options)


class SignaturesTest(elsewhere.ElsewhereTest):
    kind = Manager
    imports: ClassVar[dict[str, object]] = {'verify_signatures': True}

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        Manager.certificates = pathlib.Path(folder.name)
        super().setUpClass()

    @classmethod
    def more_options(cls) -> dict[str, dict[str, object]]:
        return {'key_manager': {'backend': key_manager.BACKEND}}

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(keys.CERTIFICATES.clear)

    def signed(self, data: bytes) -> ImageSignature:
        """Return a signature of *data* whose certificate the manager has."""
        made: ImageSignature = keys.signed(data, 'RSA-PSS')
        certificate = Manager.certificates / made.certificate_uuid
        certificate.write_bytes(keys.CERTIFICATES[made.certificate_uuid])
        return made

    def sign(self, image_id: str, signature: ImageSignature) -> None:
        """Give an image its signature, later: Glance would verify it."""
        self.glance.client().images.update(
            image_id,
            img_signature=signature.value,
            img_signature_hash_method=signature.hash_method,
            img_signature_key_type=signature.key_type,
            img_signature_certificate_uuid=signature.certificate_uuid,
        )

    def assert_refused(self, image_id: str, reason: str) -> None:
        refused = self.assertRaises(
            errors.ImportRefused, self.create, image_id
        )
        self.assertIn(
            f'SignatureInvalid: The signature of image {image_id}',
            str(refused),
        )
        self.assertIn(reason, str(refused))
        self.assert_becomes(self.before, self.in_ceph)

    def test_image_with_a_good_signature_is_imported(self) -> None:
        raw = elsewhere.sparse(5 * MIB, 0)
        packed = self.converted('qcow2').read_bytes()
        for data, disk_format, found in (
            (raw, 'raw', raw),
            (packed, 'qcow2', self.data),
        ):
            image_id = self.far(data, disk_format)
            self.sign(image_id, self.signed(data))
            self.assert_is_of(found, self.create(image_id))

    def test_image_without_a_good_signature_is_refused(self) -> None:
        data = elsewhere.sparse(5 * MIB, 0)
        image_id = self.far(data)
        self.assert_refused(image_id, 'it has none')
        image_id = self.far(data)
        self.sign(image_id, self.signed(os.urandom(MIB)))
        self.assert_refused(image_id, 'it is of other data')

# SPDX-License-Identifier: Apache-2.0
"""Keys that sign images, and a key manager that castellan loads by name.

Barbican itself would be a service with a database and Keystone, for one GET
that castellan makes: what is ours is the same with every key manager.
"""

import base64
import datetime

from castellan.common import exception
from castellan.common.objects import x_509
from castellan.key_manager import key_manager
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from rbdcloner.model import ImageSignature

BACKEND = f'{__name__}.KeyManager'

#: What the key manager knows: certificates as DER, or what it raises.
CERTIFICATES = {}
#: The credentials that it was asked with.
shown = []


class KeyManager(key_manager.KeyManager):
    """Gives certificates, and keeps what it was shown for them."""

    def __init__(self, configuration):
        super().__init__(configuration)

    def get(self, context, managed_object_id, metadata_only=False):
        shown.append(context)
        try:
            found = CERTIFICATES[managed_object_id]
        except KeyError:
            raise exception.ManagedObjectNotFoundError(
                uuid=managed_object_id
            ) from None
        if isinstance(found, Exception):
            raise found
        return x_509.X509(found)

    def _unused(self, *arguments, **options):
        raise NotImplementedError

    create_key = create_key_pair = store = delete = _unused
    add_consumer = remove_consumer = list = _unused


def _rsa(data, hash_method):
    key = rsa.generate_private_key(65537, 2048)
    pss = padding.PSS(padding.MGF1(hash_method), padding.PSS.MAX_LENGTH)
    return key, key.sign(data, pss, hash_method)


def _dsa(data, hash_method):
    key = dsa.generate_private_key(2048)
    return key, key.sign(data, hash_method)


def _ecc(data, hash_method):
    key = ec.generate_private_key(ec.SECP384R1())
    return key, key.sign(data, ec.ECDSA(hash_method))


SIGNERS = {'RSA-PSS': _rsa, 'DSA': _dsa, 'ECC_SECP384R1': _ecc}


def signed(data, key_type, hash_method=None):
    """Sign *data*; return the signature, its certificate known."""
    hash_method = hash_method or hashes.SHA256()
    key, signature = SIGNERS[key_type](data, hash_method)
    uuid = f'certificate-{len(CERTIFICATES)}'
    CERTIFICATES[uuid] = _certificate(key)
    name = hash_method.name.upper().replace('SHA', 'SHA-')
    value = base64.b64encode(signature).decode()
    return ImageSignature(value, name, key_type, uuid)


def _certificate(key):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'signer')])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now,
        not_valid_after=now + datetime.timedelta(days=1),
    )
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)

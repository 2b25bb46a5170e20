# SPDX-License-Identifier: Apache-2.0
"""Data that is not what Glance has is noticed at its end."""

import dataclasses
import hashlib
import os

from castellan.common import exception as key_errors
from cryptography.hazmat.primitives import hashes
from keystoneauth1 import exceptions as keystone_errors
from oslo_config import cfg
from oslo_config import fixture
import pytest

from rbdcloner import errors
from rbdcloner.images import verification
from tests.unit.images import keys
from tests.unit.images import specimens

DATA = os.urandom(100_000)
PIECES = [DATA[begin : begin + 7_000] for begin in range(0, 100_000, 7_000)]
IMAGE = specimens.of('raw', len(DATA))


@pytest.fixture
def conf():
    """The global options, as cursive knows no others."""
    with fixture.Config(cfg.CONF) as changed:
        cfg.CONF([], default_config_files=[], default_config_dirs=[])
        verification.register(cfg.CONF)
        from castellan import key_manager

        cfg.CONF.register_opts(key_manager.key_manager_opts, 'key_manager')
        changed.config(backend=keys.BACKEND, group='key_manager')
        yield changed
    keys.CERTIFICATES.clear()
    keys.shown.clear()


def passed(image, pieces=PIECES, verifier=None):
    return b''.join(verification.verified(image, pieces, verifier))


def hashed(algorithm):
    digest = hashlib.new(algorithm, DATA).hexdigest()
    return dataclasses.replace(IMAGE, checksum=f'{algorithm}:{digest}')


@pytest.mark.parametrize('algorithm', ['sha512', 'md5', 'sha3_256'])
def test_the_data_of_an_image_passes(algorithm):
    assert passed(hashed(algorithm)) == DATA
    assert passed(IMAGE) == DATA
    assert passed(dataclasses.replace(IMAGE, size_bytes=0), []) == b''


@pytest.mark.parametrize('algorithm', ['sha512', 'md5'])
def test_data_of_another_hash_is_passed_and_then_refused(algorithm):
    got = []
    pieces = [*PIECES[:-1], bytes(len(PIECES[-1]))]
    with pytest.raises(errors.ChecksumDiffers) as caught:
        got.extend(verification.verified(hashed(algorithm), pieces))
    assert got == pieces
    assert caught.value.kwargs['algorithm'] == algorithm


@pytest.mark.parametrize('kept', [0, 1, len(PIECES) - 1])
def test_data_that_ends_early_is_truncated(kept):
    with pytest.raises(errors.DataTruncated) as caught:
        passed(hashed('sha512'), PIECES[:kept])
    assert caught.value.kwargs['received_bytes'] == 7_000 * kept


def test_data_that_breaks_off_is_truncated():
    def broken(pieces):
        yield from pieces
        raise errors.GlanceUnavailable(reason='the connection broke')

    with pytest.raises(errors.DataTruncated) as caught:
        passed(hashed('sha512'), broken(PIECES[:3]))
    assert caught.value.kwargs['received_bytes'] == 21_000
    with pytest.raises(errors.GlanceUnavailable):
        passed(hashed('sha512'), broken([]))


def test_data_that_does_not_end_is_read_no_further():
    sent = []

    def endless():
        while True:
            sent.append(1)
            yield bytes(7_000)

    with pytest.raises(errors.DataTruncated):
        passed(IMAGE, endless())
    assert len(sent) == len(PIECES)


@pytest.mark.parametrize('key_type', keys.SIGNERS)
@pytest.mark.parametrize('hash_method', [hashes.SHA256(), hashes.SHA512()])
def test_what_was_signed_passes_and_nothing_else(conf, key_type, hash_method):
    signature = keys.signed(DATA, key_type, hash_method)
    image = dataclasses.replace(IMAGE, signature=signature)
    verifier = verification.verifier_of(image, None)
    assert passed(image, PIECES, verifier) == DATA
    verifier = verification.verifier_of(image, None)
    with pytest.raises(errors.SignatureInvalid, match='other data'):
        passed(image, [bytes(len(DATA))], verifier)


def test_another_certificate_is_not_the_signers(conf):
    signature = keys.signed(DATA, 'RSA-PSS')
    other = keys.signed(DATA, 'RSA-PSS').certificate_uuid
    forged = dataclasses.replace(signature, certificate_uuid=other)
    image = dataclasses.replace(IMAGE, signature=forged)
    with pytest.raises(errors.SignatureInvalid, match='other data'):
        passed(image, PIECES, verification.verifier_of(image, None))


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'value': 'not base64'}, 'base64'),
        ({'value': 'é' * 9}, 'base64|read'),
        ({'hash_method': 'MD5'}, 'hash method'),
        ({'hash_method': 'x' * 9000}, 'hash method'),
        ({'key_type': 'HMAC'}, 'key type'),
        ({'key_type': 'DSA'}, 'key type'),
        ({'certificate_uuid': 'unknown'}, 'not found'),
    ],
)
def test_a_signature_that_makes_no_sense_is_invalid(conf, changes, reason):
    signature = keys.signed(DATA, 'RSA-PSS')
    wrong = dataclasses.replace(signature, **changes)
    image = dataclasses.replace(IMAGE, signature=wrong)
    with pytest.raises(errors.SignatureInvalid, match=reason) as caught:
        verification.verifier_of(image, None)
    assert len(str(caught.value)) < 400


def test_what_is_not_signed_is_invalid():
    with pytest.raises(errors.SignatureInvalid, match='none'):
        verification.verifier_of(IMAGE, None)


def test_a_certificate_that_is_none_is_invalid(conf):
    signature = keys.signed(DATA, 'RSA-PSS')
    keys.CERTIFICATES[signature.certificate_uuid] = b'junk'
    image = dataclasses.replace(IMAGE, signature=signature)
    with pytest.raises(errors.SignatureInvalid, match='cannot be read'):
        verification.verifier_of(image, None)


@pytest.mark.parametrize(
    'failure',
    [
        key_errors.KeyManagerError(reason='SECRET'),
        key_errors.Forbidden(),
        keystone_errors.ConnectFailure('SECRET'),
        ConnectionRefusedError('SECRET'),
    ],
)
def test_a_key_manager_that_fails_proves_nothing(conf, failure):
    signature = keys.signed(DATA, 'RSA-PSS')
    keys.CERTIFICATES[signature.certificate_uuid] = failure
    image = dataclasses.replace(IMAGE, signature=signature)
    with pytest.raises(errors.KeyManagerUnavailable) as caught:
        verification.verifier_of(image, None)
    assert caught.value.retryable
    assert 'SECRET' not in str(caught.value)


def test_the_service_identifies_itself_as_configured(conf):
    conf.config(
        group='key_manager',
        auth_type='keystone_password',
        username='rbdcloner',
        password='x',
    )
    credentials = verification.credentials(cfg.CONF)
    assert credentials.username == 'rbdcloner'
    signature = keys.signed(DATA, 'RSA-PSS')
    image = dataclasses.replace(IMAGE, signature=signature)
    verification.verifier_of(image, credentials)
    assert keys.shown == [credentials]


def test_credentials_that_make_no_sense_are_refused_with_a_remedy(conf):
    conf.config(auth_type='token', group='key_manager')
    with pytest.raises(errors.ConfigurationError, match='key_manager'):
        verification.credentials(cfg.CONF)

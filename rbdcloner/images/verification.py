# SPDX-License-Identifier: Apache-2.0
"""Whether an image's data is what Glance has: its length, hash and signature.

Signatures are checked as Nova and Cinder do it, by cursive: who signed is who
has the key of the certificate that the image's properties name in the key
manager. Whom that may be is for those who may write there; a chain of trust
is not checked.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import hashlib
from typing import Any
from typing import Protocol

from castellan.common import exception as key_errors
from castellan.common import utils as key_options
from cryptography import exceptions as crypto_errors
from keystoneauth1 import exceptions as keystone_errors
from oslo_config import cfg

from rbdcloner import errors
from rbdcloner.model import GlanceImage

# Glance's properties are of any length, and cursive quotes them.
_REASON_CHARACTERS = 200


class Verifier(Protocol):
    """One signature, which the data is yet to be compared with."""

    def update(self, data: bytes) -> None:
        """Take more of the data."""

    def verify(self) -> None:
        """Return if the signature is of the data."""


def register(conf: cfg.ConfigOpts) -> None:
    """Register the credentials of group [key_manager] on *conf*.

    A key manager's own options are registered by castellan with its driver:
    that takes a tenth of a second and a MiB, and most processes need none.
    """
    conf.register_opts(key_options.credential_opts, key_options.OPT_GROUP)


def verified(
    image: GlanceImage,
    pieces: Iterable[bytes],
    verifier: Verifier | None = None,
) -> Iterator[bytes]:
    """Pass *pieces* on, and raise after the last if they are not the image.

    Whoever does not read to the end is told nothing. What Glance has no
    checksum of is only counted.

    :raises DataTruncated: it is shorter than Glance says, or broke off; or it
        is longer, as soon as it is.
    :raises ChecksumDiffers: it hashes to something else.
    :raises SignatureInvalid: it is not what was signed.
    """
    algorithm, _, digest = image.checksum.partition(':')
    hashed = hashlib.new(algorithm or 'sha512', usedforsecurity=False)
    received_bytes = 0
    for piece in _until_broken(pieces):
        received_bytes += len(piece)
        if received_bytes > image.size_bytes:
            break
        hashed.update(piece)
        if verifier:
            verifier.update(piece)
        yield piece
    if received_bytes != image.size_bytes:
        raise errors.DataTruncated(
            received_bytes=received_bytes,
            size_bytes=image.size_bytes,
            image_id=image.id,
        )
    if digest and hashed.hexdigest() != digest:
        raise errors.ChecksumDiffers(image_id=image.id, algorithm=algorithm)
    if verifier:
        _verify(image, verifier)


def verifier_of(image: GlanceImage, credentials: Any) -> Verifier:
    """Return what compares data with *image*'s signature.

    Asks the key manager of group [key_manager] of oslo.config's global
    options (castellan's, and cursive knows no others) for the certificate.

    :raises SignatureInvalid: there is none, or none that can be checked.
    :raises KeyManagerUnavailable: the key manager did not answer, or does
        not accept the credentials.
    """
    if image.signature is None:
        raise _invalid(image, 'it has none')
    # A seventh of a second, which only who verifies signatures has to wait.
    from cursive import exception as cursive_errors
    from cursive import signature_utils

    try:
        made: Verifier = signature_utils.get_verifier(
            credentials,
            image.signature.certificate_uuid,
            image.signature.hash_method,
            image.signature.value,
            image.signature.key_type,
        )
    except cursive_errors.SignatureVerificationError as exc:
        if isinstance(exc.__context__, key_errors.KeyManagerError):
            raise _unavailable(image, exc.__context__) from exc
        raise _invalid(image, str(exc.kwargs.get('reason', ''))) from exc
    except (
        key_errors.CastellanException,
        keystone_errors.ClientException,
        OSError,
    ) as exc:
        raise _unavailable(image, exc) from exc
    except (crypto_errors.UnsupportedAlgorithm, ValueError) as exc:
        raise _invalid(image, 'its certificate cannot be read') from exc
    return made


def credentials(conf: cfg.ConfigOpts) -> Any:
    """Return what group [key_manager] has the service identify itself by.

    ``None`` without ``auth_type``: some key managers ask for nothing.

    :raises ConfigurationError: the group is not complete.
    """
    if not conf[key_options.OPT_GROUP].auth_type:
        return None
    try:
        return key_options.credential_factory(conf)
    except key_errors.CastellanException as exc:
        raise errors.ConfigurationError(
            problem=f'Group [{key_options.OPT_GROUP}] is not complete: {exc}',
            remedy='See etc/rbdcloner/rbdcloner.conf.sample',
        ) from exc


def _until_broken(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pass *pieces* on, of which the first, at least, must come.

    Where a store has half of an image, Glance sends that and breaks off.
    """
    has_begun = False
    try:
        for piece in pieces:
            has_begun = True
            yield piece
    except errors.GlanceUnavailable:
        if not has_begun:
            raise


def _verify(image: GlanceImage, verifier: Verifier) -> None:
    try:
        verifier.verify()
    except crypto_errors.InvalidSignature as exc:
        raise _invalid(image, 'it is of other data') from exc


def _invalid(image: GlanceImage, reason: str) -> errors.SignatureInvalid:
    return errors.SignatureInvalid(
        image_id=image.id, reason=reason[:_REASON_CHARACTERS]
    )


def _unavailable(
    image: GlanceImage, exc: Exception
) -> errors.KeyManagerUnavailable:
    """Its words are left behind: they may be of any key manager's making."""
    return errors.KeyManagerUnavailable(
        image_id=image.id, reason=type(exc).__name__
    )

# SPDX-License-Identifier: Apache-2.0
"""From Glance's JSON to the model, trusting nothing.

Each function raises ``ValueError`` for what Glance's API does not describe.
"""

import hashlib
import re
from typing import Any

from rbdcloner.model import GlanceImage
from rbdcloner.model import GlanceLocation
from rbdcloner.model import ImageSignature

# On every host, so that all give the same image the same checksum. Those of
# any length (shake) have none that could be compared.
_ALGORITHMS = frozenset(
    name
    for name in hashlib.algorithms_guaranteed
    if hashlib.new(name, usedforsecurity=False).digest_size
)
_HEX = re.compile('[0-9a-fA-F]+')


def image(body: Any, image_id: str) -> GlanceImage:
    """Return the image *image_id* of ``GET /v2/images/{id}``, memberless.

    Its locations are ``locations``, else the one of ``direct_url``. Sizes
    and formats that are not known yet are zero and empty.
    """
    if _field(body, 'id', str) != image_id:
        raise ValueError('another image than was asked for')
    listed = locations(_field(body, 'locations', list, []))
    direct = _field(body, 'direct_url', str, '')
    if direct and not listed:
        listed = (GlanceLocation(direct),)
    size_bytes = _field(body, 'size', int, 0)
    if size_bytes < 0:
        raise ValueError('a negative size')
    return GlanceImage(
        id=image_id,
        status=_field(body, 'status', str),
        disk_format=_field(body, 'disk_format', str, ''),
        size_bytes=size_bytes,
        hidden=_field(body, 'os_hidden', bool, False),
        visibility=_field(body, 'visibility', str),
        owner=_field(body, 'owner', str, ''),
        members=frozenset(),
        locations=listed,
        container_format=_field(body, 'container_format', str, ''),
        checksum=_checksum(body),
        stores=_names(body, 'stores'),
        copying_to=_names(body, 'os_glance_importing_to_stores'),
        not_copied_to=_names(body, 'os_glance_failed_import'),
        signature=_signature(body),
    )


def locations(body: Any) -> tuple[GlanceLocation, ...]:
    """Return the locations in Glance's order.

    Of their metadata, which stores fill as they like, only strings.
    """
    if not isinstance(body, list):
        raise ValueError('locations are not a list')
    return tuple(
        GlanceLocation(
            _field(location, 'url', str),
            {
                key: value
                for key, value in _field(
                    location, 'metadata', dict, {}
                ).items()
                if isinstance(value, str)
            },
        )
        for location in body
    )


def members(body: Any) -> frozenset[str]:
    """Return the project ids of ``GET /v2/images/{id}/members``."""
    return frozenset(
        _field(member, 'member_id', str)
        for member in _field(body, 'members', list)
    )


def ids(body: Any) -> list[str]:
    """Return the ids of what ``GET /v2/images`` lists."""
    return [_field(image, 'id', str) for image in _field(body, 'images', list)]


def owners(body: Any) -> frozenset[str]:
    """Return the project ids that own what ``GET /v2/images`` lists."""
    return frozenset(
        _field(image, 'owner', str, '')
        for image in _field(body, 'images', list)
    ) - {''}


def _checksum(body: Any) -> str:
    """Return the best that Glance has and every host can compute."""
    algorithm = _field(body, 'os_hash_algo', str, '')
    digests = {
        'md5': _field(body, 'checksum', str, ''),
        algorithm: _field(body, 'os_hash_value', str, ''),
    }
    for name in (algorithm, 'md5'):
        if digests[name] and name in _ALGORITHMS:
            if not _HEX.fullmatch(digests[name]):
                raise ValueError('a checksum is not hexadecimal')
            return f'{name}:{digests[name].lower()}'
    return ''


def _signature(body: Any) -> ImageSignature | None:
    fields = {
        'value': _field(body, 'img_signature', str, ''),
        'hash_method': _field(body, 'img_signature_hash_method', str, ''),
        'key_type': _field(body, 'img_signature_key_type', str, ''),
        'certificate_uuid': _field(
            body, 'img_signature_certificate_uuid', str, ''
        ),
    }
    return ImageSignature(**fields) if all(fields.values()) else None


def _names(body: Any, name: str) -> frozenset[str]:
    """Return the parts of a text that commas separate."""
    parts = _field(body, name, str, '').split(',')
    return frozenset(part for part in parts if part)


def _field(body: Any, name: str, kind: type, missing: Any = None) -> Any:
    """Return a field of exactly *kind*; *missing* where absent or null."""
    if not isinstance(body, dict):
        raise ValueError('not an object')
    value = body.get(name)
    if value is None:
        value = missing
    # bool is an int to isinstance().
    if type(value) is not kind:
        raise ValueError(f'{name} is not {kind.__name__}')
    return value

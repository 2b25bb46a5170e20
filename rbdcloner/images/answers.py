# SPDX-License-Identifier: Apache-2.0
"""From Glance's JSON to the model, trusting nothing.

Each function raises ``ValueError`` for what Glance's API does not describe.
"""

from typing import Any

from rbdcloner.model import GlanceImage
from rbdcloner.model import GlanceLocation


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

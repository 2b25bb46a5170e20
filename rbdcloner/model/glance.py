# SPDX-License-Identifier: Apache-2.0
"""What Glance says of an image."""

from collections.abc import Mapping
import dataclasses

#: What Glance calls the snapshot of an image (glance_store, _drivers/rbd.py).
GLANCE_NAME = 'snap'


@dataclasses.dataclass(frozen=True, slots=True)
class GlanceLocation:
    """Where Glance says that an image's data lies."""

    url: str
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class ImageSignature:
    """Who signed an image's data, and how: Glance's four properties of it."""

    value: str
    hash_method: str
    key_type: str
    certificate_uuid: str


@dataclasses.dataclass(frozen=True, slots=True)
class GlanceImage:
    """What Glance says of an image; ``members`` are project ids.

    ``checksum`` is of its data, as ``sha512:<hex>`` or ``md5:<hex>``, empty
    where Glance has none. Stores are Glance's own names: those that have the
    data, those that it is being copied to, and those that this failed for.
    ``signature`` is ``None`` unless all of it is there.
    """

    id: str
    status: str
    disk_format: str
    size_bytes: int
    hidden: bool
    visibility: str
    owner: str
    members: frozenset[str]
    locations: tuple[GlanceLocation, ...]
    container_format: str = 'bare'
    checksum: str = ''
    stores: frozenset[str] = frozenset()
    copying_to: frozenset[str] = frozenset()
    not_copied_to: frozenset[str] = frozenset()
    signature: ImageSignature | None = None

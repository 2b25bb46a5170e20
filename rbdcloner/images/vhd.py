# SPDX-License-Identifier: Apache-2.0
"""A VHD of either kind: which size its footer means, and where that stands.

oslo.utils' inspector knows the kind that grows, and takes the size that the
disk was created with; what counts is the size that it has now.
"""

import dataclasses
import struct
from typing import BinaryIO
from typing import Self

from oslo_utils.imageutils import format_inspector

#: Of a footer, and of its copy at the beginning of a disk that grows.
FOOTER_BYTES = 512

_MAGIC = b'conectix'
# The maker, the size, cylinders, heads and sectors, and the kind.
_FIELDS = struct.Struct('>8s20x4s16xQHBBI')
#: The kinds of the disk: all there, as far as it is used, or on a parent.
FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4

# Those who mean the geometry, as qemu-img has it since its release 10.0
# (block/vpc.c); older ones know a few of those who do not.
_MEAN_GEOMETRY = frozenset({b'vpc ', b'qemu'})
# A geometry cannot say more, so that it says nothing of a larger disk.
_LARGEST_GEOMETRY_SECTORS = 65535 * 16 * 255


@dataclasses.dataclass(frozen=True, slots=True)
class Footer:
    """What a VHD's footer says: ``kind`` is 2 (fixed), 3 (grows) or others."""

    creator: bytes
    current_bytes: int
    geometry_sectors: int
    kind: int

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        """Return the footer that *data* begins with, if it is one."""
        if len(data) < FOOTER_BYTES or not data.startswith(_MAGIC):
            return None
        _, creator, current_bytes, *geometry, kind = _FIELDS.unpack_from(data)
        cylinders, heads, sectors = geometry
        return cls(creator, current_bytes, cylinders * heads * sectors, kind)

    @property
    def means_geometry(self) -> bool:
        """Tell whether the disk has the geometry's size, not the current."""
        return (
            self.creator in _MEAN_GEOMETRY
            and self.geometry_sectors != _LARGEST_GEOMETRY_SECTORS
        )

    @property
    def size_bytes(self) -> int:
        """Return the size of the disk, as its maker means it."""
        if self.means_geometry:
            return self.geometry_sectors * 512
        return self.current_bytes


def footer(opened: BinaryIO) -> Footer | None:
    """Return the footer that counts: at the beginning, else at the end."""
    opened.seek(0)
    found = Footer.parse(opened.read(FOOTER_BYTES))
    if found is not None:
        return found
    size_bytes = opened.seek(0, 2)
    opened.seek(max(0, size_bytes - FOOTER_BYTES))
    return Footer.parse(opened.read(FOOTER_BYTES))


class VHDInspector(format_inspector.VHDInspector):
    """Also knows the fixed kind: the data as it is, and then a footer.

    So it knows that only when all has passed.
    """

    def _initialize(self) -> None:
        super()._initialize()
        self.new_region(
            'footer', format_inspector.EndCaptureRegion(FOOTER_BYTES)
        )

    @property
    def format_match(self) -> bool:
        return self._grows() or self._fixed_bytes() > 0

    @property
    def virtual_size(self) -> int:
        header = Footer.parse(bytes(self.region('header').data))
        return header.size_bytes if header else self._fixed_bytes()

    @property
    def complete(self) -> bool:
        header = self.region('header').complete
        return header and (self._grows() or self.region('footer').complete)

    def _grows(self) -> bool:
        return bool(super().format_match)

    def _fixed_bytes(self) -> int:
        """Return how much disk precedes the footer; 0 if there is none."""
        region = self.region('footer')
        found = Footer.parse(bytes(region.data)) if region.complete else None
        if found is None or found.kind != FIXED or not found.current_bytes:
            return 0
        needed_bytes = max(found.size_bytes, found.current_bytes)
        is_there = needed_bytes <= self._total_count - FOOTER_BYTES
        return found.size_bytes if is_there else 0

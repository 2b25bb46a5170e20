# SPDX-License-Identifier: Apache-2.0
"""A vhd of either kind; oslo.utils' inspector knows the one that grows."""

import struct

from oslo_utils.imageutils import format_inspector

_FOOTER_BYTES = 512
# Eight letters, the size of the disk, and which kind it is of.
_FOOTER = struct.Struct('>8s40xQ4xI')
_FIXED = 2


class VHDInspector(format_inspector.VHDInspector):
    """Also knows the fixed kind: the data as it is, and then a footer.

    So it knows that only when all has passed.
    """

    def _initialize(self) -> None:
        super()._initialize()
        self.new_region(
            'footer', format_inspector.EndCaptureRegion(_FOOTER_BYTES)
        )

    @property
    def format_match(self) -> bool:
        return self._grows() or self._fixed_bytes() > 0

    @property
    def virtual_size(self) -> int:
        return super().virtual_size if self._grows() else self._fixed_bytes()

    @property
    def complete(self) -> bool:
        header = self.region('header').complete
        return header and (self._grows() or self.region('footer').complete)

    def _grows(self) -> bool:
        return bool(super().format_match)

    def _fixed_bytes(self) -> int:
        """Return how much disk precedes the footer; 0 if there is none."""
        footer = self.region('footer')
        if not footer.complete:
            return 0
        letters, size_bytes, kind = _FOOTER.unpack_from(footer.data)
        if (letters, kind) != (b'conectix', _FIXED):
            return 0
        is_there = size_bytes <= self._total_count - _FOOTER_BYTES
        return int(size_bytes) if is_there else 0

# SPDX-License-Identifier: Apache-2.0
"""Which format an image's bytes are in, and whether they may be opened.

oslo.utils' inspectors, and :mod:`rbdcloner.images.vhd`, look at the bytes
while they stream by, before qemu-img or anybody else opens them; nothing is
parsed here. What they check:

====== ==================================================================
qcow2  no backing file, no external data file, no unknown feature
vmdk   monolithicSparse or streamOptimized, no extent with a slash in its
       name, and of a footer that it is the header's; not whether it has
       a parent, so its text is searched for one here
luks   nothing without its key: not supported
qed    always refused
gpt    whether its partition table is sane, which is nothing to a service
       that reads none: not asked
others nothing: vhd, vhdx, vdi, iso and raw name no other file that qemu
       would open
====== ==================================================================

Left to :func:`rbdcloner.images.conversion.inspect`, which has qemu-img look:
which extents of a vmdk qemu would open (it takes the first ``createType``, the
inspector the first in any case), and whether it finds the same size.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import io
import struct

from oslo_utils.imageutils import format_inspector

from rbdcloner import errors
from rbdcloner.images import features
from rbdcloner.images import vhd
from rbdcloner.model import GlanceImage

#: What Glance calls the formats that are imported: as they are …
STREAMED = frozenset({'raw'})
#: … and by way of qemu-img.
CONVERTED = frozenset({'qcow2', 'vmdk', 'vdi', 'vhd', 'vhdx', 'iso'})

# Whoever looks at raw bytes may find a partition table, and in an ISO that
# boots from a USB stick as well, and where a vhd has its data as it is.
_MAY_ALSO_BE = {'raw': {'raw', 'gpt'}, 'iso': {'gpt'}, 'vhd': {'gpt'}}

# What a vhd of fixed size looks like until its end.
_MAY_BECOME_VHD = frozenset({'raw', 'gpt'})

# Their sizes are those of the data; what else is in them is not looked at.
_PLAIN = frozenset({'raw', 'iso'})

# A vmdk without a size is a text, and the others' sizes are elsewhere.
_SIZE_IN_HEADER = frozenset({'qcow2', 'vdi', 'vhd'})

_PACKED = {
    **{b'BZh%d1AY&SY' % level: 'bzip2' for level in range(1, 10)},
    b'\x1f\x8b\x08': 'gzip',
    b'\xfd7zXZ\x00': 'xz',
    b'\x28\xb5\x2f\xfd': 'zstd',
    b'PK\x03\x04': 'zip',
}

# Every inspector knows by then whether the format is its own (ISO 9660 is the
# last, at 34 KiB), and that of qcow2 whether it is safe.
_HEAD_BYTES = 1 << 16

# As oslo.utils itself presents files: some inspectors find in one piece what
# another one tells them to look for.
_PIECE_BYTES = 1 << 12
# All that they look at, but for what stands at the very end.
_LOOKED_AT_BYTES = 8 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Disk:
    """What an image's data is: Glance's name of a format, and its size.

    The size is that of the disk, as the header of the format says.
    """

    format: str
    size_bytes: int


def accept(image: GlanceImage) -> None:
    """Return if what Glance says of *image* allows to import it.

    :raises FormatUnsupported: its format is none that is imported.
    :raises ContainerUnsupported: its data is inside something else.
    :raises ImageEmpty: it has none.
    """
    if image.disk_format not in STREAMED | CONVERTED:
        raise errors.FormatUnsupported(
            image_id=image.id, format=image.disk_format or 'unknown'
        )
    if image.container_format != 'bare':
        raise errors.ContainerUnsupported(
            image_id=image.id, container=image.container_format or 'unknown'
        )
    if not image.size_bytes:
        raise errors.ImageEmpty(image_id=image.id)


class Inspection:
    """One look at the data of one image, while it passes.

    Nothing may be done with the data but keeping it before :meth:`disk`
    has returned.
    """

    def __init__(self, image: GlanceImage, limit_bytes: int) -> None:
        self._image = image
        self._limit_bytes = limit_bytes
        self._head = b''
        known = format_inspector.ALL_FORMATS | {'vhd': vhd.VHDInspector}
        self._inspectors = {name: kind() for name, kind in known.items()}
        self._failed: set[str] = set()
        self._passed_bytes = 0

    def watch(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Pass *pieces* on, each after it was looked at.

        What is not what it is said to be ends this early, most of it after
        the first 64 KiB.

        :raises ImageUnfit: as :meth:`disk`.
        """
        for piece in pieces:
            before = self._passed_bytes
            self._look_at(piece)
            if before < _HEAD_BYTES <= self._passed_bytes:
                self._check(whole=False)
            yield piece

    def disk(self) -> Disk:
        """Return what the data is, all of which has passed.

        :raises FormatDiffers: it is not what Glance says it is.
        :raises ContainerUnsupported: it is packed.
        :raises FeatureUnsupported: it is honest, and needs what is not there.
        :raises ImageUnsafe: a program that opens it may open something else,
            or its header makes no sense.
        :raises ImageTooLarge: the disk would be larger than the limit.
        """
        for inspector in self._inspectors.values():
            inspector.finish()
        self._check(whole=True)
        said = self._image.disk_format
        return Disk(said, self._size_bytes(said))

    def _look_at(self, piece: bytes) -> None:
        if len(self._head) < _HEAD_BYTES:
            self._head += piece[: _HEAD_BYTES - len(self._head)]
        view = memoryview(piece)
        while view:
            small = self._passed_bytes < _LOOKED_AT_BYTES
            part = view[: _PIECE_BYTES if small else None]
            self._eat(bytes(part))
            self._passed_bytes += len(part)
            view = view[len(part) :]

    def _eat(self, part: bytes) -> None:
        for name, inspector in self._inspectors.items():
            if name in self._failed:
                continue
            try:
                inspector.eat_chunk(part)
            except Exception:
                # Mostly "not mine"; if it is, it is not safe.
                self._failed.add(name)

    def _check(self, whole: bool) -> None:
        said, found = self._image.disk_format, self._found()
        packed = self._packed()
        if packed and 'iso' not in found:
            raise errors.ContainerUnsupported(
                image_id=self._image.id, container=packed
            )
        if 'luks' in found:
            raise self._unsupported('encryption')
        if said == 'vhd' and found <= _MAY_BECOME_VHD and not whole:
            return
        if said not in found or found - {said} - _MAY_ALSO_BE.get(said, set()):
            raise errors.FormatDiffers(
                image_id=self._image.id,
                said=said,
                found=' and '.join(sorted(found)),
            )
        if said not in _PLAIN and (whole or self._inspectors[said].complete):
            self._check_safety(said)
        self._check_size(said)

    def _found(self) -> set[str]:
        """Return which formats the data is in, raw if it is in none."""
        found = set()
        for name, inspector in self._inspectors.items():
            if name == 'raw':
                continue
            try:
                matches = inspector.format_match
            except AttributeError:
                # The vmdk inspector's, of text that is no vmdk.
                matches = False
            if matches:
                found.add(name)
        return found if found - {'gpt'} else found | {'raw'}

    def _packed(self) -> str:
        for magic, name in _PACKED.items():
            if self._head.startswith(magic):
                return name
        return ''

    def _check_safety(self, said: str) -> None:
        feature = features.unsupported(said, io.BytesIO(self._head))
        if feature:
            raise self._unsupported(feature)
        if said in self._failed:
            raise self._unsafe(f'its {said} header makes no sense')
        try:
            self._inspectors[said].safety_check()
        except format_inspector.SafetyCheckFailed as exc:
            raise self._unsafe(_told(exc)) from exc
        except format_inspector.ImageFormatError as exc:
            raise self._unsafe(f'its {said} header is not whole') from exc
        if said == 'vmdk' and _has_parent(self._inspectors[said]):
            raise self._unsafe('it has a parent')
        if not self._size_bytes(said) and said in _SIZE_IN_HEADER:
            raise errors.ImageEmpty(image_id=self._image.id)
        if not self._size_bytes(said):
            raise self._unsafe('it has no size')

    def _check_size(self, said: str) -> None:
        size_bytes = self._size_bytes(said)
        if size_bytes > self._limit_bytes:
            raise errors.ImageTooLarge(
                image_id=self._image.id,
                size_bytes=size_bytes,
                limit_bytes=self._limit_bytes,
            )

    def _size_bytes(self, said: str) -> int:
        if said in _PLAIN:
            return max(self._passed_bytes, self._image.size_bytes)
        try:
            return self._inspectors[said].virtual_size
        except (LookupError, struct.error) as exc:
            # The vmdk inspector's, of a descriptor alone; the vhdx one's.
            raise self._unsafe(f'its {said} header makes no sense') from exc

    def _unsupported(self, feature: str) -> errors.FeatureUnsupported:
        return errors.FeatureUnsupported(
            image_id=self._image.id, feature=feature
        )

    def _unsafe(self, reason: str) -> errors.ImageUnsafe:
        return errors.ImageUnsafe(image_id=self._image.id, reason=reason)


def _has_parent(inspector: format_inspector.FileInspector) -> bool:
    """Tell whether qemu would open a backing file: a field like any other."""
    text = getattr(inspector, 'desc_text', None) or ''
    return 'parentfilenamehint' in text


def _told(exc: format_inspector.SafetyCheckFailed) -> str:
    """Return the inspector's own words, which quote nothing of the data."""
    return ', '.join(str(failure) for failure in exc.failures.values())

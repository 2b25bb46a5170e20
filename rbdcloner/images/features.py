# SPDX-License-Identifier: Apache-2.0
"""Features of image formats that are not supported, by their names.

Headers are looked at, and nothing that they point at outside the image: what
this finds is honest data, which qemu-img or oslo.utils' inspectors refuse with
other words, or take for something else (a differencing VHD becomes a disk with
zeros in the place of its parent's data).
"""

from collections.abc import Callable
from collections.abc import Iterator
import struct
from typing import Any
from typing import BinaryIO
import uuid

from rbdcloner.images import vhd

_DIFFERENCING = 'a parent (it is a differencing image)'
_SECTOR_BYTES = 512
_MIB = 1 << 20

# docs/interop/qcow2.txt in QEMU's source: dirty, corrupt, external data file
# (which inspection refuses as unsafe) and compression type are known.
_QCOW2_KNOWN_BITS = 0b1111
_QCOW2_NAMES = {4: 'extended L2 entries'}

_VDI_MAGIC = 0xBEDA107F
_VDI_KINDS = frozenset({1, 2})
_VDI_DIFFERENCING = 4

# The longest descriptor that qemu looks at.
_DESCRIPTOR_BYTES = _MIB - 1

# [MS-VHDX], 2.2 to 2.6.
_VHDX_HEADERS = (0x10000, 0x20000)
_VHDX_REGIONS = 0x30000
_VHDX_METADATA = uuid.UUID('8b7ca206-4790-4b9a-b8fe-575f050f886e').bytes_le
_VHDX_FILE = uuid.UUID('caa16737-fa36-4d43-b3b6-33f0aa44e76b').bytes_le
_VHDX_SECTOR = uuid.UUID('8141bf1d-a96f-4709-ba47-f233a8faab5f').bytes_le
_VHDX_HAS_PARENT = 2
_VHDX_MOST_ENTRIES = 2047
_VHDX_LOG_BYTES = 4096
# The log is 1 MiB where Hyper-V or qemu-img made it.
_VHDX_LONGEST_LOG_BYTES = 64 * _MIB


def unsupported(disk_format: str, opened: BinaryIO) -> str:
    """Return the first feature that forbids an import; empty without one.

    Of the beginning of an image alone, those that can be seen there.
    """
    look = _LOOKS.get(disk_format)
    try:
        return next(look(opened), '') if look else ''
    except struct.error:
        # It ends early, or makes no sense: for others to say.
        return ''


def _qcow2(opened: BinaryIO) -> Iterator[str]:
    magic, version = _at(opened, 0, '>4sI')
    if magic != b'QFI\xfb':
        return
    if version not in (2, 3):
        yield f'qcow2 version {version}'
    if _at(opened, 32, '>I') != (0,):
        yield 'encryption'
    if version == 3:
        (bits,) = _at(opened, 72, '>Q')
        for bit in range(64):
            if bits & ~_QCOW2_KNOWN_BITS & 1 << bit:
                yield _QCOW2_NAMES.get(bit, f'qcow2 feature bit {bit}')


def _vhd(opened: BinaryIO) -> Iterator[str]:
    footer = vhd.footer(opened)
    if footer is None:
        return
    if footer.kind == vhd.DIFFERENCING:
        yield _DIFFERENCING
    if footer.kind not in (vhd.FIXED, vhd.DYNAMIC):
        yield f'VHD type {footer.kind}'
    if footer.size_bytes % _SECTOR_BYTES:
        yield f'a size of {footer.size_bytes} bytes, no multiple of 512'


def _vdi(opened: BinaryIO) -> Iterator[str]:
    magic, version, kind, block_bytes = (
        _at(opened, offset, '<I')[0] for offset in (64, 68, 76, 376)
    )
    if magic != _VDI_MAGIC:
        return
    if version != 1 << 16 | 1:
        yield f'VDI version {version >> 16}.{version & 0xFFFF}'
    if kind == _VDI_DIFFERENCING:
        yield _DIFFERENCING
    if kind not in _VDI_KINDS:
        yield f'VDI type {kind}'
    if block_bytes != _MIB:
        yield f'VDI blocks of {block_bytes} bytes'


def _vmdk(opened: BinaryIO) -> Iterator[str]:
    magic, sector, sectors = _at(opened, 0, '<4s24xQQ')
    if magic != b'KDMV':
        return
    size_bytes = min(sectors * _SECTOR_BYTES, _DESCRIPTOR_BYTES)
    text = _read(opened, sector * _SECTOR_BYTES, size_bytes)
    if not text.partition(b'\0')[0].isascii():
        yield 'a descriptor that is not ASCII text'


def _vhdx(opened: BinaryIO) -> Iterator[str]:
    if _has_log(opened):
        yield 'a log to replay (it was not closed)'
    items = dict(_vhdx_items(opened))
    if _VHDX_FILE in items:
        _block_bytes, flags = _at(opened, items[_VHDX_FILE], '<II')
        if flags & _VHDX_HAS_PARENT:
            yield _DIFFERENCING
    if _VHDX_SECTOR in items:
        (sector_bytes,) = _at(opened, items[_VHDX_SECTOR], '<I')
        if sector_bytes != _SECTOR_BYTES:
            yield f'logical sectors of {sector_bytes} bytes'


def _has_log(opened: BinaryIO) -> bool:
    """Tell whether the newer header's log has an entry of its own."""
    headers = [
        _at(opened, offset, '<4s4xQ32x16s4xIQ') for offset in _VHDX_HEADERS
    ]
    valid = [header for header in headers if header[0] == b'head']
    if not valid:
        return False
    _, _, log, log_bytes, begin = max(valid, key=lambda header: header[1])
    if not any(log):
        return False
    end = begin + min(log_bytes, _VHDX_LONGEST_LOG_BYTES)
    for offset in range(begin, end, _VHDX_LOG_BYTES):
        entry = _read(opened, offset, 48)
        if entry.startswith(b'loge') and entry[32:48] == log:
            return True
    return False


def _vhdx_items(opened: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield what the metadata has, and where that is in the file."""
    (regions,) = _at(opened, _VHDX_REGIONS + 8, '<I')
    for number in range(min(regions, _VHDX_MOST_ENTRIES)):
        entry = _VHDX_REGIONS + 16 + 32 * number
        name, begin = _at(opened, entry, '<16sQ')
        if name != _VHDX_METADATA:
            continue
        (items,) = _at(opened, begin + 10, '<H')
        for item in range(min(items, _VHDX_MOST_ENTRIES)):
            name, offset = _at(opened, begin + 32 + 32 * item, '<16sI')
            yield name, begin + offset


def _at(opened: BinaryIO, offset: int, fields: str) -> tuple[Any, ...]:
    """Return the fields at an offset.

    :raises struct.error: they are not all there.
    """
    return struct.unpack(
        fields, _read(opened, offset, struct.calcsize(fields))
    )


def _read(opened: BinaryIO, offset: int, size_bytes: int) -> bytes:
    try:
        opened.seek(offset)
    except (OSError, OverflowError, ValueError):
        return b''
    return opened.read(size_bytes)


_LOOKS: dict[str, Callable[[BinaryIO], Iterator[str]]] = {
    'qcow2': _qcow2,
    'vdi': _vdi,
    'vhd': _vhd,
    'vhdx': _vhdx,
    'vmdk': _vmdk,
}

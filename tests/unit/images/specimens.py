# SPDX-License-Identifier: Apache-2.0
"""Image files, made by qemu-img and others: honest ones, and traps."""

import bz2
import contextlib
import gzip
import lzma
import os
import pathlib
import random
import struct
import subprocess
import uuid
import zipfile

from rbdcloner import model

IMAGE_ID = '250ccb46-7d46-47f7-a2d9-9130db92e2c0'
MIB = 1 << 20

# CHS-aligned, so that every maker of a vhd means the same size.
SIZE_BYTES = 4_456_448

# Glance's name, qemu-img's format and options.
FORMATS = {
    'qcow2': ('qcow2', ''),
    'qcow2-compressed': ('qcow2', '-c'),
    'qcow2-zstd': ('qcow2', '-c -o compression_type=zstd'),
    'qcow2-old': ('qcow2', '-o compat=0.10'),
    'vmdk': ('vmdk', ''),
    'vmdk-stream': ('vmdk', '-o subformat=streamOptimized'),
    'vdi': ('vdi', ''),
    'vdi-static': ('vdi', '-o static=on'),
    'vhd': ('vpc', ''),
    'vhd-forced': ('vpc', '-o force_size=on'),
    'vhd-fixed': ('vpc', '-o subformat=fixed'),
    'vhd-fixed-forced': ('vpc', '-o subformat=fixed,force_size=on'),
    'vhdx': ('vhdx', ''),
    'vhdx-fixed': ('vhdx', '-o subformat=fixed'),
}


def of(disk_format, size_bytes=0, **facts):
    """Return what Glance would say of an image."""
    known = {
        'status': 'active',
        'hidden': False,
        'visibility': 'public',
        'owner': '',
        'members': frozenset(),
        'locations': (),
        **facts,
    }
    return model.GlanceImage(
        id=IMAGE_ID, disk_format=disk_format, size_bytes=size_bytes, **known
    )


def said(name):
    """Return Glance's format of one of FORMATS."""
    return name.partition('-')[0]


def qemu_img(*words):
    subprocess.run(
        ['qemu-img', *(str(word) for word in words)],
        check=True,
        capture_output=True,
    )


def disk(path, partitioned=False):
    """Write a raw disk of data and holes, and return its content."""
    made = random.Random(7)
    content = bytearray(SIZE_BYTES)
    for begin in (0, 1_052_672, 3 * MIB, SIZE_BYTES - 4096):
        end = min(begin + MIB // 2, SIZE_BYTES)
        content[begin:end] = made.randbytes(end - begin)
    content[:512] = bytes(512)
    if partitioned:
        entry = struct.pack('<B3BB3BII', 0x80, 0, 2, 0, 0x83, 0, 3, 0, 1, 99)
        content[446:462] = entry
        content[510:512] = b'\x55\xaa'
    path.write_bytes(content)
    return bytes(content)


def converted(source, name, target):
    """Have qemu-img make one of FORMATS of a raw disk."""
    kind, options = FORMATS[name]
    qemu_img(
        'convert', '-f', 'raw', '-O', kind, *options.split(), source, target
    )
    return target


def iso(folder, hybrid=False):
    """Make an ISO, and one that boots from a stick as well if *hybrid*."""
    tree, made = folder / 'tree', folder / 'an.iso'
    tree.mkdir()
    (tree / 'file').write_bytes(os.urandom(MIB))
    subprocess.run(['genisoimage', '-quiet', '-o', made, tree], check=True)
    if hybrid:
        disk(folder / 'partitioned', partitioned=True)
        with made.open('r+b') as opened:
            opened.write((folder / 'partitioned').read_bytes()[:512])
    return made


# CVE-2022-47951: a vmdk that is a text, and names files of the host.

FLAT = """# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="{kind}"
RW {sectors} FLAT "{victim}" 0
ddb.adapterType = "ide"
"""


def flat_vmdk(path, victim, kind='monolithicFlat'):
    sectors = max(1, pathlib.Path(victim).stat().st_size // 512)
    text = FLAT.format(kind=kind, sectors=sectors, victim=victim)
    path.write_text(text.ljust(512, '\n'))
    return path


def two_faced_vmdk(path, victim):
    """A sparse vmdk that the inspector and qemu read in different ways.

    Without a capacity qemu goes by the text, where its ``createType`` is the
    one that is written so; and a name without a slash is beside the vmdk.
    """
    text = FLAT.format(
        kind='monolithicFlat', sectors=2, victim=pathlib.Path(victim).name
    ).replace('version', 'createtype="monolithicSparse"\nversion', 1)
    head = struct.pack(
        '<4sIIQQQQIQQ', b'KDMV', 1, 3, 0, 128, 1, 20, 512, 21, 26
    )
    path.write_bytes(
        head.ljust(512, b'\0')
        + text.encode().ljust(20 * 512, b'\0')
        + bytes(64 * 512)
    )
    return path


def extent_elsewhere(sound, path):
    """A sparse vmdk whose extent is called by a path of the host."""
    data = sound.read_bytes()
    begin, end = 512, 21 * 512
    text = data[begin:end].rstrip(b'\0')
    own = text[text.index(b' SPARSE ') :].partition(b'\n')[0]
    changed = text.replace(own, b' SPARSE "/etc/passwd"')
    path.write_bytes(
        data[:begin] + changed.ljust(end - begin, b'\0') + data[end:]
    )
    return path


def with_parent(sound, path, victim):
    """A sparse vmdk that is a difference to a file of the host."""
    data = sound.read_bytes()
    begin, end = 512, 21 * 512
    text = (
        data[begin:end]
        .rstrip(b'\0')
        .replace(
            b'parentCID=ffffffff',
            f'parentCID=12345678\nparentFileNameHint="{victim}"'.encode(),
        )
    )
    path.write_bytes(
        data[:begin] + text.ljust(end - begin, b'\0') + data[end:]
    )
    return path


# CVE-2024-32498: a qcow2 that names files of the host.


def with_backing_file(path, victim):
    qemu_img('create', '-f', 'qcow2', '-F', 'raw', '-b', victim, path)
    return path


def with_data_file(path, data_file):
    """A qcow2 whose data is elsewhere; *data_file* may be json:, too."""
    made = path.with_suffix('.data')
    options = f'data_file={made},data_file_raw=on'
    qemu_img('create', '-f', 'qcow2', '-o', options, path, SIZE_BYTES)
    if str(data_file) != str(made):
        # By hand, as qemu-img rebuilds what it is told; the header's
        # extension 0x44415441 is the name.
        data = bytearray(path.read_bytes())
        at = data.index(b'DATA', 100)
        (length,) = struct.unpack('>I', data[at + 4 : at + 8])
        after = at + 8 + (length + 7) // 8 * 8
        name = str(data_file).encode()
        padded = name + bytes(-len(name) % 8)
        moved = data[after : 65536 - len(padded) - 8 - at]
        field = b'DATA' + struct.pack('>I', len(name)) + padded
        data[at:65536] = (field + moved).ljust(65536 - at, b'\0')[: 65536 - at]
        path.write_bytes(data)
        made.unlink()
    return path


def encrypted(path):
    """A qcow2 that is encrypted in the old way, which is the quick one."""
    qemu_img(
        *('create', '--object', 'secret,id=s,data=abcdefgh', '-f', 'qcow2'),
        *('-o', 'encrypt.format=aes,encrypt.key-secret=s', path, MIB),
    )
    return path


def luks(path):
    words = (
        *('create', '--object', 'secret,id=s,data=abcdefgh'),
        *('-f', 'luks', '-o', 'key-secret=s,iter-time=10', path, MIB),
    )
    # It measures the processor, and gives up where that is taken away.
    for _ in range(20):
        with contextlib.suppress(subprocess.CalledProcessError):
            qemu_img(*words)
            return path
    qemu_img(*words)
    return path


def patched(path, offset, data):
    """Overwrite a few bytes of a file, and return its path."""
    with path.open('r+b') as opened:
        opened.seek(offset)
        opened.write(data)
    return path


# What other makers write than qemu-img.


def rewritten_vhd(path, creator, **fields):
    """Have the footer of a VHD say who made it, and the geometry for that.

    *fields* are others of :func:`vhd_footer`.
    """
    data = bytearray(path.read_bytes())
    copies = {len(data) - 512} | ({0} if data[:8] == b'conectix' else set())
    for offset in copies:
        old = bytes(data[offset : offset + 512])
        data[offset : offset + 512] = vhd_footer(old, creator, **fields)
    path.write_bytes(data)
    return path


def vhd_footer(footer, creator, kind=None, size_bytes=None):
    made = bytearray(footer)
    made[28:32] = creator
    if size_bytes is not None:
        struct.pack_into('>Q', made, 48, size_bytes)
    if kind is not None:
        struct.pack_into('>I', made, 60, kind)
    (size_bytes,) = struct.unpack_from('>Q', made, 48)
    struct.pack_into('>HBB', made, 56, *vhd_geometry(size_bytes // 512))
    struct.pack_into('>I', made, 64, 0)
    struct.pack_into('>I', made, 64, ~sum(made) & 0xFFFFFFFF)
    return bytes(made)


def vhd_geometry(sectors):
    """Return cylinders, heads and sectors, as the VHD's specification does."""
    per_track = 17
    tracks = sectors // 17
    heads = max((tracks + 1023) // 1024, 4)
    if tracks >= heads * 1024 or heads > 16:
        per_track, heads, tracks = 31, 16, sectors // 31
    if tracks >= heads * 1024:
        per_track, heads, tracks = 63, 16, sectors // 63
    return tracks // heads, heads, per_track


VHDX_ITEMS = {
    'file': uuid.UUID('caa16737-fa36-4d43-b3b6-33f0aa44e76b').bytes_le,
    'sector': uuid.UUID('8141bf1d-a96f-4709-ba47-f233a8faab5f').bytes_le,
}


def with_vhdx_item(path, name, offset, value):
    """Write a number into an item of a VHDX's metadata."""
    data = path.read_bytes()
    region = data.index(b'metadata', 0x40000)
    entry = data.index(VHDX_ITEMS[name], region)
    (begin,) = struct.unpack_from('<I', data, entry + 16)
    return patched(path, region + begin + offset, struct.pack('<I', value))


def with_vhdx_log(path):
    """Leave in a VHDX's log what was not written to its place."""
    log, data = b'log of an import', path.read_bytes()
    for offset in (0x10000, 0x20000):
        header = bytearray(data[offset : offset + 4096])
        header[48:64] = log
        (begin,) = struct.unpack_from('<Q', header, 72)
        patched(path, offset, _with_crc32c(header))
    entry = struct.pack(
        *('<4sIIIQII16sQQ', b'loge', 0, 4096, 0, 1, 0, 0, log),
        *(len(data), len(data)),
    )
    entry = _with_crc32c(bytearray(entry.ljust(4096, b'\0')))
    return patched(path, begin, entry)


def _with_crc32c(data):
    struct.pack_into('<I', data, 4, 0)
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    struct.pack_into('<I', data, 4, crc ^ 0xFFFFFFFF)
    return data


def differing_vdi(path):
    patched(path, 76, struct.pack('<I', 4))
    return patched(path, 424, os.urandom(16))


def zipped(data, folder):
    with zipfile.ZipFile(folder / 'a.zip', 'w') as archive:
        archive.writestr('disk', data)
    return (folder / 'a.zip').read_bytes()


PACKERS = {
    'gzip': lambda data, folder: gzip.compress(data),
    'bzip2': lambda data, folder: bz2.compress(data, 1),
    'xz': lambda data, folder: lzma.compress(data, preset=0),
    'zip': zipped,
    # Nothing in Python writes it: a frame of one raw block.
    'zstd': lambda data, folder: (
        b'\x28\xb5\x2f\xfd\x20\x04\x21\x00\x00' + data[:4]
    ),
}

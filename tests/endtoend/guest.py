# SPDX-License-Identifier: Apache-2.0
"""A guest of a kernel and one program, which writes a word to its disk.

The kernel is Debian's for clouds, as its package leaves it on this machine;
the word comes on its command line, as ``word=WORD``.
"""

from __future__ import annotations

from collections.abc import Iterator
import gzip
import lzma
import pathlib
import re
import stat

WORD_OFFSET = 2**20
_BUSYBOX = pathlib.Path('/bin/busybox')
_KERNELS = '*-cloud-amd64'
#: How a module's file may be packed, by its suffix.
_PACKED = {'.ko': bytes, '.ko.xz': lzma.decompress}
#: In the order that they need each other.
_MODULES = (
    *('virtio/virtio_ring', 'virtio/virtio'),
    *('virtio/virtio_pci_legacy_dev', 'virtio/virtio_pci_modern_dev'),
    *('virtio/virtio_pci', 'block/virtio_blk'),
)
_INIT = f"""\
#!/busybox sh
/busybox mount -t proc proc /proc
/busybox mount -t devtmpfs dev /dev
for name in {' '.join(name.rpartition('/')[2] for name in _MODULES)}; do
    [ ! -e /$name.ko ] || /busybox insmod /$name.ko
done
for word in $(/busybox cat /proc/cmdline); do
    case $word in
    word=*)
        printf %s "${{word#word=}}" | /busybox dd of=/dev/vda bs=512 \\
            seek={WORD_OFFSET // 512} conv=notrunc,fsync
        ;;
    esac
done
/busybox poweroff -f
"""


def kernel() -> bytes:
    """Return the newest kernel for clouds."""
    return pathlib.Path('/boot', f'vmlinuz-{_release()}').read_bytes()


def ramdisk() -> bytes:
    """Return the first and only file system of a guest, compressed."""
    files = {
        'init': _INIT.encode(),
        'busybox': _BUSYBOX.read_bytes(),
        **_modules(pathlib.Path('/lib/modules', _release())),
    }
    archive = b''.join(
        [
            *(_entry(name, stat.S_IFDIR | 0o755) for name in ('proc', 'dev')),
            *(
                _entry(name, stat.S_IFREG | 0o755, data)
                for name, data in files.items()
            ),
            _entry('TRAILER!!!', 0),
        ]
    )
    return gzip.compress(archive, 1)


def _modules(folder: pathlib.Path) -> dict[str, bytes]:
    """Return the modules' files, unpacked; not of what is built in.

    :raises FileNotFoundError: a module is neither there nor built in
    """
    built_in = (folder / 'modules.builtin').read_text().split()
    return {
        f'{name.rpartition("/")[2]}.ko': _unpacked(folder, name)
        for name in (f'kernel/drivers/{each}' for each in _MODULES)
        if f'{name}.ko' not in built_in
    }


def _unpacked(folder: pathlib.Path, name: str) -> bytes:
    for suffix, unpack in _PACKED.items():
        if (packed := folder / f'{name}{suffix}').exists():
            return unpack(packed.read_bytes())
    raise FileNotFoundError(f'{folder}/{name}.ko')


def _release() -> str:
    found = pathlib.Path('/lib/modules').glob(_KERNELS)
    return max(found, key=lambda path: _numbers(path.name)).name


def _numbers(release: str) -> list[int]:
    return [int(number) for number in re.findall(r'\d+', release)]


def _entry(name: str, mode: int, data: bytes = b'') -> bytes:
    """Return a file as cpio's format ``newc`` has it (cpio(5))."""
    links = 1 + stat.S_ISDIR(mode)
    fields = (0, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0)
    header = '070701' + ''.join(
        f'{field:08X}' for field in (*fields, len(name) + 1, 0)
    )
    return b''.join(_padded([f'{header}{name}\0'.encode(), data]))


def _padded(parts: list[bytes]) -> Iterator[bytes]:
    for part in parts:
        yield part + bytes(-len(part) % 4)

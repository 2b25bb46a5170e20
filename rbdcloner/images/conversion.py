# SPDX-License-Identifier: Apache-2.0
"""qemu-img: a second look at an image, and its data as a raw disk.

It is the only program that takes images apart, and sees none that
:mod:`rbdcloner.images.inspection` has not let pass. It is always told the
format, may open the one file as a file, has limits of memory and processor
time, and dies with the thread that waits for it. Its command line holds names
and the path of a ceph.conf, and no key.

Rejected: oslo.concurrency's execute(), which gives its output only at the end;
its limits are used.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import json
import pathlib
import re
import shutil
import time
from typing import Any

from oslo_concurrency import processutils

from rbdcloner import errors
from rbdcloner.images import features
from rbdcloner.images import program
from rbdcloner.images import vhd
from rbdcloner.model import GlanceImage
from rbdcloner.model import QemuTarget

#: Called with (bytes done, bytes in all), about once a second and whenever
#: qemu-img tells; what it raises ends qemu-img, and is raised.
Progress = Callable[[int, int], None]

_MIB = 1 << 20
_GIB = 1 << 30

# qemu-img's names where they differ from Glance's.
_DRIVERS = {'vhd': 'vpc', 'iso': 'raw'}

# To look, Nova's limits: a header that needs more is a trap.
_LOOK_LIMITS = processutils.ProcessLimits(
    address_space=_GIB, cpu_time=30, core_file_size=0
)
_LOOK_S = 60
_FACTS_BYTES = _MIB

# With librbd qemu-img takes 0.57 GiB of addresses for an image of any size, of
# which stacks of 20 threads; on larger hosts there may be a hundred threads.
_ADDRESS_BYTES = 4 * _GIB
# A GiB takes 1.5 s, packed or not; slower hosts have their time.
_CPU_S = 60
_CPU_S_PER_GIB = 60

_TICK_S = 1.0

_SECTOR_BYTES = 512
_QCOW2_SIZE_AT = 24

# What qemu-img says of what it does not open.
_NOT_SUPPORTED = re.compile('not supported|unsupported|replayed', re.I)


def lacks() -> Iterator[errors.ConfigurationError]:
    """Yield what this host lacks to convert images into RBD."""
    missing = [*_missing('qemu-img', 'setpriv')]
    yield from missing
    if missing:
        return
    # Without a pool's name it connects to nothing.
    running = _looked(['qemu-img', 'info', 'rbd:'])
    if b'Unknown protocol' in running.err:
        yield errors.ConfigurationError(
            problem='qemu-img knows nothing of RBD',
            remedy='Install its module (in Debian: qemu-block-extra)',
        )


def inspect(
    path: pathlib.Path,
    image: GlanceImage,
    disk_bytes: int,
    limit_bytes: int,
) -> int:
    """Return the size of the disk in the file, if qemu may open all of it.

    It is what :func:`convert` writes: *disk_bytes*, which inspection found,
    up to the next 512. A qcow2's header is changed to say that, for qemu
    would cut the rest off. Opens the file's header, and no other file.
    Whether the data is all there is not looked at: qemu takes what a file
    lacks for zeros, in most formats.

    :raises FeatureUnsupported: the disk needs what is not supported.
    :raises ImageUnsafe: it is not all in this file, or qemu-img does not open
        it.
    :raises ImageTooLarge: it has more than *limit_bytes*.
    :raises SizeDiffers: qemu-img finds another size.
    :raises ConfigurationError: there is no qemu-img.
    """
    _check_features(path, image)
    if image.disk_format == 'qcow2' and disk_bytes % _SECTOR_BYTES:
        _write_qcow2_size(path, _whole_sectors(disk_bytes))
    facts = _facts(path, image)
    reason = _danger(facts, path, image)
    if reason:
        raise errors.ImageUnsafe(image_id=image.id, reason=reason)
    size_bytes = int(facts['virtual-size'])
    if size_bytes > limit_bytes:
        raise errors.ImageTooLarge(
            image_id=image.id, size_bytes=size_bytes, limit_bytes=limit_bytes
        )
    if size_bytes != _whole_sectors(disk_bytes):
        raise errors.SizeDiffers(
            image_id=image.id,
            expected_bytes=disk_bytes,
            found_bytes=size_bytes,
            source='qemu-img',
        )
    return size_bytes


def convert(
    path: pathlib.Path,
    image: GlanceImage,
    target: QemuTarget,
    progress: Progress,
    *,
    size_bytes: int,
    bytes_per_s: int = 0,
    stalled_s: float = 300,
) -> None:
    """Write the disk in the file, of *size_bytes*, to *target*.

    *target* is an image that exists, is large enough and is all zeros: what
    is zero is not written. No more than *bytes_per_s* are
    written in a second, if that is not 0. What was written before an error
    stays.

    :raises ConversionFailed: qemu-img says so, was killed, or did nothing for
        *stalled_s*.
    :raises ConfigurationError: there is no qemu-img.
    """
    _available('qemu-img', 'setpriv')
    limits = processutils.ProcessLimits(
        address_space=_ADDRESS_BYTES,
        cpu_time=_CPU_S + _CPU_S_PER_GIB * size_bytes // _GIB,
        core_file_size=0,
    )
    rate = ['-r', str(bytes_per_s)] if bytes_per_s else []
    words = [
        *('qemu-img', 'convert', '-p', '-n', '--target-is-zero', *rate),
        # Not the default "unsafe", which leaves out the flush at the end.
        *('-t', 'writeback', '--image-opts', '--target-image-opts'),
        *(_options(_source(path, image)), _options(target.options)),
    ]
    with program.Program(words, limits, target.environment) as running:
        _attend(running, image, progress, size_bytes, stalled_s)
    if running.code:
        raise _failed(image, running.told(path, *target.options.values()))
    progress(size_bytes, size_bytes)


def _attend(
    running: program.Program,
    image: GlanceImage,
    progress: Progress,
    size_bytes: int,
    stalled_s: float,
) -> None:
    """Return when it has ended; percents are of data, and far between."""
    seen, since = (0.0, 0), time.monotonic()
    while running.look(_TICK_S):
        now = (running.percent, running.read_bytes())
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > stalled_s:
            raise _failed(image, f'it did nothing for {stalled_s:.0f} s')
        progress(int(size_bytes * running.percent / 100), size_bytes)


def _facts(path: pathlib.Path, image: GlanceImage) -> dict[str, Any]:
    words = ['qemu-img', 'info', '--output=json', '--image-opts']
    words.append(_options(_source(path, image)))
    running = _looked(words)
    if running.code:
        told = running.told(path)
        if _NOT_SUPPORTED.search(told):
            raise _unsupported(image, f'what qemu-img refuses: "{told}"')
        reason = f'qemu-img does not open it ({told})'
        raise errors.ImageUnsafe(image_id=image.id, reason=reason)
    facts: dict[str, Any] = json.loads(running.out)
    return facts


def _looked(words: list[str]) -> program.Program:
    """Run what only looks, until it has ended, for a minute at most."""
    _available('qemu-img', 'setpriv')
    deadline = time.monotonic() + _LOOK_S
    with program.Program(words, _LOOK_LIMITS) as running:
        while running.look(_TICK_S):
            if time.monotonic() > deadline or len(running.out) > _FACTS_BYTES:
                break
    return running


def _danger(
    facts: dict[str, Any], path: pathlib.Path, image: GlanceImage
) -> str:
    special = facts.get('format-specific', {}).get('data', {})
    extents = {one['filename'] for one in special.get('extents', ())}
    dangers = {
        'it has a backing file': 'backing-filename' in facts,
        'it has a data file': 'data-file' in special,
        'it has extents elsewhere': bool(extents - {str(path)}),
        f'it is {facts["format"]}': facts['format'] != _driver(image),
    }
    return ', '.join(reason for reason, found in dangers.items() if found)


def _check_features(path: pathlib.Path, image: GlanceImage) -> None:
    with path.open('rb') as opened:
        feature = features.unsupported(image.disk_format, opened)
    if feature:
        raise _unsupported(image, feature)


def _write_qcow2_size(path: pathlib.Path, size_bytes: int) -> None:
    """Have a qcow2's disk end later in its last cluster."""
    with path.open('r+b') as opened:
        opened.seek(_QCOW2_SIZE_AT)
        opened.write(size_bytes.to_bytes(8, 'big'))


def _whole_sectors(size_bytes: int) -> int:
    return -(-size_bytes // _SECTOR_BYTES) * _SECTOR_BYTES


def _source(path: pathlib.Path, image: GlanceImage) -> dict[str, str]:
    options = {
        'driver': _driver(image),
        'file.driver': 'file',
        'file.filename': str(path),
    }
    if image.disk_format == 'vhd':
        # Else each release of qemu-img decides by a list of its own.
        with path.open('rb') as opened:
            footer = vhd.footer(opened)
        by_geometry = footer is not None and footer.means_geometry
        calculation = 'chs' if by_geometry else 'current_size'
        options['force_size_calc'] = calculation
    return options


def _driver(image: GlanceImage) -> str:
    return _DRIVERS.get(image.disk_format, image.disk_format)


def _options(options: Mapping[str, str]) -> str:
    """Return options as qemu reads them, where a comma is written twice."""
    return ','.join(
        f'{name}={value.replace(",", ",,")}' for name, value in options.items()
    )


def _available(*names: str) -> None:
    for missing in _missing(*names):
        raise missing


def _missing(*names: str) -> Iterator[errors.ConfigurationError]:
    for name in names:
        if not shutil.which(name):
            yield errors.ConfigurationError(
                problem=f'There is no program {name}',
                remedy='Install it (in Debian: qemu-utils, util-linux)',
            )


def _unsupported(
    image: GlanceImage, feature: str
) -> errors.FeatureUnsupported:
    return errors.FeatureUnsupported(image_id=image.id, feature=feature)


def _failed(image: GlanceImage, reason: str) -> errors.ConversionFailed:
    return errors.ConversionFailed(image_id=image.id, reason=reason)

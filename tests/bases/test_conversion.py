# SPDX-License-Identifier: Apache-2.0
"""qemu-img makes a raw disk of each format, and opens nothing else."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import psutil
import pytest

from rbdcloner import errors
from rbdcloner import model
from rbdcloner.images import conversion
from rbdcloner.images import inspection
from tests.unit.images import specimens
from tests.unit.images.specimens import MIB
from tests.unit.images.specimens import SIZE_BYTES

ROOT = pathlib.Path(__file__).parents[2]
LIMIT_BYTES = 64 * MIB
VICTIM = '/etc/passwd'


def target(path, size_bytes=SIZE_BYTES):
    """Return qemu's options of an empty raw file that is made here."""
    with path.open('wb') as opened:
        opened.truncate(size_bytes)
    return raw(path)


def raw(path):
    options = {
        'driver': 'raw',
        'file.driver': 'file',
        'file.filename': str(path),
    }
    return model.QemuTarget(options, {})


def ignore(done_bytes, total_bytes):
    pass


def inspected(path, image, disk_bytes=SIZE_BYTES):
    return conversion.inspect(path, image, disk_bytes, LIMIT_BYTES)


def qemu_children():
    found = []
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if 'qemu-img' in ' '.join(one.cmdline()):
                found.append(one)
    return found


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp('source') / 'disk'
    specimens.disk(path, partitioned=True)
    return path


@pytest.fixture(scope='module')
def large(tmp_path_factory):
    """A qcow2 that takes its time at a few MiB a second."""
    folder = tmp_path_factory.mktemp('large')
    with (folder / 'disk').open('wb') as opened:
        for _ in range(32):
            opened.write(os.urandom(MIB))
    specimens.qemu_img(
        *('convert', '-f', 'raw', '-O', 'qcow2'),
        *(folder / 'disk', folder / 'image'),
    )
    return folder / 'image'


@pytest.mark.parametrize('name', specimens.FORMATS)
def test_each_format_becomes_the_same_disk(source, tmp_path, name):
    path = specimens.converted(source, name, tmp_path / 'a, file=of.x')
    image = specimens.of(specimens.said(name))
    size_bytes = inspected(path, image)
    assert size_bytes == SIZE_BYTES
    told = []
    made = tmp_path / 'b,driver=c'
    conversion.convert(
        path,
        image,
        target(made),
        lambda done, total: told.append((done, total)),
        size_bytes=size_bytes,
    )
    assert made.read_bytes() == source.read_bytes()
    assert made.stat().st_blocks * 512 < SIZE_BYTES
    assert told == sorted(told)
    assert told[-1] == (SIZE_BYTES, SIZE_BYTES)


def test_an_iso_becomes_itself_also_when_qemu_could_guess_more(tmp_path):
    path = specimens.iso(tmp_path, hybrid=True)
    data = path.read_bytes()
    image = specimens.of('iso')
    size_bytes = inspected(path, image, len(data))
    assert size_bytes == len(data)
    conversion.convert(
        path,
        image,
        target(tmp_path / 'made', size_bytes),
        ignore,
        size_bytes=size_bytes,
    )
    assert (tmp_path / 'made').read_bytes() == data


# What inspection would not let pass: this is the second lock.


def unsafe(path, said, match):
    with pytest.raises(errors.ImageUnsafe, match=match) as caught:
        inspected(path, specimens.of(said))
    assert_for_callers(caught.value)


def assert_for_callers(error):
    """Assert that an error is one line, without a path of this host."""
    assert len(str(error)) < 400
    assert '\n' not in str(error)
    assert '/' not in str(error)


def test_what_is_encrypted_is_not_supported(tmp_path):
    path = specimens.encrypted(tmp_path / 'i')
    with pytest.raises(errors.FeatureUnsupported, match='encryption'):
        inspected(path, specimens.of('qcow2'))
    data = specimens.luks(tmp_path / 'luks').read_bytes()
    looking = inspection.Inspection(
        specimens.of('raw', len(data)), LIMIT_BYTES
    )
    with pytest.raises(errors.FeatureUnsupported, match='encryption'):
        list(looking.watch([data]))


FEATURES = {
    'log to replay': ('vhdx', specimens.with_vhdx_log),
    'sectors of 4096 bytes': (
        'vhdx',
        lambda path: specimens.with_vhdx_item(path, 'sector', 0, 4096),
    ),
    'differencing': (
        'vhdx',
        lambda path: specimens.with_vhdx_item(path, 'file', 4, 2),
    ),
    'parent': ('vdi', specimens.differing_vdi),
    'VDI version 0.7': (
        'vdi',
        lambda path: specimens.patched(path, 68, b'\x07\0\0\0'),
    ),
    'VHD type 7': (
        'vhd',
        lambda path: specimens.rewritten_vhd(path, b'vbox', kind=7),
    ),
    'differencing image': (
        'vhd',
        lambda path: specimens.rewritten_vhd(path, b'win ', kind=4),
    ),
    'size of 4456449 bytes': (
        'vhd',
        lambda path: specimens.rewritten_vhd(
            path, b'vbox', size_bytes=SIZE_BYTES + 1
        ),
    ),
}


@pytest.mark.parametrize('feature', FEATURES)
def test_feature_that_is_not_supported_is_named(source, tmp_path, feature):
    said, change = FEATURES[feature]
    path = specimens.converted(source, said, tmp_path / 'image')
    with pytest.raises(errors.FeatureUnsupported, match=feature) as caught:
        inspected(change(path), specimens.of(said))
    assert_for_callers(caught.value)


def test_refusal_of_a_feature_by_qemu_img_alone_is_no_danger(source, tmp_path):
    path = specimens.converted(source, 'vdi', tmp_path / 'image')
    specimens.patched(path, 440, b'\x01' * 16)
    with pytest.raises(errors.FeatureUnsupported, match='UUID') as caught:
        inspected(path, specimens.of('vdi'))
    assert_for_callers(caught.value)


# The size that the inspection found is the size that is made.


@pytest.mark.parametrize('name', ['vhd-forced', 'vhd-fixed-forced'])
@pytest.mark.parametrize(
    ('creator', 'lost_bytes'),
    [
        *((b'vbox', 0), (b'wa\0\0', 0), (b'win ', 0), (b'new ', 0)),
        # Virtual PC means the geometry: 963 * 8 * 17 sectors.
        (b'vpc ', 104 * 512),
    ],
)
def test_vhd_has_the_size_that_its_maker_means(
    tmp_path, name, creator, lost_bytes
):
    source = tmp_path / 'source'
    with source.open('wb') as opened:
        opened.write(os.urandom(MIB))
        opened.seek(63 * MIB)
        opened.write(os.urandom(MIB))
    path = specimens.converted(source, name, tmp_path / 'image')
    specimens.rewritten_vhd(path, creator)
    made = tmp_path / 'made'
    size_bytes = converted(path, 'vhd', made, 64 * MIB - lost_bytes)
    assert size_bytes == 64 * MIB - lost_bytes
    assert made.read_bytes() == source.read_bytes()[:size_bytes]


def test_qcow2_whose_size_is_no_multiple_of_a_sector_keeps_its_tail(
    source, tmp_path
):
    path = specimens.converted(source, 'qcow2', tmp_path / 'image')
    odd_bytes = SIZE_BYTES - 200
    specimens.patched(path, 24, odd_bytes.to_bytes(8, 'big'))
    made = tmp_path / 'made'
    assert converted(path, 'qcow2', made, odd_bytes) == SIZE_BYTES
    assert made.read_bytes()[:odd_bytes] == source.read_bytes()[:odd_bytes]


def test_vdi_whose_size_is_no_multiple_of_a_sector_keeps_its_tail(
    source, tmp_path
):
    path = specimens.converted(source, 'vdi', tmp_path / 'image')
    odd_bytes = SIZE_BYTES - 200
    specimens.patched(path, 368, odd_bytes.to_bytes(8, 'little'))
    made = tmp_path / 'made'
    assert converted(path, 'vdi', made, odd_bytes) == SIZE_BYTES
    assert made.read_bytes()[:odd_bytes] == source.read_bytes()[:odd_bytes]


def converted(path, said, made, expected_bytes):
    """Inspect a file and convert it, as an import does; the disk's size."""
    data = path.read_bytes()
    image = specimens.of(said, len(data))
    looking = inspection.Inspection(image, LIMIT_BYTES)
    list(looking.watch([data]))
    found_bytes = looking.disk().size_bytes
    assert found_bytes == expected_bytes
    size_bytes = inspected(path, image, found_bytes)
    conversion.convert(
        path, image, target(made, size_bytes), ignore, size_bytes=size_bytes
    )
    return size_bytes


@pytest.mark.parametrize('name', ['qcow2', 'vmdk', 'vhd', 'vhdx', 'vdi'])
def test_size_that_two_readers_do_not_agree_on_is_refused(
    source, tmp_path, name
):
    path = specimens.converted(source, name, tmp_path / 'image')
    with pytest.raises(errors.SizeDiffers) as caught:
        inspected(path, specimens.of(name), SIZE_BYTES - 512)
    assert caught.value.kwargs['found_bytes'] == SIZE_BYTES
    assert_for_callers(caught.value)


def test_a_backing_file_is_unsafe(source, tmp_path):
    trap = specimens.with_backing_file(tmp_path / 'trap', VICTIM)
    unsafe(trap, 'qcow2', 'backing file')
    sound = specimens.converted(source, 'vmdk', tmp_path / 'sound')
    trap = specimens.with_parent(sound, tmp_path / 'trap', VICTIM)
    unsafe(trap, 'vmdk', 'backing file')


def test_a_data_file_is_unsafe(tmp_path):
    path = tmp_path / 'trap'
    trap = specimens.with_data_file(path, path.with_suffix('.data'))
    unsafe(trap, 'qcow2', 'data file')


@pytest.mark.parametrize('kind', ['monolithicFlat', 'vmfs'])
def test_extents_elsewhere_are_unsafe(tmp_path, kind):
    unsafe(
        specimens.flat_vmdk(tmp_path / 'trap', VICTIM, kind),
        'vmdk',
        'extents elsewhere',
    )


def test_a_vmdk_with_two_faces_is_unsafe(tmp_path):
    (tmp_path / 'beside').write_bytes(bytes(4096))
    trap = specimens.two_faced_vmdk(tmp_path / 'trap', tmp_path / 'beside')
    unsafe(trap, 'vmdk', 'extents elsewhere')


def test_what_is_said_to_be_raw_stays_raw_whatever_it_is(tmp_path):
    trap = specimens.with_backing_file(tmp_path / 'trap', VICTIM)
    image = specimens.of('raw')
    os.truncate(trap, 256 << 10)
    size_bytes = inspected(trap, image, 256 << 10)
    assert size_bytes == 256 << 10
    conversion.convert(
        trap,
        image,
        target(tmp_path / 'made', size_bytes),
        ignore,
        size_bytes=size_bytes,
    )
    assert (tmp_path / 'made').read_bytes() == trap.read_bytes()


@pytest.mark.parametrize('name', ['qcow2', 'vmdk', 'vdi', 'vhd', 'vhdx'])
def test_a_file_that_is_something_else_is_unsafe(source, name):
    unsafe(source, name, 'does not open')


def test_a_header_that_needs_too_much_is_unsafe(source, tmp_path):
    path = specimens.converted(source, 'qcow2', tmp_path / 'image')
    # An L1 table of 2^32 entries, and the size that asks for them.
    specimens.patched(path, 24, b'\x00\xff' + b'\xff' * 6)
    specimens.patched(path, 36, b'\xff' * 4)
    unsafe(path, 'qcow2', 'does not open')


@pytest.mark.parametrize('kind', ['qcow2', 'vdi', 'vhdx', 'vmdk'])
def test_a_bomb_is_too_large(tmp_path, kind):
    specimens.qemu_img('create', '-f', kind, tmp_path / 'bomb', '1T')
    with pytest.raises(errors.ImageTooLarge) as caught:
        inspected(tmp_path / 'bomb', specimens.of(kind))
    assert caught.value.kwargs['size_bytes'] == 1 << 40


# Conversions that do not end well


@pytest.mark.parametrize('name', ['qcow2-compressed', 'vmdk-stream'])
def test_half_of_what_is_packed_is_never_taken_for_the_disk(
    source, tmp_path, name
):
    path = specimens.converted(source, name, tmp_path / 'image')
    os.truncate(path, path.stat().st_size * 2 // 3)
    image = specimens.of(specimens.said(name))
    with pytest.raises((errors.ConversionFailed, errors.ImageUnsafe)):
        inspected(path, image)
        conversion.convert(
            path,
            image,
            target(tmp_path / 'made'),
            ignore,
            size_bytes=SIZE_BYTES,
        )


def test_a_target_that_is_not_there_fails_in_one_line(source, tmp_path):
    path = specimens.converted(source, 'qcow2', tmp_path / 'image')
    missing = raw(tmp_path / 'missing')
    with pytest.raises(errors.ConversionFailed) as caught:
        conversion.convert(
            path,
            specimens.of('qcow2'),
            missing,
            ignore,
            size_bytes=SIZE_BYTES,
        )
    assert 'No such file' in caught.value.kwargs['reason']
    assert len(caught.value.kwargs['reason'].splitlines()) == 1


def test_who_gives_up_ends_it_with_its_own_error(large, tmp_path):
    class GivenUpError(Exception):
        pass

    def give_up(done_bytes, total_bytes):
        assert qemu_children()
        raise GivenUpError

    with pytest.raises(GivenUpError):
        conversion.convert(
            large,
            specimens.of('qcow2'),
            target(tmp_path / 'made', 32 * MIB),
            give_up,
            size_bytes=32 * MIB,
            bytes_per_s=MIB,
        )
    assert qemu_children() == []


def test_a_rate_is_kept(large, tmp_path):
    told = []
    began = time.monotonic()
    conversion.convert(
        large,
        specimens.of('qcow2'),
        target(tmp_path / 'made', 32 * MIB),
        lambda done, total: told.append(done),
        size_bytes=32 * MIB,
        bytes_per_s=16 * MIB,
    )
    assert time.monotonic() - began > 1
    assert len(set(told)) > 3


def test_one_that_stalls_is_ended(large, tmp_path):
    def stop(done_bytes, total_bytes):
        for one in qemu_children():
            one.suspend()

    with pytest.raises(errors.ConversionFailed, match='nothing for 2 s'):
        conversion.convert(
            large,
            specimens.of('qcow2'),
            target(tmp_path / 'made', 32 * MIB),
            stop,
            size_bytes=32 * MIB,
            bytes_per_s=MIB,
            stalled_s=2,
        )
    assert qemu_children() == []


def test_one_that_somebody_kills_says_so(large, tmp_path):
    def kill(done_bytes, total_bytes):
        for one in qemu_children():
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()

    with pytest.raises(errors.ConversionFailed, match='SIGKILL'):
        conversion.convert(
            large,
            specimens.of('qcow2'),
            target(tmp_path / 'made', 32 * MIB),
            kill,
            size_bytes=32 * MIB,
            bytes_per_s=MIB,
        )


CONVERTER = """
import sys, pathlib
from rbdcloner.images import conversion
from tests.bases import test_conversion
from tests.unit.images import specimens
path, made = map(pathlib.Path, sys.argv[1:])
conversion.convert(
    path, specimens.of('qcow2'), test_conversion.target(made, 32 << 20),
    lambda done, total: print(done, flush=True),
    size_bytes=32 << 20, bytes_per_s=1 << 20,
)
"""


def test_it_dies_with_its_process(large, tmp_path):
    owner = subprocess.Popen(
        [sys.executable, '-c', CONVERTER, large, tmp_path / 'made'],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        owner.stdout.readline()
        (child,) = psutil.Process(owner.pid).children()
        assert child.name() == 'qemu-img'
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        _gone, alive = psutil.wait_procs([child], timeout=30)
        assert alive == []
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()


def test_a_host_without_qemu_img_is_told_so(source, monkeypatch):
    monkeypatch.setenv('PATH', '/nowhere')
    for act in (
        lambda: inspected(source, specimens.of('raw')),
        lambda: conversion.convert(
            source, specimens.of('raw'), {}, ignore, size_bytes=1
        ),
    ):
        with pytest.raises(errors.ConfigurationError, match='qemu-img'):
            act()

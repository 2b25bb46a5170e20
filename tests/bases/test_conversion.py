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
    size_bytes = conversion.inspect(path, image, LIMIT_BYTES)
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
    size_bytes = conversion.inspect(path, image, LIMIT_BYTES)
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
        conversion.inspect(path, specimens.of(said), LIMIT_BYTES)
    assert len(str(caught.value)) < 400
    assert '\n' not in str(caught.value)
    return caught.value


def test_what_is_encrypted_is_unsafe(tmp_path):
    unsafe(specimens.encrypted(tmp_path / 'i'), 'qcow2', 'encrypted')
    data = specimens.luks(tmp_path / 'luks').read_bytes()
    looking = inspection.Inspection(
        specimens.of('raw', len(data)), LIMIT_BYTES
    )
    with pytest.raises(errors.ImageUnsafe, match='encrypted'):
        list(looking.watch([data]))


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
    size_bytes = conversion.inspect(trap, image, LIMIT_BYTES)
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
        conversion.inspect(tmp_path / 'bomb', specimens.of(kind), LIMIT_BYTES)
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
        conversion.inspect(path, image, LIMIT_BYTES)
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
        lambda: conversion.inspect(source, specimens.of('raw'), LIMIT_BYTES),
        lambda: conversion.convert(
            source, specimens.of('raw'), {}, ignore, size_bytes=1
        ),
    ):
        with pytest.raises(errors.ConfigurationError, match='qemu-img'):
            act()

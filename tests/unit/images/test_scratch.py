# SPDX-License-Identifier: Apache-2.0
"""Scratch files keep within their bound together, and none is left."""

from concurrent import futures
import contextlib
import os
import pathlib
import signal
import stat
import subprocess
import sys
import threading

import pytest

from rbdcloner import errors
from rbdcloner.images import scratch

MIB = 1 << 20
ROOT = pathlib.Path(__file__).parents[3]
HOLDER = """
import pathlib, signal, sys
from rbdcloner.images import scratch
folder = scratch.Scratch(pathlib.Path(sys.argv[1]), 1 << 40)
with folder.file('an-image', int(sys.argv[2])) as made:
    made.opened.write(b'secret')
    made.opened.flush()
    print(made.path, flush=True)
    signal.pause()
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / 'deep' / 'scratch'


def images_in(folder):
    return sorted(folder.glob('*.image'))


@contextlib.contextmanager
def held_by_another(folder, size_bytes):
    """A process that has a file until it is killed."""
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLDER, folder, str(size_bytes)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield pathlib.Path(holder.stdout.readline().strip()), holder
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_a_file_is_private_has_its_blocks_and_goes(folder):
    room = scratch.Scratch(folder, 8 * MIB)
    with room.file('an-image', 3 * MIB) as made:
        facts = made.path.stat()
        assert stat.S_IMODE(facts.st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert facts.st_size == 3 * MIB <= facts.st_blocks * 512
        made.opened.write(b'data')
        made.opened.flush()
        assert made.path.read_bytes()[:5] == b'data\0'
    assert images_in(folder) == []
    with (
        pytest.raises(OSError, match='of the import'),
        room.file('an-image', 1),
    ):
        raise OSError('of the import')
    assert images_in(folder) == []


def test_files_of_all_processes_keep_within_one_bound(folder):
    with held_by_another(folder, 6 * MIB):
        room = scratch.Scratch(folder, 10 * MIB)
        with room.file('an-image', 3 * MIB):
            with (
                pytest.raises(errors.ScratchFull) as caught,
                room.file('another', 2 * MIB),
            ):
                pass
            assert caught.value.kwargs == {
                'size_bytes': 2 * MIB,
                'image_id': 'another',
                'free_bytes': MIB,
            }
            with room.file('a-small-one', MIB):
                pass
        with room.file('another', 4 * MIB):
            assert len(images_in(folder)) == 2


def test_who_takes_room_at_once_does_not_take_it_twice(folder):
    room = scratch.Scratch(folder, 4 * MIB)
    fill = threading.Barrier(8)

    def take():
        fill.wait(10)
        try:
            with room.file('an-image', MIB):
                fill.wait(10)
                return True
        except errors.ScratchFull:
            fill.wait(10)
            return False

    with futures.ThreadPoolExecutor(8) as pool:
        taken = [pool.submit(take) for _ in range(8)]
        assert sum(one.result(30) for one in taken) == 4
    assert images_in(folder) == []


def test_a_file_system_without_room_is_full_too(tmp_path):
    disk = os.statvfs(tmp_path)
    most = disk.f_blocks - (disk.f_bfree - disk.f_bavail)
    needed = (most + disk.f_bavail) // 2
    room = scratch.Scratch(tmp_path, 1 << 60)
    with (
        pytest.raises(errors.ScratchFull),
        room.file('i', needed * disk.f_frsize),
    ):
        pass
    assert images_in(tmp_path) == []


def test_image_that_can_never_fit_is_told_apart(tmp_path):
    disk = os.statvfs(tmp_path)
    for limit_bytes, size_bytes in (
        (MIB, MIB + 1),
        (1 << 60, disk.f_blocks * disk.f_frsize + 1),
    ):
        room = scratch.Scratch(tmp_path, limit_bytes)
        with (
            pytest.raises(errors.ScratchTooSmall) as caught,
            room.file('an-image', size_bytes),
        ):
            pass
        assert isinstance(caught.value, errors.ImageUnfit)
        assert not caught.value.retryable
        assert caught.value.kwargs['limit_bytes'] < size_bytes
    assert images_in(tmp_path) == []


def test_room_that_the_file_system_refuses_is_given_back(tmp_path):
    """The blocks that others take between the look and the reservation."""
    program = (
        'import pathlib, resource, sys\n'
        'from rbdcloner import errors\n'
        'from rbdcloner.images import scratch\n'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n'
        'room = scratch.Scratch(pathlib.Path(sys.argv[1]), 1 << 40)\n'
        'try:\n'
        '    with room.file("an-image", 1 << 20):\n'
        '        pass\n'
        'except errors.ScratchFull:\n'
        '    sys.exit(42)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program, tmp_path], cwd=ROOT, timeout=60
    )
    assert done.returncode == 42
    assert images_in(tmp_path) == []


@pytest.mark.parametrize('comes_next', ['sweep', 'file'])
def test_what_a_killed_process_left_goes(folder, comes_next):
    room = scratch.Scratch(folder, 8 * MIB)
    with held_by_another(folder, 6 * MIB) as (path, holder):
        assert room.sweep() == 0
        assert path.exists()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert path.exists()
        if comes_next == 'sweep':
            assert room.sweep() == 1
        else:
            with room.file('an-image', 6 * MIB) as made:
                assert images_in(folder) == [made.path]
        assert not path.exists()
    assert room.sweep() == 0


def test_what_others_put_there_stays(folder):
    folder.mkdir(parents=True)
    (folder / 'notes.txt').write_text('keep me')
    assert scratch.Scratch(folder, MIB).sweep() == 0
    assert (folder / 'notes.txt').read_text() == 'keep me'


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / 'file').touch()
    room = scratch.Scratch(tmp_path / 'file', MIB)
    with pytest.raises(errors.ConfigurationError, match='scratch_dir'):
        room.sweep()

# SPDX-License-Identifier: Apache-2.0
"""Commands run on a Debian release in a root, and nothing of them is left.

Roots that are to fail are made in a folder of the test's own; what needs one
takes the machine's own release, from where tools/release keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
import pathlib
import signal
import subprocess
import sys

import psutil
import pytest

from tests.run import releases
from tests.stack import process

ROOT = pathlib.Path(__file__).parents[2]
RELEASE = ROOT / 'tools' / 'release'
# What a shell runs in the background ignores SIGINT, and so do its children.
INTERRUPTIBLE = ('env', '--default-signal=INT', RELEASE)
SUITE = releases.own()
TIMEOUT_S = 600
#: Holds dpkg's lock until its input ends.
HOLDS_DPKG = """
import fcntl, sys
with open('/var/lib/dpkg/lock-frontend', 'w') as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print('held', flush=True)
    sys.stdin.read()
"""


def run(
    *words: object, cache: pathlib.Path | None = None, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        list(map(str, words)),
        env=environment(cache),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        **options,
    )


def environment(cache: pathlib.Path | None) -> dict[str, str]:
    """Return this process's, with roots kept in *cache*, if that is given."""
    return os.environ | ({'RBDCLONER_CACHE': str(cache)} if cache else {})


def folders(cache: pathlib.Path) -> list[str]:
    """Return the names of the roots in a cache, whole or not."""
    return sorted(one.name for one in cache.iterdir() if one.is_dir())


def mounts() -> str:
    return pathlib.Path('/proc/self/mounts').read_text()


@contextlib.contextmanager
def making(cache: pathlib.Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that is in the middle of making a root."""
    with subprocess.Popen(
        [*INTERRUPTIBLE, SUITE, 'true'],
        env=environment(cache),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as maker:
        try:
            process.wait_until(
                lambda: any(cache.glob(f'{SUITE}.partial.*/mmdebstrap.*')),
                'a root in the making',
            )
            yield maker
        finally:
            maker.kill()


def processes_in(folder: pathlib.Path) -> list[psutil.Process]:
    """Return the processes whose command names the folder."""
    return [
        one
        for one in psutil.process_iter(['cmdline'])
        if str(folder) in ' '.join(one.info['cmdline'] or ())
    ]


def test_command_gets_its_input_and_gives_its_output_and_exit_code() -> None:
    done = run(
        RELEASE, SUITE, 'sh', '-c', 'cat; pwd; echo no >&2; exit 7', input='in'
    )
    assert done.returncode == 7
    assert done.stdout == f'in{ROOT}\n'
    assert done.stderr.endswith('no\n')


def test_command_may_make_namespaces_of_its_own() -> None:
    done = run(RELEASE, SUITE, 'unshare', '--mount', '--pid', '--fork', 'true')
    assert done.returncode == 0, done.stderr


def test_command_leaves_no_mount_and_no_process() -> None:
    before = mounts()
    done = run(RELEASE, SUITE, 'sh', '-c', 'sleep 987654 & exit 0')
    assert done.returncode == 0, done.stderr
    assert mounts() == before
    assert not [
        one
        for one in psutil.process_iter(['cmdline'])
        if one.info['cmdline'] == ['sleep', '987654']
    ]


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signal_reaches_the_command_once(number: int) -> None:
    name = signal.Signals(number).name.removeprefix('SIG')
    trap = f'trap "echo {name}; exit 5" {name}'
    script = f'{trap}; sleep 600 & echo ready; wait'
    with subprocess.Popen(
        [*INTERRUPTIBLE, SUITE, 'bash', '-c', script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == 'ready\n'
        running.send_signal(number)
        rest, _ = running.communicate(timeout=TIMEOUT_S)
    assert (rest, running.returncode) == (f'{name}\n', 5)


def test_fresh_root_is_bare_and_goes(tmp_path: pathlib.Path) -> None:
    left = 'touch /root/left; ls -d /root/* /usr/bin/ceph*'
    for _ in range(2):
        done = run(RELEASE, '--fresh', SUITE, 'sh', '-c', left)
        assert done.stdout == '/root/left\n', done.stderr


def test_unknown_release_is_refused() -> None:
    done = run(RELEASE, 'buzz', 'true')
    known = 'bookworm trixie forky'
    said = f'tools/release: no such release: buzz (there are: {known})\n'
    assert (done.returncode, done.stdout, done.stderr) == (2, '', said)


def test_other_users_than_root_are_refused() -> None:
    # A user who may read this checkout, wherever it lies, also in a chroot,
    # where the kernel makes no user namespace.
    reads = '+dac_read_search'
    done = run(
        *('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'),
        *(f'--inh-caps={reads}', f'--ambient-caps={reads}'),
        *(RELEASE, SUITE, 'true'),
    )
    said = 'tools/release: run as root: mounts and chroot need it\n'
    assert (done.returncode, done.stderr) == (1, said)


def test_no_network_is_one_line(tmp_path: pathlib.Path) -> None:
    done = run('unshare', '--net', RELEASE, SUITE, 'true', cache=tmp_path)
    assert done.returncode == 1
    *_, said = done.stderr.splitlines()
    assert said.startswith(f'tools/release: could not make {SUITE}: E: ')
    assert said.endswith(f'(all of it: {tmp_path}/{SUITE}.log)')
    assert folders(tmp_path) == []


def run_on_disk(
    size: str, cache: pathlib.Path, *first: str
) -> subprocess.CompletedProcess[str]:
    """Make a root on a disk of that size; *first* is run before."""
    steps = [f'mount -t tmpfs -o size={size} tmpfs {cache}', *first]
    script = '\n'.join([*steps, 'exec "$@"'])
    return run(
        *('unshare', '--mount', 'sh', '-c', script, 'sh'),
        *(RELEASE, SUITE, 'true'),
        cache=cache,
    )


def test_small_disk_is_refused_at_once(tmp_path: pathlib.Path) -> None:
    done = run_on_disk('100m', tmp_path)
    assert done.returncode == 1
    left = f'tools/release: {tmp_path} has 100 MiB left'
    assert done.stderr == f'{left}; a release takes 1000 MiB\n'


def test_disk_that_fills_up_is_one_line(tmp_path: pathlib.Path) -> None:
    begun = f'ls {tmp_path}/*.partial.*/mmdebstrap.*'
    fill = f'head -c 2G /dev/zero >{tmp_path}/filler'
    watch = f'until {begun}; do sleep 0.1; done; {fill}'
    done = run_on_disk(
        '1100m', tmp_path, f"timeout 300 sh -c '{watch}' >/dev/null 2>&1 &"
    )
    assert done.returncode == 1
    _, said = done.stderr.splitlines()
    assert said.startswith(f'tools/release: could not make {SUITE}: ')
    assert 'no space' in said.lower()


def test_interrupted_root_is_not_kept(tmp_path: pathlib.Path) -> None:
    before = mounts()
    with making(tmp_path) as maker:
        maker.send_signal(signal.SIGINT)
        _, said = maker.communicate(timeout=TIMEOUT_S)
    assert maker.returncode == 130
    assert said.splitlines()[-1] == (
        f'tools/release: interrupted; could not make {SUITE}'
    )
    assert folders(tmp_path) == []
    assert processes_in(tmp_path) == []
    assert mounts() == before


def test_half_of_a_killed_root_is_not_used(tmp_path: pathlib.Path) -> None:
    with making(tmp_path) as maker:
        maker.kill()
        maker.wait()
        process.wait_until(
            lambda: not processes_in(tmp_path), 'the end of its processes'
        )
    assert folders(tmp_path) != []
    done = run('unshare', '--net', RELEASE, SUITE, 'true', cache=tmp_path)
    assert done.returncode == 1
    assert folders(tmp_path) == []


def test_set_up_waits_for_another_use_of_dpkg():
    script = 'source tools/bootstrap; bootstrap_unlocked dpkg --configure -a'
    with subprocess.Popen(
        [sys.executable, '-c', HOLDS_DPKG],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        holder.stdout.readline()
        with subprocess.Popen(
            ['bash', '-c', script], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as waiter:
            process.wait_until(
                lambda: 'sleep' in names(waiter.pid), 'a wait for the lock'
            )
            holder.stdin.close()
            assert waiter.wait(TIMEOUT_S) == 0


def names(pid: int) -> list[str]:
    """Return the names of a process's children."""
    return [one.name() for one in psutil.Process(pid).children()]

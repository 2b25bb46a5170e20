# SPDX-License-Identifier: Apache-2.0
"""Processes that a stack starts, watches and is sure to end.

A daemon's only record is its pid file, which holds the pid and the kernel's
start time of that process. So a daemon may outlive the process that started
it, any other process can stop, kill or restart it, and a pid that the kernel
gave to somebody else meanwhile is never signalled.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import os
import pathlib
import signal
import subprocess
import threading
import time

import psutil

POLL_S = 0.05
LOG_TAIL_LINES = 25


class StackError(Exception):
    """A part of the stack did not do what was asked."""


class Abandoned(StackError):
    """Somebody gave up on the stack while this part was starting."""


def wait_until(
    done: Callable[[], object],
    what: str,
    timeout_s: float = 60,
    abandoned: threading.Event | None = None,
) -> None:
    """Return once ``done()`` is true; asked less often as time goes on.

    :raises StackError: after ``timeout_s``, naming ``what``
    :raises Abandoned: as soon as ``abandoned`` is set
    """
    begun = time.monotonic()
    while not done():
        if abandoned is not None and abandoned.is_set():
            raise Abandoned(f'{what}: abandoned')
        waited_s = time.monotonic() - begun
        if waited_s > timeout_s:
            raise StackError(f'{what}: not within {timeout_s} s')
        time.sleep(min(max(POLL_S, waited_s / 20), 1))


def run(
    command: Sequence[object],
    log: pathlib.Path,
    *,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    timeout_s: float = 120,
    abandoned: threading.Event | None = None,
) -> None:
    """Run a command to its end; its output goes to ``log``.

    :raises StackError: when it fails, with the log's last lines
    """
    process = _spawn(command, log, env, user)
    name = pathlib.Path(str(command[0])).name
    try:
        wait_until(
            lambda: process.poll() is not None, name, timeout_s, abandoned
        )
    finally:
        if process.poll() is None:
            # Not its process group: some commands leave it.
            kill_all([psutil.Process(process.pid)])
            process.wait()
    if process.returncode:
        raise StackError(f'{name} exited {process.returncode}\n{tail(log)}')


def tail(log: pathlib.Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last lines of a log, headed by its path."""
    try:
        text = log.read_text(errors='replace')
    except FileNotFoundError:
        return f'{log}: does not exist'
    return '\n'.join([f'--- {log}', *text.splitlines()[-lines:]])


def _spawn(
    command: Sequence[object],
    log: pathlib.Path,
    env: Mapping[str, str] | None,
    user: str | None,
) -> subprocess.Popen[bytes]:
    with log.open('ab') as output:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=log.parent,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )


class PidFile:
    """The identity of one running process, on disk."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def write(self, pid: int) -> None:
        """Record the process; it must exist."""
        self.path.write_text(f'{pid} {_start_ticks(pid)}\n')

    def process(self) -> psutil.Process | None:
        """The recorded process, or None when it is gone."""
        try:
            pid, ticks = map(int, self.path.read_text().split())
            process = psutil.Process(pid)
            if _start_ticks(pid) != ticks:
                return None
            return None if _is_zombie(process) else process
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None

    def remove(self) -> None:
        """Forget the process."""
        self.path.unlink(missing_ok=True)


def _start_ticks(pid: int) -> int:
    # proc(5): field 22; psutil's create_time moves with the wall clock.
    stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
    return int(stat.rpartition(')')[2].split()[19])


def _is_zombie(process: psutil.Process) -> bool:
    if process.status() != psutil.STATUS_ZOMBIE:
        return False
    # If it is a child of this process. psutil needs select.poll to wait, which
    # eventlet removes.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return True


def _family(process: psutil.Process) -> Iterator[psutil.Process]:
    yield process
    with contextlib.suppress(psutil.NoSuchProcess):
        yield from process.children(recursive=True)


def kill_all(processes: Sequence[psutil.Process]) -> None:
    """End the processes and all that they started, at once."""
    doomed = [one for process in processes for one in _family(process)]
    for process in doomed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _wait_gone(doomed, timeout_s=10)


def _wait_gone(processes: Sequence[psutil.Process], timeout_s: float) -> bool:
    """Whether all have ended in time; whoever reaps them may be late."""
    deadline = time.monotonic() + timeout_s
    while any(_is_alive(one) for one in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S / 5)
    return True


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and not _is_zombie(process)
    except psutil.NoSuchProcess:
        return False


class Daemon:
    """A long-running process in a session of its own.

    Every method may be called from any process that made a Daemon with the
    same name and folder. ``is_ready`` is polled after a start.
    """

    def __init__(
        self,
        name: str,
        folder: pathlib.Path,
        command: Sequence[object],
        is_ready: Callable[[], object],
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        timeout_s: float = 60,
    ) -> None:
        self.name = name
        self.command = command
        self.is_ready = is_ready
        self.env = env
        self.user = user
        self.timeout_s = timeout_s
        self.abandoned = threading.Event()
        self.log = folder / 'log' / f'{name}.out'
        self._pid_file = PidFile(folder / 'pids' / f'{name}.pid')

    @property
    def process(self) -> psutil.Process | None:
        """The running process, or None."""
        return self._pid_file.process()

    @property
    def running(self) -> bool:
        """Whether it runs, paused or not."""
        return self.process is not None

    def start(self, wait: bool = True) -> None:
        """Start it unless it runs, and wait until it is ready.

        :raises StackError: at once when it dies, else after ``timeout_s``
        """
        if not self.running:
            self._launch()
        if wait:
            self.wait_ready()

    def _launch(self) -> None:
        child = _spawn(self.command, self.log, self.env, self.user)
        try:
            self._pid_file.write(child.pid)
        except BaseException:
            child.kill()
            raise

    def wait_ready(self) -> None:
        """Return once it is ready.

        :raises StackError: when it died, or is not ready in time
        """
        try:
            wait_until(
                self._ready_or_dead, self.name, self.timeout_s, self.abandoned
            )
        except Abandoned:
            raise
        except StackError as exc:
            raise StackError(f'{exc}\n{tail(self.log)}') from exc

    def _ready_or_dead(self) -> bool:
        if not self.running:
            raise StackError(f'{self.name} died')
        return bool(self.is_ready())

    def stop(self, timeout_s: float = 20) -> None:
        """End it: SIGTERM, and SIGKILL to what is left after the timeout."""
        process = self.process
        if process is not None:
            family = list(_family(process))
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
                process.terminate()
            _wait_gone([process], timeout_s)
            kill_all([one for one in family if _is_alive(one)])
        self._pid_file.remove()

    def kill(self) -> None:
        """End it by SIGKILL, with all that it started."""
        process = self.process
        if process is not None:
            kill_all([process])
        self._pid_file.remove()

    def restart(self) -> None:
        """Stop it, start it and wait until it is ready."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Stop it from running (SIGSTOP), keeping all that it holds."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused one go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        process = self.process
        if process is None:
            raise StackError(f'{self.name} does not run')
        for one in _family(process):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(number)

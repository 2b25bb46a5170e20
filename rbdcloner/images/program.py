# SPDX-License-Identifier: Apache-2.0
"""A program that runs within limits, and not a moment longer than we do."""

from collections.abc import Mapping
import contextlib
import os
import pathlib
import re
import selectors
import signal
import subprocess
import sys
from typing import IO
from typing import Self

from oslo_concurrency import processutils

_PERCENT = re.compile(rb'\(\s*([0-9.]+)/100%\)')
_READ_BYTES = 1 << 16

# More than anybody reads of it; of an endless output the end is kept.
_KEPT_BYTES = 1 << 21
_KEPT_ERR_BYTES = 1 << 12

_REASON_CHARACTERS = 200
# qemu's programs begin with all the options that they were given.
_COULD_NOT_OPEN = re.compile("Could not open '[^']*': ")
_PATH = re.compile(r"""(?<![^\s'"(])/[^\s'",:;()]+""")
_HIDDEN = '***'

# glibc gives each of many threads an arena of 64 MiB of addresses, and how
# many depends on the host's processors; a limit of addresses must not.
_ENVIRONMENT = {'LC_ALL': 'C', 'MALLOC_ARENA_MAX': '4'}


class Program:
    """A running program, which ends with the context, or the thread's death.

    ``out`` and ``err`` are what it wrote; ``code`` is its exit code, negative
    for a signal, once the context has ended. ``percent`` is what it last
    wrote of its progress as qemu's programs do.
    """

    def __init__(
        self,
        words: list[str],
        limits: processutils.ProcessLimits,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._environment = _ENVIRONMENT | dict(environment or {})
        self._words = [
            *('setpriv', '--pdeathsig', 'KILL', '--'),
            *(sys.executable, '-m', 'oslo_concurrency.prlimit'),
            *(*limits.prlimit_args(), '--', *words),
        ]
        self.out = b''
        self.err = b''
        self.percent = 0.0
        self.code: int | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **self._environment},
        )
        self._selector = selectors.DefaultSelector()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            self._selector.register(stream, selectors.EVENT_READ)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._selector.get_map():
            self._process.kill()
        self.code = self._process.wait()
        self._selector.close()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def look(self, timeout_s: float) -> bool:
        """Wait for something to be written; tell whether more may come."""
        for key, _events in self._selector.select(timeout_s):
            # It was registered as one.
            stream: IO[bytes] = key.fileobj  # type: ignore[assignment]
            written = os.read(key.fd, _READ_BYTES)
            if not written:
                self._selector.unregister(stream)
            elif stream is self._process.stderr:
                self.err = (self.err + written)[-_KEPT_ERR_BYTES:]
            else:
                self._take(written)
        return bool(self._selector.get_map())

    def read_bytes(self) -> int:
        """Return how much it has read; 0 when nobody can tell any more."""
        with contextlib.suppress(OSError, ValueError):
            facts = pathlib.Path(f'/proc/{self._process.pid}/io').read_text()
            return int(facts.partition('rchar:')[2].split()[0])
        return 0

    def told(self, *paths: str | pathlib.Path) -> str:
        """Return why it failed, as one line of bounded length without a path.

        Callers see it: *paths* are of this host, and so may be any other. Of
        a long line the end is kept.
        """
        if self.code is not None and self.code < 0:
            return f'{signal.Signals(-self.code).name} ended it'
        lines = self.err.decode(errors='replace').splitlines() or ['']
        # What follows that is advice.
        own = [line for line in lines if line.startswith('qemu-img: ')]
        line = (own or lines)[-1].removeprefix('qemu-img: ')
        for path in filter(_PATH.match, map(str, paths)):
            line = line.replace(path, _HIDDEN)
        line = _PATH.sub(_HIDDEN, _COULD_NOT_OPEN.sub('', line))
        told = ''.join(one if one.isprintable() else '?' for one in line)
        return told[-_REASON_CHARACTERS:] or f'it exited {self.code}'

    def _take(self, written: bytes) -> None:
        self.out = (self.out + written)[-_KEPT_BYTES:]
        found = _PERCENT.findall(self.out[-_READ_BYTES:])
        if found:
            self.percent = float(found[-1])

# SPDX-License-Identifier: Apache-2.0
"""What the demonstration prints: steps with their seconds, and findings.

On a terminal the line of a step is redrawn while it runs; elsewhere a long
step says every few seconds, on a line of its own, how far it is.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import os
import shutil
import sys
import threading
import time

WIDTH = 78
_REDRAW_S = 0.2
_REPEAT_S = 5.0
_UNITS = ('B', 'KiB', 'MiB', 'GiB', 'TiB')


class Screen:
    """Standard output; *check* is called whenever something is printed."""

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self._check = check
        self._is_terminal = sys.stdout.isatty()
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._step = self._progress = ''
        self._is_open = False
        self._findings: list[str] = []

    def say(self, text: str = '') -> None:
        """Print a line, or note it for the end of the step that runs."""
        self._check()
        if self._step:
            self._findings.append(text)
        else:
            self._write(f'{text}\n')

    def last_words(self, text: str) -> None:
        """Print a line whatever happened before."""
        with contextlib.suppress(OSError):
            self._write(f'{text}\n')

    def progress(self, text: str) -> None:
        """Tell how far the step is; shown now and then."""
        self._check()
        self._progress = text

    def rate(self, done_bytes: int, whole_bytes: int) -> None:
        """Tell how many bytes of the step are done, and how fast."""
        text = f'{done_bytes * 100 // whole_bytes:3} %'
        if self.seconds > _REDRAW_S:
            text += f'  {speed(done_bytes, self.seconds)}'
        self.progress(text)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Print the name, run the step, print its seconds and findings."""
        self._check()
        self._step, self._progress, self._findings = name, '', []
        self._begun = time.monotonic()
        over = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(over,), daemon=True)
        self._write(name)
        self._is_open = True
        ticker.start()
        try:
            yield
        except BaseException:
            self._end_step(over, ticker)
            self._write('\n' if self._is_open else '')
            raise
        self._end_step(over, ticker)
        seconds = f' {time.monotonic() - self._begun:.1f} s'
        dots = f'{name} '.ljust(WIDTH - len(seconds), '.')
        begin = '\r' if self._is_terminal else ''
        again = begin or not self._is_open
        line = dots if again else dots[len(name) :]
        clear = '\x1b[K' if self._is_terminal else ''
        self._write(f'{begin}{line}{seconds}{clear}\n')
        for finding in self._findings:
            self._write(f'  {finding}'.rstrip() + '\n')

    @property
    def seconds(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self._begun

    def _end_step(
        self, over: threading.Event, ticker: threading.Thread
    ) -> None:
        over.set()
        ticker.join()
        self._step = ''

    def _tick(self, over: threading.Event) -> None:
        while not over.wait(_REDRAW_S if self._is_terminal else _REPEAT_S):
            with contextlib.suppress(OSError):
                self._show_progress()

    def _show_progress(self) -> None:
        seconds = f' {self.seconds:.1f} s'
        if self._is_terminal:
            columns = min(WIDTH, shutil.get_terminal_size().columns - 1)
            text = f'{self._step}  {self._progress}'
            text = text[: columns - len(seconds)].ljust(columns - len(seconds))
            self._write(f'\r{text}{seconds}\x1b[K')
        elif self._progress:
            begin = '\n' if self._is_open else ''
            self._is_open = False
            self._write(f'{begin}  after{seconds}: {self._progress}\n')

    def _write(self, text: str) -> None:
        with self._lock:
            try:
                sys.stdout.write(text)
                sys.stdout.flush()
            except BrokenPipeError:
                # Nobody reads any more; what follows must not fail of that.
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, sys.stdout.fileno())
                raise


def size(size_bytes: int) -> str:
    """Return *size_bytes* for a person: ``1.5 GiB``."""
    value, unit = float(size_bytes), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f'{value:.1f}'.removesuffix('.0') + f' {_UNITS[unit]}'


def speed(done_bytes: int, seconds: float) -> str:
    """Return how fast it went: ``97 MiB/s``."""
    return f'{done_bytes / seconds / 2**20:.0f} MiB/s'

# SPDX-License-Identifier: Apache-2.0
"""Child processes that do what a line of JSON asks, and answer with one.

Nova's interpreter imports this as well: nothing but Python's own library.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import json
import os
import pathlib
import select
import subprocess
import sys
import time
from typing import Any

from tests.bench import measuring

ROOT = pathlib.Path(__file__).parents[2]
TIMEOUT_S = 300


class ChildError(Exception):
    """A child did not do what was asked; the argument says why."""


class Child:
    """A child process, seen by its parent; it ends when that closes it."""

    def __init__(self, command: Sequence[object], log: pathlib.Path) -> None:
        self._log = log
        with log.open('ab') as output:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, 'PYTHONPATH': str(ROOT)},
                # Ctrl-C is the parent's business.
                start_new_session=True,
            )
        try:
            self.received()
        except ChildError:
            self.close()
            raise

    def ask(self, request: dict[str, Any]) -> None:
        """Send a request; :meth:`answer` waits for what comes of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b'\n')
        self._process.stdin.flush()

    def answer(self) -> measuring.Block:
        """Return what the request took.

        :raises ChildError: it failed, or took too long.
        """
        return measuring.Block(**self.received())

    def close(self) -> None:
        """End the child."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def received(self) -> dict[str, Any]:
        """Return the next line that the child says.

        :raises ChildError: it failed, or took too long.
        """
        deadline = time.monotonic() + TIMEOUT_S
        received = b''
        output = self._process.stdout
        assert output is not None
        while not received.endswith(b'\n'):
            left = max(0, deadline - time.monotonic())
            if not select.select([output], [], [], left)[0]:
                raise ChildError(f'no answer within {TIMEOUT_S} s')
            read = os.read(output.fileno(), 1 << 16)
            if not read:
                raise ChildError(self._last_words())
            received += read
        answered = dict(json.loads(received))
        if 'error' in answered:
            raise ChildError(answered['error'])
        return answered

    def _last_words(self) -> str:
        lines = self._log.read_text(errors='replace').splitlines()
        return '\n'.join(lines[-10:])


def serve(prepare: Callable[[], Callable[..., Any]]) -> None:
    """Do what the parent asks until it closes standard input.

    *prepare* returns what a request is passed to as keyword arguments; that
    returns a dataclass.
    """
    # What libraries print must not come between.
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    try:
        act = prepare()
        answered: dict[str, Any] = {}
        while True:
            print(json.dumps(answered), file=answers, flush=True)
            line = sys.stdin.readline()
            if not line:
                return
            answered = dataclasses.asdict(act(**json.loads(line)))
    except Exception as exc:
        said = {'error': f'{type(exc).__name__}: {exc}'}
        print(json.dumps(said), file=answers, flush=True)
        raise

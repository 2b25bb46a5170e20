# SPDX-License-Identifier: Apache-2.0
"""An administrator: runs rbdcloner-manage as it is installed, from outside."""

import contextlib
import dataclasses
import json
import os
import pathlib
import pty
import subprocess
import sys
from typing import Any

DONE, REFUSED, NOT_FOUND = 0, 1, 3

_PROGRAM = pathlib.Path(sys.executable).with_name('rbdcloner-manage')
_PATIENCE_S = 120


@dataclasses.dataclass(frozen=True)
class Ran:
    """What one run came to."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What it printed for programs."""
        rows: list[dict[str, Any]] = json.loads(self.out)
        return rows


def run(conf: pathlib.Path, *arguments: str) -> Ran:
    """Run a command as a script does."""
    ran = subprocess.run(
        _command(conf, arguments),
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def run_on_terminal(conf: pathlib.Path, *arguments: str) -> Ran:
    """Run a command whose messages are shown where they can be overwritten."""
    ours, its = pty.openpty()
    with (
        open(ours, 'rb', buffering=0) as terminal,
        subprocess.Popen(
            _command(conf, arguments), stdout=subprocess.PIPE, stderr=its
        ) as program,
    ):
        os.close(its)
        shown = b''
        # So Linux says that nobody has the other end open any more.
        with contextlib.suppress(OSError):
            while read := terminal.read(4096):
                shown += read
        out, _ = program.communicate(timeout=_PATIENCE_S)
    return Ran(program.returncode, out.decode(), shown.decode())


def _command(conf: pathlib.Path, arguments: tuple[str, ...]) -> list[str]:
    return [str(_PROGRAM), '--config-file', str(conf), *arguments]

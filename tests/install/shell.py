# SPDX-License-Identifier: Apache-2.0
"""One shell for all blocks of a host, as a reader has it.

What a block leaves behind (a umask, a folder, a variable) meets the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import os
import secrets
import subprocess
from typing import IO


class Shell:
    """A bash that ends at the first command that fails.

    ``wrapper`` is a command that runs another one, where the shell is to be.
    """

    def __init__(
        self, wrapper: Sequence[object], env: Mapping[str, str]
    ) -> None:
        self._process = subprocess.Popen(
            [*map(str, wrapper), 'bash', '-e'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(env),
        )

    def run(self, commands: str) -> str:
        """Run commands; what they print.

        :raises AssertionError: one of them failed, with what was printed
        """
        end = secrets.token_hex(16)
        # Commands must not read those that follow from the shell's input.
        self._write(
            f'. /dev/fd/3 3<<"{end}" </dev/null\n{commands}{end}\necho {end}\n'
        )
        printed = []
        for line in self._pipe(self._process.stdout):
            if line == f'{end}\n':
                return ''.join(printed)
            printed.append(line)
        code = self._process.wait()
        said = ''.join(printed)
        raise AssertionError(f'exit code {code} of:\n{commands}\n{said}')

    def fails(self, command: str) -> str:
        """Run a command that must fail; what it prints."""
        return self.run(f'if {command}; then exit 99; fi\n')

    def close(self) -> None:
        """End the shell."""
        self._pipe(self._process.stdin).close()
        self._process.wait()

    def _write(self, text: str) -> None:
        pipe = self._pipe(self._process.stdin)
        pipe.write(text)
        pipe.flush()

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


def environment(**added: str) -> dict[str, str]:
    """Return a plain environment, with what the machine has for downloads."""
    passed = ('PIP_', 'SSL_', 'REQUESTS_')
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(passed) or name.endswith('_proxy')
    }
    path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
    return {**kept, 'PATH': path, 'LANG': 'C.UTF-8', 'HOME': '/root', **added}

# SPDX-License-Identifier: Apache-2.0
"""A virtual environment as a deployer makes one, with the checkout's wheel."""

import pathlib
import subprocess

from tests.openstack import wheel
from tests.stack import process

#: Debian's, as the documents say: the modules of Ceph are built for it.
_PYTHON = '/usr/bin/python3'
#: What is downloaded takes as long as it does.
_PATIENCE_S = 900
_OLDEST = wheel.ROOT / 'constraints' / 'oldest.txt'


def build(folder: pathlib.Path) -> pathlib.Path:
    """Return the wheel, built in *folder* as pip does it."""
    sources, log = folder / 'sources', folder / 'build.log'
    wheel.copy_sources(sources, log)
    venv = _make(folder / 'builder', log)
    process.run(
        (venv / 'bin' / 'pip', 'wheel', '--no-deps', '-w', folder, sources),
        log,
        env=wheel.ENVIRONMENT,
        timeout_s=_PATIENCE_S,
    )
    (built,) = folder.glob('*.whl')
    return built


def _make(venv: pathlib.Path, log: pathlib.Path) -> pathlib.Path:
    process.run((_PYTHON, '-m', 'venv', venv), log)
    return venv


class Environment:
    """What was installed into a fresh environment, and its programs."""

    def __init__(self, folder: pathlib.Path, wheel_file: str) -> None:
        self.bin = folder / 'venv' / 'bin'
        log = folder / 'install.log'
        _make(folder / 'venv', log)
        process.run(
            (self.bin / 'pip', 'install', '-c', _OLDEST, wheel_file),
            log,
            timeout_s=_PATIENCE_S,
        )

    def run(
        self, program: str, *arguments: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one of its programs, outside the checkout."""
        return subprocess.run(
            [self.bin / program, *arguments],
            cwd=self.bin,
            capture_output=True,
            text=True,
        )

# SPDX-License-Identifier: Apache-2.0
"""The packages beside Nova, of which ours must ask for no others."""

import subprocess
import sys


def test_no_package_lacks_what_it_requires() -> None:
    done = subprocess.run(
        [sys.executable, '-m', 'pip', 'check'],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout

# SPDX-License-Identifier: Apache-2.0
"""Whatever is killed or cut off, nothing is lost, doubled or left."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
import testtools

from tests.demo import scratch

ROOT = pathlib.Path(__file__).parents[2]
CHAOS = (sys.executable, '-m', 'tests.chaos')
TIMEOUT_S = 1800
OPERATIONS = 200
FAULTS = 9
WRONG = ('lost', 'doubled', 'leaked', 'stuck', 'unreadable')


@pytest.mark.timeout(TIMEOUT_S)
class ChaosTest(testtools.TestCase):
    """Each test runs callers and faults on servers of its own.

    The seeds are of plans that have, together, what may lead to a wrong
    conclusion: a Glance and a database that are silent, a frozen machine,
    disks that are renamed and migrated. A backup takes minutes to be an old
    one; tests/functional/test_restored.py restores one.
    """

    def test_all_holds_on_mariadb(self) -> None:
        self.run_chaos('--database', 'mariadb', '--seed', '3')

    def test_all_holds_on_postgresql(self) -> None:
        self.run_chaos('--database', 'postgresql', '--seed', '5')

    def run_chaos(self, *arguments: str) -> None:
        before = folders()
        size = ('--operations', str(OPERATIONS), '--faults', str(FAULTS))
        done = subprocess.run(
            (*CHAOS, *size, *arguments),
            cwd=ROOT,
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        said = done.stdout + done.stderr
        self.assertEqual(0, done.returncode, said)
        figures = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(
            ['operations', 'imports', 'faults', *WRONG, 'quiet_s'],
            list(figures),
        )
        self.assertEqual(OPERATIONS, figures['operations'])
        self.assertLess(0, figures['imports'])
        self.assertGreaterEqual(sum(figures['faults'].values()), FAULTS)
        self.assertGreaterEqual(len(figures['faults']), 7)
        self.assertEqual({0}, {figures[key] for key in WRONG})
        self.assertEqual(before, folders())

    def test_interrupt_ends_everything(self) -> None:
        before = folders()
        with subprocess.Popen(CHAOS, cwd=ROOT, stderr=subprocess.PIPE) as run:
            self.addCleanup(run.kill)
            assert run.stderr is not None
            while b' operations' not in (line := run.stderr.readline()):
                self.assertNotEqual(b'', line)
            (made,) = folders() - before
            folder = scratch.Scratch(made)
            self.addCleanup(folder.end)
            run.send_signal(signal.SIGINT)
            _, said = run.communicate(timeout=TIMEOUT_S)
        self.assertEqual(130, run.returncode, said)
        self.assertEqual([], folder.processes())
        self.assertFalse(made.exists())


def folders() -> set[pathlib.Path]:
    """The folders of runs that go on, or left something."""
    return set(pathlib.Path('/tmp').glob('rbdcloner-chaos-*'))

# SPDX-License-Identifier: Apache-2.0
"""The demonstration does what it says, and nothing outlives it."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys

import testtools

from tests.demo import scratch
from tests.stack import process

ROOT = pathlib.Path(__file__).parents[2]
DEMO = (sys.executable, '-m', 'tests.demo')
TIMEOUT_S = 120


class DemoTest(testtools.TestCase):
    """Each test runs demonstrations on servers of their own."""

    def test_everything_is_shown_and_ended(self) -> None:
        done = self.run_demo('--size', '64M')
        self.assertEqual(0, done.returncode, done.stdout)
        for wanted in (
            r'^Upload the image to Glance \.+ [\d.]+ s$',
            r'^  web-1_disk once more +the same answer +[\d.]+ s$',
            r'^  a disk by rbdcloner \(median\) +[\d.]+ s +0 B$',
            r'^  rbd import of the same image +[\d.]+ s +64 MiB$',
            r'^  read back the same; the disk takes 16 MiB now$',
            r'^Read the image in Ceph again \.+ [\d.]+ s$',
            r'^  refused: ImageTooBig; nothing was made$',
            r'^  db-1_disk +retired +[\d.]+ s$',
            r'^  db-1_disk once more +(retired|deleted) +[\d.]+ s$',
            r'^\| .* vms/db-1_disk +\| deleted',
            r'^└── vms/web-2_disk ',
            r'^  snapshot +128 MiB, 0 B copied +[\d.]+ s$',
            r'^  web-1_disk +retired +[\d.]+ s$',
            r'^  it has what was written, and the image elsewhere$',
            r'^  both pools and trashes +empty +[\d.]+ s$',
            r'^Everything was as printed\.',
        ):
            self.assertRegex(done.stdout, re.compile(wanted, re.MULTILINE))
        self.assertEqual('', done.stderr)
        widest = max(map(len, done.stdout.splitlines()))
        self.assertLessEqual(widest, 80)
        self.require_nothing_left(folder_of(done.stdout))

    def test_interrupt_while_servers_start_ends_them(self) -> None:
        self.require_end_by(signal.SIGINT, 130, 'Start Ceph')

    def test_termination_half_way_ends_everything(self) -> None:
        self.require_end_by(signal.SIGTERM, 143, 'Upload the image')

    def test_kept_one_answers_until_down(self) -> None:
        kept = self.run_demo('--size', '32M', '--keep')
        self.assertEqual(0, kept.returncode, kept.stdout)
        folder = folder_of(kept.stdout)
        self.addCleanup(folder.end)
        snippet = re.findall(r'^  >>> (.*)$', kept.stdout, re.MULTILINE)
        answer = self.run_program(sys.executable, '-c', '\n'.join(snippet))
        self.assertIn("'workers': 2", answer.stdout)
        down = self.run_demo('down', str(folder.path))
        self.assertEqual(0, down.returncode, down.stdout)
        self.require_nothing_left(folder)

    def test_unreachable_database_is_refused_at_once(self) -> None:
        url = 'mysql+pymysql://me:secret@127.0.0.1:1/lineage'
        done = self.run_demo('--database', url)
        self.assertEqual(1, done.returncode)
        self.assertIn('mysql+pymysql://127.0.0.1:1/lineage', done.stdout)
        self.assertNotIn('secret', done.stdout + done.stderr)

    def run_demo(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run_program(*DEMO, *arguments)

    @staticmethod
    def run_program(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    def require_end_by(self, number: int, code: int, step: str) -> None:
        """Run one, send the signal twice when the step has begun."""
        with subprocess.Popen(
            (*DEMO, '--size', '64M'), cwd=ROOT, stdout=subprocess.PIPE
        ) as demo:
            self.addCleanup(demo.kill)
            assert demo.stdout is not None
            printed = b''
            while step.encode() not in printed:
                read = os.read(demo.stdout.fileno(), 4096)
                self.assertNotEqual(b'', read, printed)
                printed += read
            folder = folder_of(printed.decode())
            self.addCleanup(folder.end)
            if step.startswith('Start'):
                wait_for_pid_files(folder)
            demo.send_signal(number)
            demo.send_signal(number)
            rest, _ = demo.communicate(timeout=TIMEOUT_S)
        self.assertEqual(code, demo.returncode, rest)
        self.assertIn(b'Interrupted.', rest)
        self.require_nothing_left(folder)

    def require_nothing_left(self, folder: scratch.Scratch) -> None:
        self.assertEqual([], folder.processes())
        self.assertFalse(folder.path.exists())


def folder_of(output: str) -> scratch.Scratch:
    """The folder that a demonstration names first of all."""
    path = re.search(r'/tmp/rbdcloner-demo-\w+', output)
    assert path, output
    return scratch.Scratch(pathlib.Path(path[0]))


def wait_for_pid_files(folder: scratch.Scratch) -> None:
    """Return once the first servers run."""
    process.wait_until(
        lambda: any(folder.stack.glob('pids/*.pid')), 'a first server'
    )

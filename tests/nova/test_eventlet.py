# SPDX-License-Identifier: Apache-2.0
"""The same under eventlet, where a call into Ceph would stop everybody."""

import json
import os

from tests.functional.service import MIB
from tests.nova import compute

#: Without Nova's pool of native threads it was 0.45 s, with it 0.01 s.
LONGEST_PAUSE_S = 0.25


class ThreadsTest(compute.ComputeTest):
    def run_on(self, eventlet: bool) -> None:
        path = self.file(os.urandom(64 * MIB))
        ran = self.elsewhere('boot', eventlet, path=path)
        self.assertEqual(0, ran.returncode, ran.stderr)
        told = json.loads(ran.stdout.splitlines()[-1])
        self.assertEqual(eventlet, told['green'])
        self.assertEqual([80 * MIB] * 4, told['used'])
        self.assertLess(told['longest_pause_s'], LONGEST_PAUSE_S)

    def test_native_threads(self) -> None:
        self.run_on(False)

    def test_eventlet(self) -> None:
        self.run_on(True)

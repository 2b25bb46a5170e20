# SPDX-License-Identifier: Apache-2.0
"""The same under eventlet, where a call into Ceph would stop everybody."""

import json
import os

from nova import utils

from tests.functional.service import MIB
from tests.nova import compute

#: Others run as often while a disk is written: each millisecond, where there
#: is a processor for them. Without Nova's pool of native threads never.
TICKS = 5


class ThreadsTest(compute.ComputeTest):
    def run_on(self, eventlet: bool) -> None:
        path = self.file(os.urandom(64 * MIB))
        ran = self.elsewhere('boot', eventlet, path=path)
        self.assertEqual(0, ran.returncode, ran.stderr)
        told = json.loads(ran.stdout.splitlines()[-1])
        self.assertEqual(eventlet, told['green'])
        self.assertEqual([80 * MIB] * 4, told['used'])
        self.assertLessEqual(TICKS, told['ticks'], told)

    def test_eventlet(self) -> None:
        self.run_on(True)

    # nova-compute has no others in Nova 31 and 32.
    if hasattr(utils, 'tpool_wrap'):

        def test_native_threads(self) -> None:
            self.run_on(False)

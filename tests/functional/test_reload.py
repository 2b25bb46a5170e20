# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: what can be changed is, and no request is lost."""

from concurrent import futures
import os
import re
import signal
from typing import Any
from typing import ClassVar

import psutil
from testtools import matchers

from rbdcloner.db import engine
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Filters
from rbdcloner.model import FlattenReason
from tests.functional import service
from tests.stack import process

WORKERS = 2
STARTS_WITHIN_S = 60


class ReloadTest(service.ServiceTest):
    """Each test ends with the file as it was at first."""

    options: ClassVar[dict[str, dict[str, object]]] = {'flatten': {'limit': 0}}

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.reload, self.options)

    @property
    def daemon(self) -> process.Daemon:
        return self.manager.daemons[self.manager.name]

    def reload(self, options: dict[str, dict[str, object]]) -> str:
        """Write the file, send SIGHUP; what is logged until it is done."""
        self.manager.configure(options)
        return self.hang_up()

    def hang_up(self) -> str:
        """Send SIGHUP; what is logged until other workers answer."""
        seen = len(self.manager.output)
        before = self.workers()
        os.kill(self.master().pid, signal.SIGHUP)

        def are_replaced() -> bool:
            now = self.workers()
            return len(now) == WORKERS and not now & before

        process.wait_until(are_replaced, 'new workers', STARTS_WITHIN_S)
        return self.manager.output[seen:]

    def master(self) -> psutil.Process:
        running = self.daemon.process
        assert running is not None
        return running

    def workers(self) -> set[int]:
        """Return the processes that answer."""
        found = re.findall(r'Worker (\d+) answers', self.manager.output)
        ended = re.findall(r'Worker (\d+) has finished', self.manager.output)
        living = {each.pid for each in self.master().children()}
        return living & {int(pid) for pid in set(found) - set(ended)}

    def flattens(self) -> list[tuple[Any, ...]]:
        return self.select('SELECT state FROM flattens')

    def want_flatten(self) -> None:
        disk = self.create()
        connected = engine.connect(self.database_url)
        self.addCleanup(connected.dispose)
        lineage = Lineage(connected)
        (clone,) = lineage.page(Filters(uuid=disk['uuid']))
        lineage.want_flatten(clone, FlattenReason.RELEASE)

    def test_options_take_effect(self) -> None:
        self.want_flatten()
        said = self.reload(
            {
                'DEFAULT': {'debug': True, 'recovery_interval': 7},
                'flatten': {'limit': 3},
            }
        )
        self.assertIn('flatten.limit changed from [0] to [3]', said)
        self.assertIn('DEFAULT.recovery_interval changed', said)
        self.assert_becomes([('done',)], self.flattens)
        self.assertIn(' DEBUG ', self.manager.output[-len(said) :] + said)
        quiet = len(self.manager.output)
        self.reload(self.options)
        self.create()
        after = self.manager.output[quiet:].partition('answers on')[2]
        self.assertNotIn(' DEBUG ', after)

    def test_what_needs_a_restart_is_named_and_stays(self) -> None:
        said = self.reload(
            {
                'DEFAULT': {'workers': WORKERS + 1, 'host': 'another'},
                'ceph': {'user': 'nobody'},
                **self.options,
            }
        )
        for option in ('DEFAULT.workers', 'DEFAULT.host', 'ceph.user'):
            self.assertIn(f'change to immutable option {option}', said)
        self.assertEqual('ready', self.create()['state'])
        self.assertThat(self.workers(), matchers.HasLength(WORKERS))

    def test_calls_in_flight_are_answered(self) -> None:
        """The client asks again for what reached a worker as it ended."""
        self.create()
        with futures.ThreadPoolExecutor(12) as pool:
            calls = [pool.submit(self.create) for _ in range(24)]
            seen, logged = len(self.rows()), len(self.manager.output)
            process.wait_until(
                lambda: len(self.rows()) > seen, 'a call in flight'
            )
            said = self.hang_up()
            disks = [call.result() for call in calls]
        self.assertEqual({'ready'}, {disk['state'] for disk in disks})
        self.assertThat(
            {disk['uuid'] for disk in disks}, matchers.HasLength(24)
        )
        self.assertIn('create_disk: ok', said)
        self.assertNotIn('Traceback', self.manager.output[logged:])

    def test_a_file_with_an_error_changes_nothing(self) -> None:
        good = self.manager.conf.read_text()
        for bad, reason in (
            ('[flatten]\nlimit = many\n', 'many'),
            ('[oslo_messaging_rabbit]\nrabbit_quorum_queue = so\n', 'so'),
            ('nonsense\n', 'nonsense'),
        ):
            self.manager.conf.write_text(f'{good}{bad}')
            said = self.hang_up()
            (line,) = [each for each in said.splitlines() if ' ERROR ' in each]
            self.assertIn('The configuration stays as it was', line)
            self.assertIn(reason, said)
            self.assertNotIn('Traceback', said)
            self.assertEqual('ready', self.create()['state'])

    def test_a_missing_file_changes_nothing(self) -> None:
        self.manager.conf.unlink()
        said = self.hang_up()
        self.assertIn('The configuration stays as it was', said)
        self.assertIn(str(self.manager.conf), said)
        self.assertEqual('ready', self.create()['state'])

# SPDX-License-Identifier: Apache-2.0
"""The service's key is replaced while managers work; none is restarted."""

from concurrent import futures
import re
import threading
from typing import ClassVar

from rbdcloner import errors
from rbdcloner import rpcapi
from tests import stack
from tests.ceph import keys
from tests.functional import service
from tests.stack import process

USER = 'client.rotated'
CALLERS = 3
TIMEOUT_S = 3
#: A caller's, in which each attempt may time out once.
PATIENCE_S = 4 * TIMEOUT_S


class KeyRotationTest(service.ServiceTest):
    options: ClassVar[dict[str, dict[str, object]]] = {
        'ceph': {'user': 'rotated', 'timeout': TIMEOUT_S}
    }

    @classmethod
    def setUpClass(cls) -> None:
        cluster = stack.shared().ceph
        cls.keyring = keys.generate(USER)
        keys.tell(cluster, cls.keyring)
        cls.addClassCleanup(cluster.keyring(USER).unlink)
        cls.addClassCleanup(cluster.mon_command, 'auth del', entity=USER)
        keys.write(cluster, USER, cls.keyring)
        super().setUpClass()

    def setUp(self) -> None:
        super().setUp()
        self.workers = self.pids()
        self.addCleanup(lambda: self.assertEqual(self.workers, self.pids()))

    def pids(self) -> list[str]:
        """Return every worker that has ever begun."""
        return re.findall(r'Worker (\d+) answers', self.manager.output)

    def clients(self) -> set[str]:
        return set(self.servers.ceph.clients(USER))

    def assert_all_connect_anew(self, before: set[str]) -> None:
        """Return when no connection of *before* is left, but new ones are."""

        def are_new() -> bool:
            now = self.clients()
            return len(now) >= len(self.workers) and not now & before

        process.wait_until(are_new, 'connections with the new key')

    def test_no_request_fails_when_the_keyring_is_written_next(self) -> None:
        before = self.clients()
        stopping = threading.Event()
        with futures.ThreadPoolExecutor(CALLERS) as pool:
            calls = [pool.submit(self.work, stopping) for _ in range(CALLERS)]
            try:
                new = keys.generate(USER)
                keys.tell(self.servers.ceph, new)
                keys.write(self.servers.ceph, USER, new)
                self.assert_all_connect_anew(before)
                # Ends the sessions; those with the old key do not come back.
                self.servers.ceph.restart('mon')
                self.assertEqual('ready', self.create()['state'])
            finally:
                stopping.set()
            made = [call.result() for call in calls]
        self.assertTrue(all(made), made)
        self.assertIn('anew, with the new key', self.manager.output)

    def work(self, stopping: threading.Event) -> int:
        """Make disks and delete them until it is time; how many."""
        made = 0
        while not made or not stopping.is_set():
            disk = self.create()
            self.assertEqual('ready', disk['state'])
            self.api.delete_disk(self.ctxt, disk['name'], disk['pool'])
            made += 1
        return made

    def test_service_recovers_when_the_keyring_is_written_late(self) -> None:
        new = keys.generate(USER)
        keys.tell(self.servers.ceph, new)
        self.servers.ceph.restart('mon')
        self.servers.ceph.restart('osd')
        asked = self.asked()
        api = self.api.within(PATIENCE_S)

        def is_refused() -> bool:
            try:
                self.create_by(api, asked)
            except errors.CephAuthentication as exc:
                self.assertIn(USER, str(exc))
                self.assertIn('Ceph refuses the key', str(exc))
                self.assertTrue(exc.retryable)
                return True
            except errors.Error as exc:
                self.assertTrue(exc.retryable, exc)
            return False

        process.wait_until(is_refused, 'the refusal', timeout_s=120)
        keys.write(self.servers.ceph, USER, new)
        disk = self.create_by(self.api, asked)
        self.assertEqual('ready', disk['state'])
        for _ in self.workers:
            self.assertEqual('ready', self.create()['state'])

    def create_by(
        self, api: rpcapi.API, asked: dict[str, object]
    ) -> rpcapi.Disk:
        return api.create_disk(self.ctxt, **asked)

    def test_keyring_that_is_written_first_waits_for_ceph(self) -> None:
        before = self.clients()
        seen = len(self.manager.output)

        def said() -> str:
            return self.manager.output[seen:]

        new = keys.generate(USER)
        keys.write(self.servers.ceph, USER, new)
        refused = 'The key rotation is tried again: Ceph refuses the key of '
        process.wait_until(
            lambda: said().count(refused) == len(self.workers), 'the warning'
        )
        self.assertEqual('ready', self.create()['state'])
        self.assertEqual(before, self.clients())
        keys.tell(self.servers.ceph, new)
        self.assert_all_connect_anew(before)
        again = 'The key rotation works again'
        process.wait_until(
            lambda: said().count(again) == len(self.workers),
            'a line of each worker',
        )
        self.assertNotIn('Traceback', said())

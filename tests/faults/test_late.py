# SPDX-License-Identifier: Apache-2.0
"""Requests that are executed after their callers gave up, or twice.

Two managers: one has a single thread that is kept busy, so that what is sent
to it comes late.
"""

from typing import Any
from typing import ClassVar
import uuid

import oslo_messaging as messaging

from rbdcloner import errors
from rbdcloner import rpc
from tests.faults import slow_program
from tests.functional import looking
from tests.functional import service
from tests.stack import manager
from tests.stack import process

#: Each takes the only thread for a second.
BEFORE_IT = 5
GIVES_UP_S = 1


class LateTest(service.ServiceTest):
    database: ClassVar[str] = 'mariadb'

    def setUp(self) -> None:
        super().setUp()
        self.busy = self.useFixture(
            manager.Manager(
                self.servers,
                self.database_url,
                name=f'{self.manager.name}-{uuid.uuid4().hex[:6]}',
                options={
                    'DEFAULT': {'workers': 1, 'executor_thread_pool_size': 1}
                },
                sync=False,
                program=slow_program.COMMAND,
            )
        )
        transport = rpc.transport(self.manager.load_conf())
        self.addCleanup(transport.cleanup)
        self.client = rpc.client(transport, None)

    def send(
        self, method: str, call_id: str = '', after: int = 0, **given: Any
    ) -> Any:
        """Have it done at once, by the manager that is not busy."""
        at_once = self.client.prepare(
            server=self.manager.name, timeout=looking.SETTLES_S
        )
        return at_once.call(self.caller(call_id, after), method, **given)

    def send_late(self, method: str, call_id: str = '', **given: Any) -> None:
        """Send it to where it has to wait, and give up."""
        disks = [self.create() for _ in range(BEFORE_IT)]
        waiting = self.client.prepare(
            server=self.busy.name, timeout=GIVES_UP_S
        )
        for disk in disks:
            # Nobody waits for the answer.
            waiting.cast(
                self.caller(), 'delete_disk', name=disk['name'], pool='vms'
            )
        self.assertRaises(
            messaging.MessagingTimeout,
            waiting.call,
            self.caller(call_id),
            method,
            **given,
        )
        self.assertNotIn(f'{method}: ', self.last_said())

    def caller(self, call_id: str = '', after: int = 0) -> dict[str, Any]:
        """Return a context without the patience that a client has."""
        call_id = call_id or uuid.uuid4().hex
        return rpc.Caller(call_id=call_id, after=after).pack()

    def last_said(self) -> str:
        """Return what the busy manager has said after its deletions."""
        said = self.busy.output.split('delete_disk: ok', BEFORE_IT)
        return said[BEFORE_IT] if len(said) > BEFORE_IT else ''

    def assert_said_late(self, what: str) -> None:
        process.wait_until(lambda: what in self.last_said(), what)

    def test_creation_after_its_callers_clean_up(self) -> None:
        asked = self.asked()
        self.send_late('create_disk', **asked)
        self.assertEqual(
            [], self.send('delete_disks', instance_uuid=asked['instance_uuid'])
        )
        self.assert_said_late('create_disk: CreationOutdated')
        self.assertEqual([], self.rows(f"name = '{asked['name']}'"))
        self.assertNotIn(asked['name'], self.in_ceph())

    def test_creation_delivered_again_after_the_deletion(self) -> None:
        asked, call_id = self.asked(), uuid.uuid4().hex
        self.send('create_disk', call_id, **asked)
        self.send_late('create_disk', call_id, **asked)
        self.send('delete_disk', name=asked['name'], pool='vms')
        self.assert_said_late('create_disk: CreationOutdated')
        ((_, state),) = self.rows(f"name = '{asked['name']}'")
        self.assertIn(state, ('retired', 'deleted'))

    def test_deletion_delivered_again_after_the_next_creation(self) -> None:
        asked, call_id = self.asked(), uuid.uuid4().hex
        named = {'name': asked['name'], 'pool': 'vms'}
        self.send('create_disk', **asked)
        self.send('delete_disk', call_id, **named)
        self.send_late('delete_disk', call_id, **named)
        refused = self.assertRaises(
            errors.CreationOutdated, self.send, 'create_disk', **asked
        )
        known = refused.kwargs['later']
        self.send('create_disk', after=known, **asked)
        self.assert_said_late('delete_disk: ok')
        self.assertEqual('ready', self.send('get_disk', **named)['state'])

    def test_rollback_delivered_late_leaves_what_was_written_since(
        self,
    ) -> None:
        disk, named = self.disk_with_a_snapshot()
        late = {**named, 'snapshot': 'then'}
        self.send_late('rollback_disk', **late)
        known = self.last_number(disk)
        self.send('remove_snapshot', after=known, **late)
        known = self.last_number(disk)
        self.send('create_snapshot', after=known, **late)
        self.write(disk, 0, b'since')
        self.assert_said_late('rollback_disk: RequestOutdated')
        self.assertEqual(b'since', self.read(disk, 0, 5))

    def test_rollback_delivered_again_leaves_what_was_written_since(
        self,
    ) -> None:
        disk, named = self.disk_with_a_snapshot()
        again = {**named, 'snapshot': 'then'}
        call_id = uuid.uuid4().hex
        known = self.last_number(disk)
        self.send('rollback_disk', call_id, known, **again)
        self.write(disk, 0, b'since')
        self.send_late('rollback_disk', call_id, **again)
        self.assert_said_late('rollback_disk: ok')
        self.assertEqual(b'since', self.read(disk, 0, 5))

    def test_removal_delivered_late_leaves_the_next_snapshot(self) -> None:
        disk, named = self.disk_with_a_snapshot()
        late = {**named, 'snapshot': 'then'}
        self.send_late('remove_snapshot', **late)
        self.send('remove_snapshot', after=self.last_number(disk), **late)
        self.send('create_snapshot', after=self.last_number(disk), **late)
        self.assert_said_late('remove_snapshot: RequestOutdated')
        known = self.last_number(disk)
        self.send('rollback_disk', after=known, **late)

    def test_resize_delivered_late_leaves_the_next_disk(self) -> None:
        asked = self.asked()
        self.send('create_disk', **asked)
        named = {'name': asked['name'], 'pool': 'vms'}
        size_bytes = asked['size_bytes']
        self.send_late('resize_disk', **named, size_bytes=2 * size_bytes)
        self.send('delete_disk', **named)
        known = self.last_number(asked)
        self.send('create_disk', after=known, **asked)
        self.assert_said_late('resize_disk: RequestOutdated')
        disk = self.send('get_disk', **named)
        self.assertEqual(size_bytes, disk['size_bytes'])

    def disk_with_a_snapshot(self) -> tuple[Any, dict[str, Any]]:
        disk = self.create()
        named = {'name': disk['name'], 'pool': 'vms'}
        self.send('create_snapshot', **named, snapshot='then')
        return disk, named

    def last_number(self, disk: Any) -> int:
        """Return the number of the last request for the disk's name."""
        ((number,),) = self.select(
            f"SELECT max(id) FROM deletions WHERE name = '{disk['name']}'"  # noqa: S608
        )
        return int(number)

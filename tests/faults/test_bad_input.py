# SPDX-License-Identifier: Apache-2.0
"""What is wrong gets its name in bounded time and leaves nothing behind."""

from collections.abc import Iterator
from concurrent import futures
import contextlib
import sqlite3
import struct
import time
from typing import Any
import uuid

import oslo_messaging as messaging
import rbd
from testtools import matchers

from rbdcloner import errors
from rbdcloner import rpc
from rbdcloner import rpcapi
from tests.functional import service
from tests.functional.service import GOLDEN
from tests.functional.service import MIB

NOBODY = '00000000-0000-4000-8000-000000000000'
SOON_S = 20
#: Of a database to another host.
FAILOVER_S = 5

# An empty disk of 1 MiB; docs/interop/qcow2.txt in QEMU's source.
_QCOW2 = struct.pack(
    '>4sIQIIQIIQQIIQ',
    b'QFI\xfb',
    2,
    0,
    0,
    16,
    MIB,
    0,
    1,
    2**17,
    2**16,
    1,
    0,
    0,
).ljust(2**18, b'\0')

#: (argument of create_disk, values that are refused)
WRONG_VALUES: dict[str, tuple[Any, ...]] = {
    'image_id': ('', 'no-uuid', '../images', None, 7, ['x'], {'a': 1}),
    'name': ('', 'a/b', 'a@b', ' a', 'a ', 'a\nb', 'x' * 256, None, 7),
    'pool': ('', 'a/b', 'a@b', None, 7),
    'size_bytes': (0, -1, 2**63, 10**30, 1.5, '8388608', None, True, [8]),
    'instance_uuid': ('', 'no-uuid', None, 7),
    'project_id': (None, 7, 'x' * 256),
    'host': (None, 7, 'x' * 256, 'a\0b'),
}


class BadInputTest(service.ServiceTest):
    def refused(self, error: type, **changes: Any) -> errors.Error:
        """Assert that a create with *changes* is refused, leaving no row."""
        before = self.rows()
        raised = self.assertRaises(error, self.create, **changes)
        self.assertEqual(before, self.rows())
        self.assertEqual(self.before, self.in_ceph())
        return raised

    def test_wrong_values_name_their_argument(self) -> None:
        for argument, values in WRONG_VALUES.items():
            for value in values:
                error = self.refused(
                    errors.InvalidArgument, **{argument: value}
                )
                self.assertEqual(argument, error.kwargs['argument'])

    def test_wrong_values_of_the_other_methods_are_named(self) -> None:
        calls = (
            ('is_cloneable', ('no-uuid',)),
            ('get_disk', ('a/b', 'vms')),
            ('get_disk_size', ('a', None)),
            ('resize_disk', ('a', 'vms', 0)),
            ('delete_disk', (7, 'vms')),
            ('delete_disks', ('no-uuid',)),
            ('list_disks', (NOBODY, 'one')),
            ('list_disks', (None, None, 'sleeping')),
            ('list_disks', (None, None, None, -1)),
            ('list_disks', (None, None, None, 0, 1001)),
        )
        for method, given in calls:
            call = getattr(self.api, method)
            self.assertRaises(errors.InvalidArgument, call, self.ctxt, *given)

    def test_unknown_image(self) -> None:
        self.refused(errors.ImageNotFound, image_id=NOBODY)
        self.assertRaises(
            errors.ImageNotFound, self.api.is_cloneable, self.ctxt, NOBODY
        )

    def test_image_without_data(self) -> None:
        image = self.servers.glance.client().images.create(
            name='queued', disk_format='raw', container_format='bare'
        )
        self.refused(errors.ImageNotActive, image_id=image.id)

    def test_image_of_nobody_that_is_private(self) -> None:
        image = self.servers.glance.upload('own', b'x', visibility='private')
        self.refused(errors.ImageForbidden, image_id=image.id)

    def test_image_that_is_not_raw(self) -> None:
        image = self.servers.glance.upload('q', _QCOW2, 'qcow2')
        error = self.refused(errors.ImageNotCloneable, image_id=image.id)
        self.assertIn('not-raw', str(error))
        verdict = self.api.is_cloneable(self.ctxt, image.id)
        self.assertFalse(verdict['cloneable'])
        self.assertEqual('not-raw', verdict['refusals'][0]['reason'])

    def test_locations_that_cannot_be_cloned_each_say_why(self) -> None:
        fsid = self.servers.ceph.fsid
        reasons = {
            'rbd://only-an-image': 'not-a-snapshot',
            f'rbd://{fsid}/images//snap': 'malformed',
            f'rbd://{fsid}/images/a/b/c': 'malformed',
            f'rbd://{NOBODY}/images/a/snap': 'other-cluster',
            f'rbd://{fsid}/nowhere/a/snap': 'pool-missing',
            f'rbd://{fsid}/images/absent/snap': 'image-missing',
            f'rbd://{fsid}/images/{self.image_id}/no': 'snapshot-missing',
            'file:///etc/passwd': 'not-rbd',
        }
        for url, reason in reasons.items():
            image_id = self.image_at(url)
            verdict = self.api.is_cloneable(self.ctxt, image_id)
            self.assertEqual(
                [(url, reason)],
                [(r['location'], r['reason']) for r in verdict['refusals']],
            )
            error = self.refused(errors.ImageNotCloneable, image_id=image_id)
            self.assertIn(reason, str(error))

    def test_location_in_a_pool_that_the_key_may_not_read(self) -> None:
        self.servers.ceph.create_pool('secret')
        self.addCleanup(self.servers.ceph.delete_pool, 'secret')
        fsid = self.servers.ceph.fsid
        image_id = self.image_at(f'rbd://{fsid}/secret/image/snap')
        verdict = self.api.is_cloneable(self.ctxt, image_id)
        self.assertEqual('forbidden', verdict['refusals'][0]['reason'])

    def test_image_that_changed_since_its_snapshot_was_trashed(self) -> None:
        image_id = self.servers.glance.upload('t', GOLDEN).id
        disk = self.create(image_id=image_id)
        with (
            self.pool('images') as ioctx,
            rbd.Image(ioctx, image_id) as image,
        ):
            image.unprotect_snap('snap')
            image.remove_snap('snap')
            image.resize(2 * len(GOLDEN))
        error = self.assertRaises(
            errors.ImageDamaged, self.create, image_id=image_id
        )
        self.assertEqual(image_id, error.kwargs['image_id'])
        self.assertEqual(GOLDEN, self.read(disk, 0, len(GOLDEN)))

    def test_image_larger_than_the_disk(self) -> None:
        error = self.refused(errors.ImageTooBig, size_bytes=len(GOLDEN) - 1)
        self.assertEqual(len(GOLDEN), error.kwargs['image_bytes'])

    def test_unknown_pool(self) -> None:
        error = self.refused(errors.PoolNotServed, pool='nowhere')
        self.assertIn('vms', str(error))
        self.refused(errors.PoolNotServed, pool='images')

    def test_name_of_an_image_that_is_not_ours(self) -> None:
        asked = self.asked()
        with self.pool() as ioctx:
            rbd.RBD().create(ioctx, asked['name'], MIB)
            self.addCleanup(self.remove_stranger, asked['name'])
            with rbd.Image(ioctx, asked['name'], read_only=True) as image:
                stranger = image.id()
            self.assertRaises(
                errors.NameTaken, self.api.create_disk, self.ctxt, **asked
            )
            self.assertRaises(
                errors.DiskNotFound,
                self.api.delete_disk,
                self.ctxt,
                'never-asked-for',
                'vms',
            )
            with rbd.Image(ioctx, asked['name'], read_only=True) as image:
                self.assertEqual(stranger, image.id())
                self.assertEqual([], list(image.metadata_list()))

    def test_name_of_a_disk_from_another_image(self) -> None:
        other = self.servers.glance.upload('other', GOLDEN).id
        disk = self.create()
        error = self.assertRaises(
            errors.DiskDiffers,
            self.create,
            name=disk['name'],
            instance_uuid=disk['instance_uuid'],
            image_id=other,
        )
        self.assertEqual('image', error.kwargs['field'])
        self.assertEqual(
            disk, self.api.get_disk(self.ctxt, disk['name'], 'vms')
        )

    def test_disk_that_a_guest_has_open_is_deleted_when_it_closes(
        self,
    ) -> None:
        disk = self.create()
        with self.pool() as ioctx:
            guest = rbd.Image(ioctx, disk['name'])
            try:
                self.assertRaises(
                    errors.DiskInUse,
                    self.api.delete_disk,
                    self.ctxt,
                    disk['name'],
                    'vms',
                )
                guest.write(b'goes on', 0)
            finally:
                guest.close()
        gone = self.api.delete_disk(self.ctxt, disk['name'], 'vms')
        self.assertEqual('retired', gone['state'])

    def test_methods_and_versions_that_do_not_exist(self) -> None:
        target = messaging.Target(
            exchange=rpc.EXCHANGE, topic=rpc.TOPIC, version='1.0'
        )
        client = messaging.get_rpc_client(
            rpc.transport(self.manager.load_conf()), target, timeout=20
        )
        for call in (
            lambda: client.call({}, 'drop_everything'),
            lambda: client.prepare(version='1.99').call({}, 'ping'),
            lambda: client.prepare(version='2.0').call({}, 'ping'),
        ):
            self.assertRaises(errors.VersionRefused, call)
        for given in ({}, {'image': 'x'}, {'image_id': 'x', 'more': 1}):
            self.assertRaises(
                errors.InvalidArgument,
                client.call,
                {},
                'is_cloneable',
                **given,
            )

    def test_version_above_the_configured_cap(self) -> None:
        conf = self.manager.load_conf()
        conf.set_override('rbdcloner', '0.9', 'upgrade_levels')
        self.addCleanup(conf.clear_override, 'rbdcloner', 'upgrade_levels')
        capped = rpcapi.API.from_conf(conf)
        error = self.assertRaises(
            errors.VersionRefused, capped.ping, self.ctxt
        )
        self.assertIn('0.9', str(error))
        conf.set_override('rbdcloner', '1.0', 'upgrade_levels')
        self.assertIn('fsid', rpcapi.API.from_conf(conf).ping(self.ctxt))

    def test_errors_on_the_wire_tell_nothing_of_our_inside(self) -> None:
        target = messaging.Target(
            exchange=rpc.EXCHANGE, topic=rpc.TOPIC, version='1.0'
        )
        client = messaging.get_rpc_client(
            rpc.transport(self.manager.load_conf()), target, timeout=20
        )
        for method, given in (
            ('get_disk', {'name': 'absent', 'pool': 'vms'}),
            ('create_disk', self.asked(size_bytes=1)),
            ('create_disk', self.asked(image_id=NOBODY)),
            ('create_disk', {}),
            ('nothing', {}),
        ):
            error = self.assertRaises(
                errors.Error, client.call, {}, method, **given
            )
            for private in ('Traceback', 'File "', '.py', 'keyring', 'sqlite'):
                self.assertNotIn(private, str(error))

    def image_at(self, url: str) -> str:
        """Return an active image whose only location is *url*.

        Glance refuses to be told such locations, so its database is.
        """
        image_id = self.servers.glance.upload('at', b'x').id
        path = self.servers.glance.folder / 'glance.sqlite'
        with contextlib.closing(sqlite3.connect(path, 20)) as database:
            database.execute(
                'UPDATE image_locations SET value = ? WHERE image_id = ?',
                (url, image_id),
            )
            database.commit()
        return image_id

    def remove_stranger(self, name: str) -> None:
        with self.pool() as ioctx:
            rbd.RBD().remove(ioctx, name)


class FaultsTest(service.ServiceTest):
    """Servers that are down, slow or full, with short timeouts.

    Who waits for less than they are down is told of it.
    """

    database = 'mariadb'
    options = {  # noqa: RUF012
        'DEFAULT': {'recovery_interval': 1},
        'ceph': {'timeout': 3},
        'glance': {'timeout': 2},
        'database': {'max_retries': 0},
    }

    def setUp(self) -> None:
        super().setUp()
        self.impatient = self.api.within(8)
        self.threads = futures.ThreadPoolExecutor(4)
        self.addCleanup(self.threads.shutdown)

    @contextlib.contextmanager
    def soon(self) -> Iterator[None]:
        """Assert that the body takes no longer than a timeout or two."""
        started = time.monotonic()
        yield
        self.assertThat(time.monotonic() - started, matchers.LessThan(SOON_S))

    def give_up(self, asked: dict[str, object]) -> None:
        """Delete what a late attempt may have made, as Nova does."""
        with contextlib.suppress(errors.DiskNotFound):
            self.api.delete_disk(self.ctxt, asked['name'], 'vms')

    def settle(self) -> None:
        """Wait until no row is in progress any more."""
        deadline = time.monotonic() + 60
        while self.rows("live = 1 AND state <> 'ready'"):
            self.assertThat(time.monotonic(), matchers.LessThan(deadline))
            time.sleep(0.2)

    def test_glance_down(self) -> None:
        image_id = self.servers.glance.upload('down', GOLDEN).id
        self.servers.glance.stop()
        self.addCleanup(self.servers.glance.start)
        with self.soon():
            self.assertRaises(
                errors.GlanceUnavailable,
                self.impatient.create_disk,
                self.ctxt,
                **self.asked(image_id=image_id),
            )
        self.assertEqual([], self.rows('live = 1'))

    def test_glance_slow(self) -> None:
        image_id = self.servers.glance.upload('slow', GOLDEN).id
        asked = self.asked(image_id=image_id)
        self.servers.glance.pause()
        self.addCleanup(self.give_up, asked)
        self.addCleanup(self.servers.glance.resume)
        with self.soon():
            self.assertRaises(
                errors.GlanceUnavailable,
                self.impatient.create_disk,
                self.ctxt,
                **asked,
            )
        self.assertEqual([], self.rows('live = 1'))

    def test_disk_that_exists_is_answered_for_without_glance(self) -> None:
        asked = self.asked(image_id=self.servers.glance.upload('w', GOLDEN).id)
        disk = self.api.create_disk(self.ctxt, **asked)
        self.servers.glance.stop()
        self.addCleanup(self.servers.glance.start)
        self.assertEqual(disk, self.api.create_disk(self.ctxt, **asked))

    def test_ceph_slow_leaves_nothing_once_it_is_back(self) -> None:
        self.create()
        asked = self.asked()
        self.servers.ceph.pause('osd')
        try:
            started = time.monotonic()
            self.assertRaises(
                errors.CephUnavailable,
                self.impatient.create_disk,
                self.ctxt,
                **asked,
            )
            self.assertThat(
                time.monotonic() - started, matchers.LessThan(SOON_S)
            )
        finally:
            self.servers.ceph.resume('osd')
        self.give_up(asked)
        self.settle()
        self.assertNotIn(asked['name'], self.in_ceph())

    def test_disk_of_a_slow_ceph_is_made_by_the_next_call(self) -> None:
        self.create()
        asked = self.asked()
        self.servers.ceph.pause('osd')
        try:
            self.assertRaises(
                errors.CephUnavailable,
                self.impatient.create_disk,
                self.ctxt,
                **asked,
            )
        finally:
            self.servers.ceph.resume('osd')
        disk = self.api.create_disk(self.ctxt, **asked)
        self.assertEqual('ready', disk['state'])

    def test_deletion_that_ceph_did_not_answer_is_finished(self) -> None:
        disk = self.create()
        self.servers.ceph.pause('osd')
        try:
            self.assertRaises(
                errors.CephUnavailable,
                self.impatient.delete_disk,
                self.ctxt,
                disk['name'],
                'vms',
            )
        finally:
            self.servers.ceph.resume('osd')
        self.settle()
        self.assertNotIn(disk['name'], self.in_ceph())

    def test_full_pool(self) -> None:
        disk = self.create()
        self.write(disk, 0, GOLDEN)
        self.servers.ceph.set_quota('vms', MIB)
        self.addCleanup(self.servers.ceph.set_quota, 'vms', 0)
        self.wait_for_full(True)
        asked = self.asked()
        with self.soon():
            self.assertRaises(
                errors.OutOfSpace, self.api.create_disk, self.ctxt, **asked
            )
        self.settle()
        self.assertNotIn(asked['name'], self.in_ceph())
        gone = self.api.delete_disk(self.ctxt, disk['name'], 'vms')
        self.assertEqual('retired', gone['state'])
        self.servers.ceph.set_quota('vms', 0)
        self.wait_for_full(False)
        self.assertEqual('ready', self.create()['state'])

    def wait_for_full(self, full: bool) -> None:
        deadline = time.monotonic() + 60
        while self.is_full() is not full:
            self.assertThat(time.monotonic(), matchers.LessThan(deadline))
            time.sleep(0.2)

    def is_full(self) -> bool:
        pools = self.servers.ceph.mon_command('osd dump')['pools']
        (pool,) = (each for each in pools if each['pool_name'] == 'vms')
        return 'full' in pool['flags_names'].split(',')

    def test_database_down(self) -> None:
        server = self.servers.databases[self.database]
        asked = self.asked()
        server.stop()
        try:
            for call in (
                lambda: self.impatient.create_disk(self.ctxt, **asked),
                lambda: self.impatient.get_disk(
                    self.ctxt, asked['name'], 'vms'
                ),
            ):
                with self.soon():
                    error = self.assertRaises(errors.DatabaseUnavailable, call)
                self.assertNotIn('SELECT', str(error))
        finally:
            server.start()
        disk = self.api.create_disk(self.ctxt, **asked)
        self.assertEqual('ready', disk['state'])

    def test_failover_of_the_database_fails_no_call(self) -> None:
        self.assert_waits_for(self.servers.databases[self.database])

    def test_restart_of_glance_fails_no_call(self) -> None:
        image_id = self.servers.glance.upload('restart', GOLDEN).id
        self.assert_waits_for(self.servers.glance, image_id=image_id)

    def test_pause_of_ceph_fails_no_call(self) -> None:
        self.create()
        self.servers.ceph.pause('osd')
        try:
            made = self.threads.submit(self.create)
            time.sleep(FAILOVER_S)
        finally:
            self.servers.ceph.resume('osd')
        self.assertEqual('ready', made.result()['state'])

    def assert_waits_for(self, server: Any, **changes: Any) -> None:
        """Assert that calls wait until a server is there again."""
        disk = self.create()
        server.stop()
        try:
            calls = [
                self.threads.submit(self.create, **changes),
                self.threads.submit(self.create, **changes),
                self.threads.submit(
                    self.api.delete_disk, self.ctxt, disk['name'], 'vms'
                ),
            ]
            time.sleep(FAILOVER_S)
        finally:
            server.start()
        states = [call.result()['state'] for call in calls]
        self.assertEqual(['ready', 'ready', 'retired'], states)

    def test_nobody_answers(self) -> None:
        self.manager.stop()
        self.addCleanup(self.manager.start)
        api = self.manager.client(timeout_s=2)
        error = self.assertRaises(
            errors.ServiceUnavailable,
            api.get_disk,
            self.ctxt,
            str(uuid.uuid4()),
            'vms',
        )
        self.assertTrue(error.retryable)

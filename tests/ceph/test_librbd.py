# SPDX-License-Identifier: Apache-2.0
"""What only a real cluster does: refuse keys, stop, shut a client out."""

from concurrent import futures
import contextlib
import dataclasses
import itertools
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import fixtures
import rados
import rbd
import testtools

from rbdcloner import errors
from rbdcloner.ceph import flattening
from rbdcloner.ceph.librbd import LibrbdDriver
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from tests.ceph.cluster import MAPS
from tests.ceph.cluster import TIMEOUT_S
from tests.ceph.cluster import RealCluster
from tests.ceph.cluster import wait_until

MIB = 1 << 20
OUTAGE_S = 2

_cluster = RealCluster()


def setUpModule():
    _cluster.setUp()


def tearDownModule():
    _cluster.cleanUp()


class LibrbdTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.driver = self.connect()
        made = _cluster.add_image(
            _cluster.image_pool, self.name('parent'), 8 * MIB
        )
        self.parent = _cluster.add_snapshot(made, 'snap', protected=True)

    def connect(self, **options):
        driver = _cluster.connect(**options)
        self.addCleanup(driver.close)
        return driver

    def name(self, what):
        return f'{what}-{time.monotonic_ns()}'

    def child(self, name='', clone_format=CloneFormat.V2):
        child = self.noun(name)
        self.driver.clone(self.parent, child, clone_format, 22)
        return self.driver.find_image(child).image

    def noun(self, name=''):
        name = name or self.name('child')
        return Image(self.driver.fsid, _cluster.disk_pool, '', name)

    @contextlib.contextmanager
    def bounded(self, seconds):
        started = time.monotonic()
        yield
        self.assertLess(time.monotonic() - started, seconds)


class ConnectTest(LibrbdTest):
    def refused(self, error, **options):
        known = {
            'conffile': str(_cluster.ceph.conf),
            'user': _cluster.user,
            'timeout_s': 2,
        }
        driver = LibrbdDriver(**(known | options))
        with self.bounded(8):
            return self.assertRaises(error, driver.connect)

    def keyring(self, text):
        folder = self.useFixture(fixtures.TempDir()).path
        path = f'{folder}/keyring'
        with open(path, 'w') as keyring:
            keyring.write(text)
        return path

    def test_a_wrong_key_is_not_accepted(self):
        key = 'AQBIx3VnAAAAABAAq0m1rC5CkRzHKxI4K6qZ0w=='
        keyring = self.keyring(f'[{_cluster.user}]\nkey = {key}\n')
        error = self.refused(errors.CephAuthentication, keyring=keyring)
        self.assertEqual(_cluster.user, error.kwargs['client'])

    def test_a_missing_key_is_not_accepted(self):
        self.refused(errors.CephAuthentication, keyring='/nowhere/keyring')
        self.refused(errors.CephAuthentication, user='client.nobody')

    def test_a_missing_configuration_is_named(self):
        error = self.refused(
            errors.ConfigurationError, conffile='/nowhere/ceph.conf'
        )
        self.assertIn('/nowhere/ceph.conf', str(error))

    def test_no_answer_from_the_mon_is_not_for_ever(self):
        with socket.socket() as silent:
            silent.bind(('127.0.0.1', 0))
            silent.listen()
            port = silent.getsockname()[1]
            text = _cluster.ceph.conf.read_text()
            lines = [
                f'mon_host = v2:127.0.0.1:{port}/0'
                if line.split('=')[0].strip().replace(' ', '_') == 'mon_host'
                else line
                for line in text.splitlines()
            ]
            conf = self.keyring('\n'.join(lines) + '\n')
            self.refused(errors.CephUnavailable, conffile=conf)

    def test_the_prefix_of_a_user_may_be_left_out(self):
        user = _cluster.user.removeprefix('client.')
        driver = self.connect(user=user)
        self.assertEqual(_cluster.ceph.fsid, driver.fsid)

    def test_both_formats_work_on_one_driver(self):
        for clone_format in (CloneFormat.V2, CloneFormat.V1):
            child = self.child(clone_format=clone_format)
            self.assertEqual(clone_format, self.format_of(child))

    def format_of(self, child):
        with _cluster.reading(child) as opened:
            is_v2 = (
                opened.op_features() & rbd.RBD_OPERATION_FEATURE_CLONE_CHILD
            )
        return CloneFormat.V2 if is_v2 else CloneFormat.V1

    def test_threads_share_one_connection(self):
        before = self.sessions()
        driver = LibrbdDriver(
            str(_cluster.ceph.conf), _cluster.user, TIMEOUT_S
        )
        self.addCleanup(driver.close)
        with futures.ThreadPoolExecutor(16) as threads:
            for found in [
                threads.submit(driver.find_image, self.noun('no-such'))
                for _each in range(64)
            ]:
                self.assertIsNone(found.result())
        self.assertEqual(1, self.sessions() - before)

    def sessions(self):
        """Our user's connections, as the mon sees them."""
        answer = _cluster.ceph.command('tell', 'mon.a', 'sessions')
        return len(
            [one for one in answer if one['entity_name'] == _cluster.user]
        )

    def test_a_closed_driver_connects_again(self):
        child = self.child()
        self.driver.close()
        self.assertEqual(child, self.driver.find_image(child).image)

    def test_closing_waits_for_what_is_open(self):
        child = self.child()
        with self.driver.open(child) as opened:
            self.driver.close()
            opened.resize(16 * MIB)
        self.assertEqual(16 * MIB, self.driver.find_image(child).size_bytes)


class PoolTest(LibrbdTest):
    def test_a_pool_made_again_by_its_name_is_another(self):
        pool = _cluster.bare_pool
        self.driver.probe(pool)
        _cluster.ceph.delete_pool(pool)
        wait_until(lambda: self.is_gone(pool), f'{pool} is gone')
        missing = dataclasses.replace(self.noun(), pool=pool)
        self.assertRaises(errors.PoolNotFound, self.driver.find_image, missing)
        _cluster.ceph.create_pool(pool)
        wait_until(lambda: self.driver.probe(pool).exists, f'{pool} is back')
        self.driver.clone(self.parent, missing, CloneFormat.V2, 22)
        self.assertIsNotNone(self.driver.find_image(missing))

    def test_a_data_pool_that_the_key_may_not_use_is_named(self):
        pool, data_pool = _cluster.disk_pool, _cluster.forbidden_pool
        with _cluster.ioctx(pool) as ioctx:
            key = 'rbd_default_data_pool'
            rbd.RBD().config_set(ioctx, key, data_pool)
            self.addCleanup(self._forget_data_pool, pool)
        facts = self.driver.probe(pool)
        self.assertTrue(facts.writable)
        self.assertEqual(
            (data_pool, False), (facts.data_pool, facts.data_usable)
        )
        with _cluster.ioctx(pool) as ioctx:
            rbd.RBD().config_set(ioctx, key, _cluster.small_pool)
        facts = self.driver.probe(pool)
        self.assertEqual(
            (_cluster.small_pool, True), (facts.data_pool, facts.data_usable)
        )

    def _forget_data_pool(self, pool):
        with _cluster.ioctx(pool) as ioctx:
            rbd.RBD().config_remove(ioctx, 'rbd_default_data_pool')

    def is_gone(self, pool):
        try:
            return not self.driver.probe(pool).exists
        except errors.CephUnavailable:
            # The OSD knew before our client that it has gone.
            return False

    def test_a_clone_keeps_the_object_map_of_a_full_pool_true(self):
        pool = _cluster.small_pool
        child = dataclasses.replace(self.noun(), pool=pool)
        self.driver.probe(pool)
        self.driver.clone(self.parent, child, CloneFormat.V2, 22)
        child = self.driver.find_image(child).image
        with _cluster.filled(pool):
            with self.driver.open(child) as opened:
                # Refused, and therefore not taken for proof of space.
                self.assertRaises(
                    errors.OutOfSpace, self.driver.clone,
                    self.parent, self.like(child), CloneFormat.V2, 22,
                )  # fmt: skip
                self.assertRaises(errors.OutOfSpace, opened.resize, 1 << 40)
            with _cluster.reading(child) as opened:
                self.assertEqual(0, opened.flags())
                self.assertEqual(8 * MIB, opened.size())

    def like(self, child):
        return dataclasses.replace(child, name=self.name('child'), id='')

    def test_a_rollback_is_no_write_of_a_user(self):
        """What Ceph records as the time of the last write says so."""
        child = self.child()
        with _cluster.opened(child) as image:
            image.metadata_set('conf_rbd_mtime_update_interval', '1')
        snapshot = self.driver.take_snapshot(child, 'then').snapshot
        with self.driver.open(child) as opened:
            opened.resize(16 * MIB)
        resized_at = self.driver.find_image(child).modified_at
        time.sleep(2.5)
        with _cluster.opened(child) as image:
            image.write(b'later!', 12 * MIB)
        written_at = self.driver.find_image(child).modified_at
        self.assertLess(resized_at, written_at)
        time.sleep(2.5)
        self.driver.rollback(snapshot)
        facts = self.driver.find_image(child)
        self.assertEqual(
            (8 * MIB, written_at), (facts.size_bytes, facts.modified_at)
        )

    def test_a_deferred_image_is_not_purged(self):
        child = self.child()
        with _cluster.ioctx(child.pool) as ioctx:
            rbd.RBD().trash_move(ioctx, child.name, 3600)
        error = self.assertRaises(errors.CephRefused, self.driver.purge, child)
        self.assertIn('deferred', str(error))

    def test_trash_that_cannot_be_listed_is_no_obstacle(self):
        child = self.child()
        other = self.child()
        with _cluster.ioctx(child.pool) as ioctx:
            snapshot = _cluster.add_snapshot(other, 'own')
            self.driver.clone(snapshot, self.noun(), CloneFormat.V2, 22)
            self.move_as_parent(other, snapshot)
            # If this fails, Ceph has got better and looking.py may too.
            self.assertRaises(IndexError, list, rbd.RBD().trash_list(ioctx))
        found = self.driver.trashed_images(child.pool)
        self.assertEqual(other.name, found[other.id])
        self.driver.trash(child)
        self.driver.purge(child)
        self.assertIsNone(self.driver.find_image(child))

    def move_as_parent(self, image, snapshot):
        _cluster.drop_snapshot(snapshot)
        conf = {'rbd_move_parent_to_trash_on_remove': 'true'}
        with (
            rados.Rados(
                conffile=str(_cluster.ceph.conf),
                name='client.admin',
                conf=conf,
            ) as admin,
            admin.open_ioctx(image.pool) as ioctx,
        ):
            rbd.RBD().remove(ioctx, image.name)


class GuestTest(LibrbdTest):
    """A guest that writes holds the exclusive lock and does the work."""

    def guest(self, child):
        opened = self.enter(_cluster.opened(child))
        opened.write(b'guest!', 0)
        return opened

    def enter(self, context):
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def test_a_guest_takes_its_own_snapshot(self):
        child = self.child()
        guest = self.guest(child)
        snapshot = self.driver.take_snapshot(child, 'own').snapshot
        guest.write(b'later!', 0)
        guest.set_snap('own')
        self.assertEqual(b'guest!', guest.read(0, 6))
        guest.set_snap(None)
        self.driver.remove_snapshot(snapshot)
        guest.write(b'after!', 0)

    def test_nothing_stops_what_a_guest_flattens(self):
        child = self.child()
        guest = self.guest(child)
        self.driver.flatten(child, lambda done, total: False, forced=True)
        self.assertIsNone(self.driver.find_image(child).parent)
        guest.write(b'after!', 0)

    def test_a_flattening_sleeps_and_stops_nobody_else(self):
        child, other = self.child(), self.child()
        # Longer than Ceph may take to answer.
        driver, pause_s = self.connect(timeout_s=1), 2
        started, go = threading.Event(), threading.Event()

        def progress(done, total):
            started.set()
            return go.wait(30)

        with futures.ThreadPoolExecutor(1) as threads:
            done = threads.submit(driver.flatten, child, progress)
            self.assertTrue(started.wait(30))
            with self.bounded(2):
                self.driver.take_snapshot(other, 'own')
                self.child()
            time.sleep(pause_s)
            go.set()
            done.result()
        self.assertIsNone(self.driver.find_image(child).parent)

    def test_a_flattening_leaves_no_connection(self):
        child = self.child()
        before = self.sessions()
        self.driver.flatten(child, lambda done, total: True)
        wait_until(lambda: self.sessions() <= before, 'it is disconnected')

    def sessions(self):
        return len(_cluster.ceph.command('tell', 'mon.a', 'sessions'))


class ClosingTest(LibrbdTest):
    def test_what_is_closed_at_once_is_not_used_any_more(self):
        child = self.child()
        script = pathlib.Path(__file__).parent / 'opener.py'
        client = (_cluster.ceph.conf, _cluster.user)
        nouns = (child.pool, child.id, '1000')
        ended = subprocess.run(
            [sys.executable, script, *client, *nouns],
            env={
                **os.environ,
                'PYTHONPATH': os.pathsep.join(sys.path),
                # Freed memory is overwritten: a lock in it is invalid.
                'LD_PRELOAD': 'libc_malloc_debug.so.0',
                'MALLOC_CHECK_': '3',
                'MALLOC_PERTURB_': '165',
            },
            timeout=300,
            check=False,
        )
        self.assertEqual(0, ended.returncode)


class ObjectMapTest(LibrbdTest):
    """Some images have a map of their objects, right or not."""

    def setUp(self):
        super().setUp()
        _cluster.write(self.parent.image, 0, b'parent')
        self.parent = _cluster.add_snapshot(self.parent.image, 'written', True)

    def with_a_wrong_map(self):
        """A child whose client died in its first write to an object."""
        child = self.child()
        _cluster.write(child, 8, b'child')
        with _cluster.reading(child) as opened:
            first_object = f'{opened.block_name_prefix()}.{0:016x}'
        with _cluster.ioctx(child.pool) as ioctx:
            ioctx.remove_object(first_object)
        return child

    def flatten(self, child, **options):
        self.driver.flatten(child, lambda done, total: True, **options)

    def test_no_data_is_lost_where_the_map_is_wrong(self):
        child = self.with_a_wrong_map()
        before = _cluster.maps(child)
        self.flatten(child)
        self.assertIsNone(self.driver.find_image(child).parent)
        self.assertEqual(b'parent', _cluster.read(child, 0, 6))
        self.assertEqual(before, _cluster.maps(child))

    def test_no_data_is_lost_under_a_guest(self):
        child = self.with_a_wrong_map()
        before = _cluster.maps(child)
        with _cluster.opened(child) as guest:
            guest.write(b'guest', 4 * MIB)
            self.flatten(child, forced=True)
            self.assertEqual(b'parent', guest.read(0, 6))
            guest.write(b'after', 4 * MIB)
        self.assertEqual(before, _cluster.maps(child))

    def test_a_stopped_flattening_gives_the_map_back(self):
        child = self.with_a_wrong_map()
        before = _cluster.maps(child)
        self.assertRaises(
            errors.FlattenStopped,
            self.driver.flatten,
            child,
            lambda done, total: False,
        )
        self.assertEqual(before, _cluster.maps(child))
        self.assertEqual(b'parent', _cluster.read(child, 0, 6))

    def test_the_next_flattening_gives_back_what_a_dead_one_took(self):
        child = self.with_a_wrong_map()
        before = _cluster.maps(child)
        with _cluster.opened(child) as opened:
            opened.update_features(MAPS, False)
            opened.flatten()
        with _cluster.ioctx(child.pool) as ioctx:
            ioctx.set_xattr(
                f'rbd_header.{child.id}', flattening.MAPS_OFF, b'%d' % MAPS
            )
        self.flatten(child)
        self.assertEqual(before, _cluster.maps(child))
        self.flatten(child)
        self.assertEqual(before, _cluster.maps(child))

    def test_an_image_without_a_map_gets_none(self):
        child = self.child()
        with _cluster.opened(child) as opened:
            opened.update_features(MAPS, False)
        before = _cluster.maps(child)
        self.flatten(child)
        self.assertEqual(b'parent', _cluster.read(child, 0, 6))
        self.assertEqual(before, _cluster.maps(child))


class OutageTest(LibrbdTest):
    """The OSD stands still, or is not there.

    Never for 16 s at a time: the only OSD of a pool that lost its read lease
    while it stood still answers for that pool no more until it peers again.
    """

    def setUp(self):
        super().setUp()
        self.driver = self.connect(timeout_s=OUTAGE_S)

    def paused(self):
        _cluster.ceph.pause('osd')
        stack = contextlib.ExitStack()
        stack.callback(self.resume)
        return stack

    def resume(self):
        _cluster.ceph.resume('osd')
        wait_until(self.answers, 'the OSD answers')

    def answers(self):
        try:
            self.driver.find_image(self.noun('no-such'))
        except errors.CephUnavailable:
            return False
        return True

    def test_no_answer_from_the_osd_is_not_for_ever(self):
        child = self.child()
        clone = (self.parent, self.noun(), CloneFormat.V2, 22)
        for verb, *nouns in (
            (self.driver.clone, *clone),
            (self.driver.find_image, child),
            (self.driver.trash, child),
            (self.enter, child),
            (self.driver.probe, child.pool),
        ):
            with self.paused(), self.bounded(3 * OUTAGE_S):
                self.assertRaises(errors.CephUnavailable, verb, *nouns)
        self.driver.find_image(child)

    def enter(self, image):
        with self.driver.open(image):
            pass

    def test_an_open_image_is_given_up_in_time(self):
        child = self.child()
        with contextlib.ExitStack() as stack, self.bounded(6 * OUTAGE_S):
            stack.enter_context(self.assertUnavailable())
            opened = stack.enter_context(self.driver.open(child))
            stack.enter_context(self.paused())
            opened.resize(16 * MIB)
        wait_until(lambda: self.is_trashed(child), f'{child} is trashed')

    def test_a_writer_gives_up_in_time(self):
        child = self.child()

        def written():
            yield 0, b'x'
            stack.enter_context(self.paused())
            for at in range(MIB):
                yield at % 8 * MIB, b'x'

        with contextlib.ExitStack() as stack, self.bounded(6 * OUTAGE_S):
            stack.enter_context(self.assertUnavailable())
            opened = stack.enter_context(self.driver.open(child))
            opened.write(written())
        wait_until(lambda: self.is_trashed(child), f'{child} is trashed')

    @contextlib.contextmanager
    def assertUnavailable(self):
        try:
            yield
        except errors.CephUnavailable:
            return
        self.fail('Ceph was available')

    def is_trashed(self, image):
        try:
            self.driver.trash(image)
        except errors.RbdImageInUse:
            return False
        return True

    def test_what_timed_out_may_be_done_later(self):
        """So nothing is concluded from a timeout, and looking once lies."""
        children = [self.child() for _each in range(4)]
        with self.paused(), futures.ThreadPoolExecutor(4) as threads:
            for done in [
                threads.submit(self.driver.trash, child) for child in children
            ]:
                self.assertRaises(errors.CephUnavailable, done.result)
        for child in children:
            self.driver.trash(child)
            self.driver.purge(child)
            self.assertIsNone(self.driver.find_image(child))

    def test_a_stopped_osd_is_waited_for_no_longer(self):
        child = self.child()
        _cluster.ceph.stop('osd')
        try:
            with self.bounded(3 * OUTAGE_S):
                self.assertRaises(
                    errors.CephUnavailable, self.driver.find_image, child
                )
        finally:
            _cluster.ceph.start('osd')
        wait_until(self.answers, 'the OSD answers')
        self.assertEqual(child, self.driver.find_image(child).image)


class ShutOutTest(LibrbdTest):
    """Ceph blocklists a client that it thinks dead."""

    def test_a_blocklisted_client_connects_again(self):
        child = self.child()
        self.blocklist(child)
        with self.bounded(6 * TIMEOUT_S):
            self.assertRaises(errors.ShutOut, self.driver.trash, child)
            self.driver.trash(child)
            self.driver.purge(child)
        self.child()

    def test_who_is_shut_out_before_the_osd_starts_connects_again(self):
        child = self.child()
        self.blocklist(child)
        _cluster.ceph.kill('osd')
        _cluster.ceph.start('osd')
        with self.bounded(8 * TIMEOUT_S):
            self.assertRaises(
                errors.CephUnavailable, self.driver.find_image, child
            )
            self.assertEqual(child, self.driver.find_image(child).image)

    def test_who_is_shut_out_has_nothing_open_and_does_nothing(self):
        other = self.connect()
        child = self.child()
        with other.open(child) as opened:
            (address,) = self.driver.watchers(child)
            self.driver.shut_out([address])
            self.assertEqual([], self.driver.watchers(child))
            self.assertRaises(errors.ShutOut, opened.tag, 'late')
        self.assertEqual('', self.driver.find_image(child).tag)
        self.driver.trash(child)

    def test_who_is_shut_out_writes_no_further(self):
        other = self.connect()
        child = self.child()

        def written():
            for at in itertools.count():
                if at == 32:
                    self.driver.shut_out(self.driver.watchers(child))
                self.assertLess(at, 64)
                yield at % 4 * MIB, b'%d' % at

        with other.open(child) as opened, self.bounded(6 * TIMEOUT_S):
            self.assertRaises(errors.ShutOut, opened.write, written())
        self.assertEqual([], self.driver.watchers(child))
        self.driver.trash(child)
        self.driver.purge(child)

    def test_who_shuts_itself_out_connects_again_at_once(self):
        child = self.child()
        with self.driver.open(child):
            (address,) = self.driver.watchers(child)
        self.driver.shut_out([address])
        self.driver.trash(child)

    def test_whether_a_key_may_shut_out_is_found_by_doing_it(self):
        self.assertTrue(self.driver.may_shut_out())
        _cluster.ceph.user('client.mild', mon='allow r', osd='profile rbd')
        mild = self.connect(user='mild')
        self.assertFalse(mild.may_shut_out())
        self.assertRaises(
            errors.CephForbidden, mild.shut_out, ['192.0.2.1:0/2']
        )

    def test_each_address_is_told_before_its_use_and_when_it_ends(self):
        told = []

        class Told:
            def connected(self, address):
                told.append(('connected', address))

            def disconnected(self, address):
                told.append(('disconnected', address))

        driver = LibrbdDriver(
            str(_cluster.ceph.conf), _cluster.user, TIMEOUT_S, recorder=Told()
        )
        driver.connect()
        child = self.child()
        with driver.open(child):
            (address,) = self.driver.watchers(child)
            self.assertEqual([('connected', address)], told)
        driver.close()
        self.assertEqual(('disconnected', address), told[-1])

    def blocklist(self, child):
        with (
            self.driver.open(child),
            _cluster.reading(child) as opened,
        ):
            (watcher,) = opened.watchers_list()
        self.shut_out(watcher['addr'])

    def shut_out(self, address):
        _cluster.ceph.mon_command(
            'osd blocklist', blocklistop='add', addr=address
        )

    def test_every_call_in_flight_ends(self):
        children = [self.child() for _each in range(4)]
        opened = threading.Barrier(5)
        go = threading.Barrier(5)

        def work(child):
            with self.driver.open(child) as image:
                opened.wait(30)
                go.wait(30)
                image.resize(64 * MIB)

        with futures.ThreadPoolExecutor(4) as threads:
            running = [threads.submit(work, child) for child in children]
            opened.wait(30)
            other = self.connect()
            other.shut_out(other.watchers(children[0]))
            other.find_image(children[0])  # now the OSD knows, too
            go.wait(30)
            with self.bounded(8 * TIMEOUT_S):
                for done in running:
                    self.assertRaises(errors.CephUnavailable, done.result)
        for child in children:
            facts = self.driver.find_image(child)
            self.assertIn(facts.size_bytes, (8 * MIB, 64 * MIB))

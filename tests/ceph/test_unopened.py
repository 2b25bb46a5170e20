# SPDX-License-Identifier: Apache-2.0
"""What is asked of RADOS about an image agrees with what librbd says."""

from collections.abc import Iterator
import contextlib
import dataclasses
import signal
import subprocess
import sys
import time

import fixtures
import rbd
import testtools

from rbdcloner import errors
from rbdcloner.ceph import looking
from rbdcloner.ceph import unopened
from rbdcloner.model import Image
from tests.ceph.cluster import RealCluster

MIB = 1 << 20

_OTHER = """
import sys
from rbdcloner import bindings
bindings.install()
import rados, rbd
conf, user, pool, image_id = sys.argv[1:]
with rados.Rados(name=user, conffile=conf) as cluster:
    with cluster.open_ioctx(pool) as ioctx:
        with rbd.Image(ioctx, image_id=image_id) as image:
            print('open', flush=True)
            for line in sys.stdin:
                image.write(line.encode(), 0)
                print('written', flush=True)
"""

_cluster = RealCluster()


def setUpModule() -> None:
    _cluster.setUp()


def tearDownModule() -> None:
    _cluster.cleanUp()


class UnopenedTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.driver = _cluster.connect()
        self.addCleanup(self.driver.close)
        self.ioctx = _cluster.enter(_cluster.ioctx(_cluster.disk_pool))
        self.image = self.add_image()

    def add_image(self) -> Image:
        name = f'disk-{time.monotonic_ns()}'
        return _cluster.add_image(_cluster.disk_pool, name, 8 * MIB)

    @contextlib.contextmanager
    def opened_elsewhere(self) -> Iterator[subprocess.Popen[str]]:
        """Let another process have the image open; it writes its lines."""
        where = (_cluster.user, self.image.pool, self.image.id)
        with subprocess.Popen(
            [sys.executable, '-c', _OTHER, str(_cluster.ceph.conf), *where],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                self.assertEqual('open\n', process.stdout.readline())
                yield process
            finally:
                process.kill()

    def may_be_open(self) -> bool:
        return unopened.may_be_open(self.ioctx, self.image.id)

    def assert_in_use(self) -> None:
        self.assertEqual(1, len(self.driver.watchers(self.image)))
        self.assertTrue(self.may_be_open())
        self.assertRaises(errors.RbdImageInUse, self.driver.trash, self.image)
        self.assertFalse(self.driver.is_trashed(self.image))

    def test_an_image_that_is_free_is_not_opened_before_its_move(self) -> None:
        # Else nothing but the time would tell.
        self.useFixture(fixtures.MockPatchObject(looking, 'opened'))
        self.driver.trash(self.image)
        looking.opened.assert_not_called()
        self.assertTrue(self.driver.is_trashed(self.image))

    def test_an_open_image_is_seen_and_its_client_goes_on(self) -> None:
        self.assertFalse(self.may_be_open())
        with self.opened_elsewhere() as client:
            self.assert_in_use()
            client.stdin.write('data\n')
            client.stdin.flush()
            self.assertEqual('written\n', client.stdout.readline())
            client.stdin.close()
            client.wait()
        self.assertFalse(self.may_be_open())
        self.assertEqual(b'data', _cluster.read(self.image, 0, 4))

    def test_a_client_that_is_stopped_is_seen(self) -> None:
        with self.opened_elsewhere() as client:
            client.send_signal(signal.SIGSTOP)
            self.assert_in_use()

    def test_a_client_that_was_killed_is_seen_while_its_watch_lasts(
        self,
    ) -> None:
        with self.opened_elsewhere() as client:
            client.kill()
            client.wait()
            self.assert_in_use()

    def test_who_only_reads_does_not_have_it_open(self) -> None:
        with _cluster.reading(self.image):
            self.assertFalse(self.may_be_open())

    def test_a_name_is_told_until_the_image_is_trashed(self) -> None:
        self.assertEqual(
            self.image.name, unopened.name(self.ioctx, self.image.id)
        )
        rbd.RBD().rename(self.ioctx, self.image.name, 'rénamed')
        self.assertEqual('rénamed', unopened.name(self.ioctx, self.image.id))
        self.driver.trash(dataclasses.replace(self.image, name='rénamed'))
        self.assertEqual('', unopened.name(self.ioctx, self.image.id))
        self.assertEqual('', unopened.name(self.ioctx, 'no-such'))

    def test_a_member_of_a_group_is_not_moved(self) -> None:
        group = f'group-{time.monotonic_ns()}'
        rbd.RBD().group_create(self.ioctx, group)
        self.addCleanup(rbd.RBD().group_remove, self.ioctx, group)
        members = rbd.Group(self.ioctx, group)
        members.add_image(self.ioctx, self.image.name)
        self.assertTrue(unopened.is_bound(self.ioctx, self.image.id))
        error = self.assertRaises(
            errors.CephRefused, self.driver.trash, self.image
        )
        self.assertIn('group', str(error))
        members.remove_image(self.ioctx, self.image.name)
        self.assertFalse(unopened.is_bound(self.ioctx, self.image.id))
        self.driver.trash(self.image)

    def test_an_image_that_is_being_migrated_is_not_moved(self) -> None:
        name = f'moved-{time.monotonic_ns()}'
        rbd.RBD().migration_prepare(
            self.ioctx, self.image.name, self.ioctx, name
        )
        self.addCleanup(rbd.RBD().migration_abort, self.ioctx, name)
        to = dataclasses.replace(self.image, name=name, id='')
        to = dataclasses.replace(to, id=_cluster.id_of(to))
        self.assertTrue(unopened.is_bound(self.ioctx, to.id))
        self.assertRaises(errors.RbdImageMigrating, self.driver.trash, to)

    def test_a_demoted_image_is_told_from_a_silent_cluster(self) -> None:
        """It is mirrored, and its primary is in another cluster."""
        snapshot = self.driver.take_snapshot(self.image, 'before')
        rbd.RBD().mirror_mode_set(self.ioctx, rbd.RBD_MIRROR_MODE_IMAGE)
        self.addCleanup(
            rbd.RBD().mirror_mode_set,
            self.ioctx,
            rbd.RBD_MIRROR_MODE_DISABLED,
        )
        with rbd.Image(self.ioctx, self.image.name) as image:
            image.mirror_image_enable(rbd.RBD_MIRROR_IMAGE_MODE_SNAPSHOT)
            self.addCleanup(self._promote)
            image.mirror_image_demote()
        for act in (
            lambda: self.driver.trash(self.image),
            lambda: self.driver.take_snapshot(self.image, 'after'),
            lambda: self.driver.rollback(snapshot.snapshot),
            lambda: self.driver.remove_snapshot(snapshot.snapshot),
            lambda: self.driver.protect(snapshot.snapshot),
            self._grow,
        ):
            self.assertRaises(errors.RbdImageDemoted, act)

    def _grow(self) -> None:
        with self.driver.open(self.image) as opened:
            opened.resize(64 << 20)

    def _promote(self) -> None:
        with rbd.Image(self.ioctx, self.image.name) as image:
            image.mirror_image_promote(True)
            image.mirror_image_disable(True)

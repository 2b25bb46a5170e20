# SPDX-License-Identifier: Apache-2.0
"""qemu-img writes where it is told, and ends when Ceph does not answer."""

import os
import subprocess
import time

import fixtures
import testtools

from rbdcloner import errors
from rbdcloner.model import Image
from tests.ceph.cluster import RealCluster
from tests.ceph.cluster import wait_until

MIB = 1 << 20
TIMEOUT_S = 1
SIZE_BYTES = 24 * MIB

_cluster = RealCluster()


def setUpModule():
    _cluster.setUp()


def tearDownModule():
    _cluster.cleanUp()


class QemuTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.driver = _cluster.connect(timeout_s=TIMEOUT_S)
        self.addCleanup(self.driver.close)
        folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(folder, 'source')
        self.data = (
            os.urandom(SIZE_BYTES // 3)
            + bytes(SIZE_BYTES // 3)
            + os.urandom(SIZE_BYTES // 3)
        )
        with open(self.path, 'wb') as file:
            file.write(self.data)

    def new(self, pool=_cluster.disk_pool, namespace=''):
        name = f'new,{time.monotonic_ns()}'
        named = Image(self.driver.fsid, pool, namespace, name)
        self.driver.create(named, SIZE_BYTES)
        return self.driver.find_image(named).image

    def convert(self, image, *options):
        """Start qemu-img; it is killed in the end if it still runs."""
        target = self.driver.qemu_target(image)
        words = [
            f'{name}={value.replace(",", ",,")}'
            for name, value in target.options.items()
        ]
        source = f'driver=raw,file.driver=file,file.filename={self.path}'
        running = subprocess.Popen(
            [
                *('qemu-img', 'convert', '-n', '--target-is-zero', *options),
                *('--image-opts', '--target-image-opts'),
                *(source, ','.join(words)),
            ],
            env={**os.environ, **target.environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(running.stderr.close)
        self.addCleanup(running.wait)
        self.addCleanup(running.kill)
        return running

    def slowly(self, image):
        """Start qemu-img, and return when it has written something."""
        running = self.convert(image, '-r', str(MIB))
        wait_until(lambda: self.driver.used_bytes(image), 'it writes')
        return running

    def assertFails(self, running, within_s):
        _, told = running.communicate(timeout=within_s)
        self.assertEqual(1, running.returncode, told)
        return told

    def test_the_image_reads_as_the_file(self):
        namespace = _cluster.add_namespace(_cluster.disk_pool)
        for image in (self.new(), self.new(namespace=namespace)):
            running = self.convert(image)
            _, told = running.communicate()
            self.assertEqual((0, ''), (running.returncode, told))
            found = _cluster.read(image, 0, SIZE_BYTES)
            self.assertTrue(found == self.data)
            self.assertEqual([], self.driver.watchers(image))
            self.assertGreater(SIZE_BYTES, self.driver.used_bytes(image))

    def test_an_osd_that_stands_still_ends_it(self):
        image = self.new()
        running = self.slowly(image)
        _cluster.ceph.pause('osd')
        try:
            told = self.assertFails(running, 12 * TIMEOUT_S)
        finally:
            _cluster.ceph.resume('osd')
        self.assertIn('timed out', told)
        wait_until(self.answers, 'the OSD answers')

    def test_a_full_pool_ends_it(self):
        image = self.new(_cluster.small_pool)
        with _cluster.filled(image.pool):
            self.assertFails(self.convert(image), 12 * TIMEOUT_S)
            self.assertTrue(self.driver.probe(image.pool).full)
        self.assertEqual(0, self.driver.used_bytes(image))

    def test_who_shuts_it_out_ends_it(self):
        image = self.new()
        running = self.slowly(image)
        watchers = self.driver.watchers(image)
        self.assertEqual(1, len(watchers))
        self.driver.shut_out(watchers)
        self.assertFails(running, 12 * TIMEOUT_S)
        self.driver.trash(image)
        self.driver.purge(image)

    def answers(self):
        try:
            self.driver.probe(_cluster.disk_pool)
        except errors.CephUnavailable:
            return False
        return True

# SPDX-License-Identifier: Apache-2.0
"""A program of qemu's is the client that we are, with the same settings."""

import fixtures
import testtools

from rbdcloner.ceph.librbd import LibrbdDriver
from rbdcloner.model import Image

IMAGE = Image('fsid', 'vms', '', 'image')


class QemuTargetTest(testtools.TestCase):
    def target(self, **options):
        driver = LibrbdDriver('/etc/ceph.conf', 'client.us', 7, **options)
        return driver.qemu_target(IMAGE)

    def arguments(self, **options):
        return self.target(**options).environment['CEPH_ARGS'].split()

    def test_it_is_our_client_without_a_cache(self):
        options = self.target().options
        self.assertEqual('/etc/ceph.conf', options['conf'])
        self.assertEqual('us', options['user'])
        self.assertEqual('on', options['cache.direct'])

    def test_it_waits_for_ceph_as_long_as_we_do(self):
        self.useFixture(fixtures.EnvironmentVariable('CEPH_ARGS'))
        arguments = self.arguments()
        for name in (
            'client_mount_timeout',
            'rados_mon_op_timeout',
            'rados_osd_op_timeout',
        ):
            self.assertIn(f'--{name}=7', arguments)

    def test_it_finds_our_key(self):
        self.assertIn('--keyring=/key', self.arguments(keyring='/key'))

    def test_what_an_operator_has_set_stays_and_ours_comes_after(self):
        theirs = fixtures.EnvironmentVariable(
            'CEPH_ARGS', '--debug_rbd=1 -m x'
        )
        self.useFixture(theirs)
        self.assertEqual(['--debug_rbd=1', '-m', 'x'], self.arguments()[:3])

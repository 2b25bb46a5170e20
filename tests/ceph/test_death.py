# SPDX-License-Identifier: Apache-2.0
"""What clients leave that are killed inside an act, and how it ends.

They are killed at random moments, as no failpoint reaches into librbd; each
of what they may leave was seen within a hundred deaths.
"""

import dataclasses
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import testtools

from rbdcloner import errors
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import Snapshot
from tests.ceph.cluster import RealCluster
from tests.ceph.cluster import wait_until

DEATHS = 20
MIB = 1 << 20

_cluster = RealCluster()


def setUpModule():
    _cluster.setUp()
    # Dead clients are forgotten after 30 s; the tests needn't wait so long.
    option = {'who': 'osd', 'name': 'osd_client_watch_timeout'}
    _cluster.ceph.mon_command('config set', value='3', **option)
    _cluster.addCleanup(_cluster.ceph.mon_command, 'config rm', **option)


def tearDownModule():
    _cluster.cleanUp()


class Victim:
    """Another process with a connection, that acts when it is told."""

    def __init__(
        self, act: str, parent: Snapshot, child: Image, clone_format: int
    ) -> None:
        path = pathlib.Path(__file__).parent / 'victim.py'
        arguments = (
            str(_cluster.ceph.conf),
            _cluster.user,
            str(int(clone_format)),
            act,
            *(parent.image.pool, parent.image.name),
            *(child.pool, child.name, child.id),
        )
        self.process = subprocess.Popen(
            [sys.executable, str(path), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        )
        self.process.stdout.read(1)

    def die_within(self, seconds: float) -> None:
        self.process.stdin.write(b'.')
        self.process.stdin.flush()
        time.sleep(random.uniform(0, seconds))
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


class DeathV1Test(testtools.TestCase):
    clone_format = CloneFormat.V1

    def setUp(self):
        super().setUp()
        self.driver = _cluster.connect(self.clone_format)
        self.addCleanup(self.driver.close)
        found = _cluster.add_image(_cluster.image_pool, self.id(), 8 * MIB)
        self.parent = _cluster.add_snapshot(found, 'snap', protected=True)

    def children(self, verb):
        for number in range(DEATHS):
            name = f'{verb}-v{self.clone_format}-{number}'
            yield Image(self.driver.fsid, _cluster.disk_pool, '', name)

    def victim(self, act, child):
        return Victim(act, self.parent, child, self.clone_format)

    def clone(self, child):
        self.driver.clone(self.parent, child, self.clone_format, 22)

    def remove(self, child):
        """Remove an image, or what is left of one, once nobody watches."""
        try:
            wait_until(lambda: self.is_removed(child), f'{child} is gone')
        except AssertionError:
            # An OSD can keep the watch of a client that died while making
            # it for ever, and drops it when it is made to look again.
            _cluster.ceph.mon_command('osd down', ids=['0'])
            wait_until(lambda: self.is_removed(child), f'{child} is gone')

    def is_removed(self, child):
        try:
            self.driver.trash(child)
        except errors.RbdImageInUse:
            return False
        except errors.RbdImageNotFound:
            return True
        try:
            self.driver.purge(child)
        except errors.RbdImageInUse:
            return False
        return True

    def test_death_while_cloning(self):
        children = list(self.children('clone'))
        for child in children:
            self.victim('clone', child).die_within(0.05)
        left = [self.driver.find_image(child) for child in children]
        for child, facts in zip(children, left, strict=True):
            if facts is None:
                self.driver.free_name(child)
            else:
                self.assertEqual('', facts.tag)
                self.assertRaises(errors.RbdImageExists, self.clone, child)
                self.remove(facts.image)
            self.clone(child)
        self.assertEqual(DEATHS, len(self.driver.children(self.parent)))

    def test_death_while_removing(self):
        removed = []
        for child in self.children('remove'):
            self.clone(child)
            made = self.driver.find_image(child).image
            self.victim('remove', made).die_within(0.1)
            removed.append(made)
        for made in removed:
            self.remove(made)
            self.assertIsNone(self.driver.find_image(made))
            by_name = dataclasses.replace(made, id='')
            self.assertIsNone(self.driver.find_image(by_name))
            self.clone(by_name)
        self.assertEqual(DEATHS, len(self.driver.children(self.parent)))


class DeathV2Test(DeathV1Test):
    clone_format = CloneFormat.V2

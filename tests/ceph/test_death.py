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
DEATHS_OF_EACH_ACT = 12
WATCH_TIMEOUT_S = 3
MIB = 1 << 20

#: What a dead client's watch or lock, and an OSD that comes back, are to us.
_IN_THE_WAY = (errors.RbdImageInUse, errors.CephUnavailable)

_cluster = RealCluster()


def setUpModule():
    _cluster.setUp()
    # Dead clients are forgotten after 30 s; the tests needn't wait so long.
    _configure_osd('osd_client_watch_timeout', WATCH_TIMEOUT_S)
    # An OSD gives up for good that was made to look again six times.
    _configure_osd('osd_max_markdown_count', 1000)


def _configure_osd(name, value):
    option = {'who': 'osd', 'name': name}
    _cluster.ceph.mon_command('config set', value=str(value), **option)
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

    def die_within(self, seconds: float) -> None:
        self.process.stdout.read(1)
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
        _cluster.write(found, 0, b'parent')
        self.parent = _cluster.add_snapshot(found, 'snap', protected=True)

    def children(self, verb, deaths=DEATHS):
        for number in range(deaths):
            name = f'{verb}-v{self.clone_format}-{number}'
            yield Image(self.driver.fsid, _cluster.disk_pool, '', name)

    def victim(self, act, child):
        return Victim(act, self.parent, child, self.clone_format)

    def clone(self, child):
        self.driver.clone(self.parent, child, self.clone_format, 22)

    def remove(self, child):
        """Remove an image, or what is left of one, once nobody watches."""
        self.outlast(lambda: self.is_removed(child), f'{child} is gone')

    def outlast(self, done, what):
        """Wait until no dead client is in the way."""
        try:
            wait_until(done, what, 4 * WATCH_TIMEOUT_S)
        except AssertionError:
            # An OSD can keep the watch of a client that died while making
            # it for ever, and drops it when it is made to look again.
            _cluster.ceph.mon_command('osd down', ids=['0'])
            wait_until(done, what)

    def is_removed(self, child):
        try:
            self.driver.trash(child)
            self.driver.purge(child)
        except errors.RbdImageNotFound:
            return True
        except _IN_THE_WAY:
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

    def test_death_while_creating(self):
        named = list(self.children('create'))
        for image in named:
            self.victim('create', image).die_within(0.05)
        left = [self.driver.find_image(image) for image in named]
        for image, facts in zip(named, left, strict=True):
            if facts is None:
                self.driver.free_name(image)
            else:
                self.assertEqual('', facts.tag)
                self.assertEqual(MIB, facts.size_bytes)
                self.assertIsNone(facts.parent)
                create = self.driver.create
                self.assertRaises(errors.RbdImageExists, create, image, MIB)
                self.remove(facts.image)
            self.driver.create(image, MIB)
            made = self.driver.find_image(image).image
            _cluster.write(made, 0, b'whole')
            self.assertEqual(b'whole', _cluster.read(made, 0, 5))

    def test_death_while_writing(self):
        made = []
        for named in self.children('write', DEATHS_OF_EACH_ACT):
            self.driver.create(named, 1024 * 4 * MIB)
            made.append(self.driver.find_image(named).image)
        self.die_in('write', made, 0.5)
        for image in made:
            by_name = dataclasses.replace(image, id='')
            self.assertEqual(image, self.driver.find_image(by_name).image)
            self.remove(image)
            self.assertIsNone(self.driver.find_image(image))
            self.driver.create(by_name, MIB)

    def test_death_while_removing(self):
        removed = []
        for child in self.children('remove'):
            self.clone(child)
            made = self.driver.find_image(child).image
            self.victim('trash purge', made).die_within(0.1)
            removed.append(made)
        for made in removed:
            self.remove(made)
            self.assertIsNone(self.driver.find_image(made))
            by_name = dataclasses.replace(made, id='')
            self.assertIsNone(self.driver.find_image(by_name))
            self.clone(by_name)
        self.assertEqual(DEATHS, len(self.driver.children(self.parent)))

    def made(self, verb):
        for child in self.children(verb, DEATHS_OF_EACH_ACT):
            self.clone(child)
            yield self.driver.find_image(child).image

    def with_snapshot(self, verb):
        """Children that were written to after their snapshot was taken."""
        for child in self.made(verb):
            _cluster.write(child, 0, b'before')
            snapshot = self.driver.take_snapshot(child, 'own').snapshot
            _cluster.write(child, 0, b'after!')
            yield snapshot

    def die_in(self, act, images, seconds):
        # They start side by side, and die one by one.
        for victim in [self.victim(act, image) for image in images]:
            victim.die_within(seconds)

    def repeat(self, act, *nouns):
        self.outlast(lambda: self.is_done(act, nouns), act.__name__)

    def is_done(self, act, nouns):
        try:
            act(*nouns)
        except _IN_THE_WAY:
            return False
        return True

    def test_death_while_flattening(self):
        made = list(self.made('flatten'))
        maps = [_cluster.maps(child) for child in made]
        self.die_in('flatten', made, 0.1)
        for child in made:
            self.repeat(self.driver.flatten, child, lambda done, total: True)
            self.assertIsNone(self.driver.find_image(child).parent)
            self.assertEqual(b'parent', _cluster.read(child, 0, 6))
        self.assertEqual(maps, [_cluster.maps(child) for child in made])
        self.assertEqual([], self.driver.children(self.parent))

    def test_death_while_rolling_back(self):
        taken = list(self.with_snapshot('rollback'))
        self.die_in('rollback', [one.image for one in taken], 0.06)
        for snapshot in taken:
            self.repeat(self.driver.rollback, snapshot)
            self.assertEqual(b'before', _cluster.read(snapshot.image, 0, 6))

    def test_death_while_removing_a_snapshot(self):
        taken = list(self.with_snapshot('unsnap'))
        self.die_in('remove_snapshot', [one.image for one in taken], 0.08)
        for snapshot in taken:
            self.repeat(self.driver.remove_snapshot, snapshot)
            self.assertEqual([], self.driver.snapshots(snapshot.image))
            self.assertEqual(b'after!', _cluster.read(snapshot.image, 0, 6))

    def test_death_while_trashing_a_parent(self):
        family = []
        for snapshot in self.with_snapshot('trash'):
            self.driver.protect(snapshot)
            child = Image(
                self.driver.fsid,
                _cluster.disk_pool,
                '',
                f'child-of-{snapshot.image.name}',
            )
            self.driver.clone(snapshot, child, self.clone_format, 22)
            family.append((snapshot, child))
        self.die_in('trash', [parent.image for parent, _child in family], 0.04)
        for parent, child in family:
            self.repeat(self.driver.trash, parent.image)
            by_name = dataclasses.replace(parent.image, id='')
            self.assertIsNone(self.driver.find_image(by_name))
            self.assertTrue(self.driver.is_trashed(parent.image))
            self.assertEqual(1, len(self.driver.children(parent)))
            self.assertEqual(b'before', _cluster.read(child, 0, 6))

    def test_death_while_restoring(self):
        made = list(self.made('restore'))
        for child in made:
            self.driver.trash(child)
        self.die_in('restore', made, 0.015)
        for child in made[::2]:
            self.repeat(self.driver.restore, child)
            self.assertFalse(self.driver.is_trashed(child))
            by_name = dataclasses.replace(child, id='')
            self.assertEqual(child, self.driver.find_image(by_name).image)
        # And what nobody wants back any more is removed all the same.
        for child in made:
            self.remove(child)
            by_name = dataclasses.replace(child, id='')
            self.assertIsNone(self.driver.find_image(by_name))
            self.assertIsNone(self.driver.find_image(child))


class DeathV2Test(DeathV1Test):
    clone_format = CloneFormat.V2

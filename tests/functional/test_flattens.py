# SPDX-License-Identifier: Apache-2.0
"""Chains that get too deep are flattened, in the background or at once."""

from collections.abc import Iterator
import contextlib
import datetime
import os
import re
import time

import rbd
from testtools import matchers

from rbdcloner import errors
from rbdcloner import rpcapi
from rbdcloner.model import CloneFormat
from tests.functional import cloud
from tests.functional.service import GOLDEN
from tests.functional.service import MIB
from tests.stack import manager


class FlattensTest(cloud.CloudTest):
    """Disks of snapshots of disks of snapshots."""

    def generation(self, disk: rpcapi.Disk, number: int) -> rpcapi.Disk:
        """Write a number, take a snapshot, boot from it, check its data."""
        self.write(disk, number * MIB, b'generation %d' % number)
        booted = self.boot(self.snapshot(disk))
        for each in range(number + 1):
            said = b'generation %d' % each
            self.assertEqual(said, self.read(booted, each * MIB, len(said)))
        end = GOLDEN[-1000:]
        self.assertEqual(end, self.read(booted, len(GOLDEN) - 1000, 1000))
        return booted

    def depth(self, disk: rpcapi.Disk) -> int:
        return len(self.ancestors('vms', disk['name']))


class DeepTest(FlattensTest):
    extra = {'flatten': {'soft_depth': 11, 'hard_depth': 12}}  # noqa: RUF012

    def test_chain_of_ten_is_read_through_and_goes(self) -> None:
        disks = [self.boot()]
        for number in range(3):
            disks.append(self.generation(disks[-1], number))
        for _ in range(2):
            disks.append(self.generation(disks[-1], 3))
        self.assertEqual(11, self.depth(disks[-1]))
        self.assertEqual([], self.flattens())
        for disk in disks[:-1]:
            self.delete(disk)
        self.assertEqual(11, self.depth(disks[-1]))
        self.assertEqual(b'generation 0', self.read(disks[-1], 0, 12))


class SoftTest(FlattensTest):
    """The defaults: more than 4 is flattened while the request goes on."""

    def test_deep_chain_is_flattened_in_the_background(self) -> None:
        first = self.boot()
        second = self.generation(first, 0)
        image_id = second['glance_image_id']
        self.assertEqual([], self.flattens())
        third = self.generation(second, 1)
        self.assert_becomes(
            (image_id, 'depth', 'done'), lambda: self.flattens()[0]
        )
        self.assertThat(self.depth(third), matchers.LessThan(4))
        self.assertEqual([], self.ancestors('images', image_id))
        self.assertEqual(
            [(None,)],
            self.select(
                'SELECT attached FROM clones '  # noqa: S608
                f"WHERE name = '{image_id}'"
            ),
        )
        said = b'generation 1'
        self.assertEqual(said, self.read(third, MIB, len(said)))

    def test_flattened_image_lets_what_was_above_it_go(self) -> None:
        image_id = self.upload()
        first = self.boot(image_id)
        second = self.generation(first, 0)
        self.delete(first)
        self.generation(second, 1)
        self.assert_becomes('deleted', self.state_of(first))


class SoftFormat1Test(SoftTest):
    clone_format = CloneFormat.V1


class HardTest(FlattensTest):
    extra = {'flatten': {'soft_depth': 4, 'hard_depth': 4}}  # noqa: RUF012

    def test_request_for_more_waits_and_gets_through(self) -> None:
        second = self.generation(self.boot(), 0)
        third = self.generation(second, 1)
        self.assertThat(self.depth(third), matchers.LessThan(5))
        image_id = second['glance_image_id']
        self.assertEqual([(image_id, 'depth', 'done')], self.flattens())


class NoRoomTest(FlattensTest):
    extra = {'flatten': {'soft_depth': 2, 'hard_depth': 2}}  # noqa: RUF012

    def test_request_that_nothing_can_make_room_for_says_so(self) -> None:
        disk, image_id = self.boot(), self.queued()
        before = self.in_ceph()
        began = time.monotonic()
        error = self.assertRaises(
            errors.RoomNeeded,
            self.api.snapshot_disk,
            self.ctxt,
            disk['name'],
            'vms',
            image_id,
            'images',
        )
        self.assertThat(time.monotonic() - began, matchers.LessThan(5))
        self.assertEqual(2, error.kwargs['limit'])
        self.assertEqual(before, self.in_ceph())
        self.assertEqual([], self.flattens())


class WaitedTest(FlattensTest):
    extra = {'flatten': {'retired_after': 1}}  # noqa: RUF012

    def test_space_of_a_deleted_image_comes_back_while_its_disk_lives(
        self,
    ) -> None:
        image_id = self.upload()
        disk = self.boot(image_id)
        self.servers.glance.delete(image_id)
        self.assert_becomes(self.before | {disk['name']}, self.in_ceph)
        self.assertEqual([(disk['name'], 'waited', 'done')], self.flattens())
        self.assertEqual(GOLDEN, self.read(disk, 0, len(GOLDEN)))


#: Of an image that says nothing else.
OBJECT_MIB = 4


class RateTest(FlattensTest):
    """Flattens of 48 MiB that may go through 16 in a second, and one free."""

    mib, mib_per_s = 48, 16
    extra = {'flatten': {'mib_per_s': mib_per_s}}  # noqa: RUF012

    def test_flatten_is_as_fast_as_it_may_be(self) -> None:
        data = os.urandom(self.mib * MIB)
        image_id = str(self.servers.glance.upload('rate', data).id)
        self.images.append(image_id)
        capped, capped_s = self.flattened(image_id, self.manager)
        self.assert_within_limit(capped_s)
        with self.without_limit() as another:
            _, free_s = self.flattened(image_id, another)
        self.assertLess(free_s, capped_s)
        # The object map goes and comes back, limit or not.
        allowed_s = self.mib / self.mib_per_s
        self.assertLess(capped_s, 2 * (allowed_s + free_s))
        self.assertEqual(data, self.read(capped, 0, len(data)))

    def test_parent_of_small_objects_is_no_way_around(self) -> None:
        """A child's objects have the default size, if that is larger."""
        image_id = self.of_small_objects()
        _, took_s = self.flattened(image_id, self.manager)
        self.assert_within_limit(took_s)

    def assert_within_limit(self, took_s: float) -> None:
        # Nobody waits after the last objects.
        waited_for = self.mib - 2 * OBJECT_MIB
        self.assertLess(waited_for / took_s, self.mib_per_s)

    def flattened(
        self, image_id: str, runner: manager.Manager
    ) -> tuple[rpcapi.Disk, float]:
        """Return a disk that was flattened; the seconds are the log's."""
        disk = self.boot(image_id, size_bytes=self.mib * MIB)
        self.release().flatten(image_id)
        self.assert_becomes([], lambda: self.ancestors('vms', disk['name']))
        at = rf'^(\S+ \S+) .* (?:Flattening )?vms/{disk["name"]} (?:\(|is f)'
        self.assert_becomes(
            2, lambda: len(re.findall(at, runner.output, re.MULTILINE))
        )
        begun, over = (
            datetime.datetime.fromisoformat(when)
            for when in re.findall(at, runner.output, re.MULTILINE)
        )
        return disk, (over - begun).total_seconds()

    @contextlib.contextmanager
    def without_limit(self) -> Iterator[manager.Manager]:
        """Let a manager work alone that flattens as fast as it can."""
        another = manager.Manager(
            self.servers,
            self.database_url,
            name=f'{self.manager.name}-unlimited',
            options={**self.options, 'flatten': {'mib_per_s': 0}},
        )
        daemon = self.manager.daemons[self.manager.name]
        daemon.stop()
        try:
            with another:
                yield another
        finally:
            daemon.start()

    def of_small_objects(self) -> str:
        """Return a Glance image whose RBD image has objects of 1 MiB."""
        image_id = self.queued()
        with self.pool('images') as ioctx:
            rbd.RBD().create(ioctx, image_id, self.mib * MIB, order=20)
            with rbd.Image(ioctx, image_id) as image:
                image.write(os.urandom(self.mib * MIB), 0)
                image.create_snap('snap')
                image.protect_snap('snap')
        fsid = self.servers.ceph.fsid
        self.servers.glance.add_location(
            image_id, f'rbd://{fsid}/images/{image_id}/snap'
        )
        return image_id

# SPDX-License-Identifier: Apache-2.0
"""Every order in which images and the disks between them can be deleted.

Image A → disk 1 → image B → disk 2 → image C: a manager, Glance's API,
RabbitMQ and Ceph see A, B and both disks go in each of the 24 orders; C still
boots and has what all of them wrote; and when C is deleted, all is. Under
format v1 Glance refuses to delete what has children; an administrator then
releases it, in turn by retiring it and by flattening its children.
"""

from collections.abc import Sequence
from concurrent import futures
import dataclasses
import itertools
import os
import threading

from rbdcloner import rpcapi
from rbdcloner.model import CloneFormat
from tests.functional import cloud
from tests.functional.service import MIB

ORDERS = list(itertools.permutations(['disk 1', 'A', 'B', 'disk 2']))
#: What is written into each disk; the second time beyond the golden data.
PLACES = {'disk 1': 1 * MIB, 'disk 2': 5 * MIB}
_WRITTEN_BYTES = 4096
_AT_ONCE = 6


@dataclasses.dataclass
class Chain:
    """The chain that is deleted in one order."""

    order: Sequence[str]
    retire: bool
    disks: dict[str, rpcapi.Disk]
    images: dict[str, str]
    data: bytearray


class OrdersTest(cloud.CloudTest):
    """Clone format 2; below, format 1."""

    database = 'mariadb'
    refused_by_glance = False
    # So deep that nothing is flattened but what the test asks for.
    extra = {'flatten': {'soft_depth': 8, 'hard_depth': 16}}  # noqa: RUF012

    def setUp(self) -> None:
        super().setUp()
        self.refused: list[str] = []
        # Its database is SQLite: of two writers one gets an error.
        self.turn_at_glance = threading.Lock()

    def test_each_order_keeps_the_last_image_and_leaves_nothing(self) -> None:
        with futures.ThreadPoolExecutor(_AT_ONCE) as threads:
            chains = list(threads.map(self.make, range(len(ORDERS))))
            self.assertEqual(ORDERS, [chain.order for chain in chains])
            list(threads.map(self.delete_in_order, chains))
            list(threads.map(self.assert_boots, chains))
            list(threads.map(self.delete_last, chains))
        self.assertEqual(self.refused_by_glance, bool(self.refused))
        self.assert_becomes(self.before, self.in_ceph)

    def make(self, number: int) -> Chain:
        data = bytearray(os.urandom(4 * MIB)).ljust(8 * MIB, b'\0')
        golden = self.upload_golden(bytes(data[: 4 * MIB]))
        chain = Chain(
            ORDERS[number], bool(number % 2), {}, {'A': golden}, data
        )
        self.boot_and_write(chain, 'A', 'disk 1')
        chain.images['B'] = self.snapshot_in_turn(chain, 'disk 1')
        self.boot_and_write(chain, 'B', 'disk 2')
        chain.images['C'] = self.snapshot_in_turn(chain, 'disk 2')
        return chain

    def upload_golden(self, data: bytes) -> str:
        with self.turn_at_glance:
            image_id = str(self.servers.glance.upload('A', data).id)
        self.images.append(image_id)
        return image_id

    def snapshot_in_turn(self, chain: Chain, disk: str) -> str:
        with self.turn_at_glance:
            return self.snapshot(chain.disks[disk])

    def _gone(self, image_id: str) -> bool:
        with self.turn_at_glance:
            return super()._gone(image_id)

    def boot_and_write(self, chain: Chain, image: str, disk: str) -> None:
        made = chain.disks[disk] = self.boot(chain.images[image])
        at, data = PLACES[disk], os.urandom(_WRITTEN_BYTES)
        self.write(made, at, data)
        chain.data[at : at + len(data)] = data

    def delete_in_order(self, chain: Chain) -> None:
        for what in chain.order:
            if what in chain.disks:
                self.delete(chain.disks[what])
            else:
                self.delete_image(chain.images[what], chain.retire)
                chain.retire = not chain.retire

    def delete_image(self, image_id: str, retire: bool) -> None:
        if self._gone(image_id):
            return
        self.refused.append(image_id)
        release = self.release()
        if retire:
            release.retire(image_id)
        else:
            release.flatten(image_id)
        self.assert_becomes(True, lambda: self._gone(image_id))

    def assert_boots(self, chain: Chain) -> None:
        disk = self.boot(chain.images['C'])
        chain.disks['disk 3'] = disk
        self.assertEqual(8 * MIB, disk['size_bytes'])
        found = self.read(disk, 0, 8 * MIB)
        self.assertTrue(found == bytes(chain.data), chain.order)

    def delete_last(self, chain: Chain) -> None:
        self.delete(chain.disks['disk 3'])
        image_id = chain.images['C']
        self.assert_becomes(True, lambda: self._gone(image_id))


class OrdersFormat1Test(OrdersTest):
    clone_format = CloneFormat.V1
    refused_by_glance = True

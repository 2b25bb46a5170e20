# SPDX-License-Identifier: Apache-2.0
"""Data that the service writes into an image of its own."""

from rbdcloner import errors
from rbdcloner.ceph.blocks import blocks
from rbdcloner.model import Image
from tests.driver_suite.claims import MIB
from tests.driver_suite.claims import DriverSuite


class WriteSuite(DriverSuite):
    def new(self, size_bytes: int) -> Image:
        named = self.image(self.name('new'))
        self.driver.create(named, size_bytes)
        return self.found(named).image

    def write(self, image, written):
        with self.driver.open(image) as opened:
            opened.write(written)

    def assertReads(self, image, offset, data):
        self.assertEqual(data, self.cluster.read(image, offset, len(data)))

    def test_an_image_has_what_was_written_and_zeros(self):
        image = self.new(16 * MIB)
        self.write(image, iter([(0, b'first'), (9 * MIB - 2, b'last')]))
        self.assertReads(image, 0, b'first' + bytes(5))
        self.assertReads(image, 4 * MIB, bytes(8))
        self.assertReads(image, 9 * MIB - 4, bytes(2) + b'last' + bytes(2))
        self.assertEqual(8 * MIB, self.driver.used_bytes(image))
        self.assertEqual([], self.driver.watchers(image))

    def test_an_image_has_the_stream_that_its_blocks_were_made_of(self):
        data = b''.join(
            bytes([number]) * MIB + bytes(5 * MIB + number)
            for number in range(1, 7)
        )
        image = self.new(len(data))
        pieces = (data[at : at + 70000] for at in range(0, len(data), 70000))
        self.write(image, blocks(pieces))
        found = self.cluster.read(image, 0, len(data))
        self.assertTrue(found == data)

    def test_more_blocks_are_written_than_are_on_their_way_at_once(self):
        image = self.new(60 * MIB)
        written = [(at * MIB, b'%d' % at * 999) for at in range(60)]
        self.write(image, written)
        for offset, data in written:
            self.assertReads(image, offset, data)

    def test_writing_nothing_changes_nothing(self):
        image = self.new(4 * MIB)
        self.write(image, [])
        self.assertEqual(0, self.driver.used_bytes(image))

    def test_what_was_written_is_cloned(self):
        image = self.new(8 * MIB)
        with self.driver.open(image) as opened:
            opened.write([(4 * MIB, b'data')])
            taken = opened.take_snapshot('snap').snapshot
            opened.protect('snap')
            opened.write([(4 * MIB, b'more')])
        self.assertReads(self.child(taken), 4 * MIB, b'data')
        self.assertReads(image, 4 * MIB, b'more')

    def test_what_is_not_written_stays_the_parents(self):
        parent = self.parent()
        child = self.child(parent)
        self.write(child, [(2, b'IL')])
        self.assertReads(child, 0, b'paILnt')
        self.assertReads(parent.image, 0, b'parent')

    def test_no_block_goes_past_the_end(self):
        image = self.new(4 * MIB)
        too_long = [(0, b'fits'), (4 * MIB - 2, b'not')]
        self.assertRaises(errors.CephRefused, self.write, image, too_long)
        self.assertReads(image, 0, b'fits')
        self.assertReads(image, 4 * MIB - 2, bytes(2))
        self.write(image, [(4 * MIB - 2, b'is')])
        self.assertReads(image, 4 * MIB - 2, b'is')

    def test_qemu_is_told_the_names(self):
        options = self.driver.qemu_target(self.image('name')).options
        self.assertEqual('rbd', options['driver'])
        self.assertEqual(self.cluster.disk_pool, options['pool'])
        self.assertEqual('name', options['image'])
        self.assertNotIn('namespace', options)
        inside = self.image('name', namespace='inside')
        options = self.driver.qemu_target(inside).options
        self.assertEqual('inside', options['namespace'])

    def test_an_error_of_the_blocks_comes_when_nothing_is_on_its_way(self):
        image = self.new(32 * MIB)

        def failing():
            for number in range(6):
                yield number * 4 * MIB, b'data'
            raise ZeroDivisionError

        with self.driver.open(image) as opened:
            self.assertRaises(ZeroDivisionError, opened.write, failing())
            for number in range(6):
                self.assertReads(image, number * 4 * MIB, b'data')
            opened.write([(0, b'more')])
        self.assertReads(image, 0, b'more')
        self.remove(image)

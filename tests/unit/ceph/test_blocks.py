# SPDX-License-Identifier: Apache-2.0
"""However a stream is cut, its blocks are the same, and hold all its data."""

import itertools

import hypothesis
from hypothesis import strategies
import testtools

from rbdcloner.ceph.blocks import BLOCK_BYTES
from rbdcloner.ceph.blocks import blocks

MIB = 1 << 20

_LENGTHS = strategies.one_of(
    strategies.integers(0, 3 * BLOCK_BYTES // 2),
    # About where something begins or ends.
    strategies.builds(
        lambda length, more: max(0, length + more),
        strategies.sampled_from([0, 1 << 12, 1 << 16, MIB, BLOCK_BYTES]),
        strategies.integers(-1, 1),
    ),
)
#: A stream: runs of one byte each, of which every other is zeros.
_STREAMS = strategies.lists(
    strategies.tuples(
        strategies.sampled_from([b'\0', b'x', b'\0y']), _LENGTHS
    ),
    max_size=6,
).map(lambda runs: b''.join((byte * length)[:length] for byte, length in runs))


def cut(data, places):
    """Return *data* in chunks that end at *places*."""
    ends = sorted(place % (len(data) + 1) for place in places)
    pairs = itertools.pairwise([0, *ends, len(data)])
    return [data[begin:end] for begin, end in pairs]


def put_together(written, size_bytes):
    """Return an image of zeros that the blocks were written into."""
    image = bytearray(size_bytes)
    for offset, data in written:
        image[offset : offset + len(data)] = data
    return bytes(image)


class BlocksTest(testtools.TestCase):
    @hypothesis.settings(deadline=None)
    @hypothesis.given(
        _STREAMS, strategies.lists(strategies.integers(0, 1 << 40), max_size=8)
    )
    def test_an_image_of_the_blocks_is_the_stream(self, data, places):
        written = list(blocks(cut(data, places)))
        # Not compared by an assertion that would print megabytes.
        self.assertTrue(put_together(written, len(data)) == data)
        self.assertEqual(list(blocks([data])), written)
        offsets = [offset for offset, _ in written]
        self.assertEqual(sorted(set(offsets)), offsets)
        for offset, block in written:
            self.assertEqual(0, offset % BLOCK_BYTES)
            self.assertLessEqual(len(block), BLOCK_BYTES)
            self.assertTrue(block and block[-1])

    def test_a_stream_of_nothing_has_no_blocks(self):
        for chunks in ([], [b''], [bytes(9 * MIB)], [bytes(7)] * 3):
            self.assertEqual([], list(blocks(chunks)))

    def test_blocks_come_before_the_stream_has_ended(self):
        def chunks():
            yield b'first' + bytes(BLOCK_BYTES)
            raise ZeroDivisionError

        found = blocks(chunks())
        self.assertEqual((0, b'first'), next(found))
        self.assertRaises(ZeroDivisionError, next, found)

# SPDX-License-Identifier: Apache-2.0
"""From a stream of bytes to the blocks of an image that are worth writing.

An RBD image has its data in objects, 4 MiB each unless somebody chose
otherwise; an object that was never written takes no space and reads as zeros.
"""

from collections.abc import Iterable
from collections.abc import Iterator

#: A block lies in one object of an image, if that has them of this size or
#: larger.
BLOCK_BYTES = 4 * 2**20

# What ends in fewer zeros is cut byte by byte.
_FINEST_BYTES = 4 * 2**10


def _runs() -> Iterator[bytes]:
    length = BLOCK_BYTES
    while length >= _FINEST_BYTES:
        yield bytes(length)
        length //= 2


# Each is taken off once at the most, as a length has each binary digit once.
_ZEROS = tuple(_runs())


def blocks(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and the data of each block that has some.

    *chunks* are what an image holds from its beginning on, cut anyhow. The
    zeros at a block's end are left out, and blocks of nothing else. In memory
    it has a block and a chunk.
    """
    offset = 0
    for data in _whole(chunks):
        if kept := _without_its_end(data):
            yield offset, kept
        offset += len(data)


def _whole(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield *chunks* cut into blocks; the last may be shorter."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= BLOCK_BYTES:
            yield bytes(held[:BLOCK_BYTES])
            del held[:BLOCK_BYTES]
    if held:
        yield bytes(held)


def _without_its_end(data: bytes) -> bytes:
    """Return *data* up to its last byte that is not zero."""
    end = len(data)
    for zeros in _ZEROS:
        if data.endswith(zeros, 0, end):
            end -= len(zeros)
    return data[:end].rstrip(b'\0')

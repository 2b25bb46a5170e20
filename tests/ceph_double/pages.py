# SPDX-License-Identifier: Apache-2.0
"""Data as the double keeps it: by pages, those that were written."""

PAGE_BYTES = 4096
_ZEROS = bytes(PAGE_BYTES)

#: By their numbers.
Pages = dict[int, bytes]


def written(pages: Pages, offset: int, data: bytes) -> Pages:
    """Return the pages that are others once *data* is at *offset*."""
    first, within = divmod(offset, PAGE_BYTES)
    numbers = _numbers(offset, len(data))
    whole = bytearray(
        read(pages, first * PAGE_BYTES, len(numbers) * PAGE_BYTES)
    )
    whole[within : within + len(data)] = data
    return {
        number: bytes(whole[at : at + PAGE_BYTES])
        for number, at in zip(
            numbers, range(0, len(whole), PAGE_BYTES), strict=True
        )
    }


def read(pages: Pages, offset: int, length: int) -> bytes:
    """Return what is there; zeros where nothing was written."""
    found = b''.join(
        pages.get(number, _ZEROS) for number in _numbers(offset, length)
    )
    within = offset % PAGE_BYTES
    return found[within : within + length]


def _numbers(offset: int, length: int) -> range:
    return range(offset // PAGE_BYTES, -(-(offset + length) // PAGE_BYTES))

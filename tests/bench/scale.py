# SPDX-License-Identifier: Apache-2.0
"""How large what is measured is: bytes, pools, families."""

from __future__ import annotations

import dataclasses

MiB = 1 << 20
GiB = 1 << 30


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes, each list from small to large.

    ``pools`` is how many other images are in the pools that disks are deleted
    in, ``written_objects`` how many objects of its own a disk has that was in
    use, ``imported_bytes`` the data of an image that cannot be cloned,
    ``children`` how many a parent has. Under format v1 Ceph takes 17 ms
    for each child that it lists, so those parents have a list of their own.
    """

    image_bytes: int
    written_bytes: int
    pools: tuple[int, ...]
    written_objects: int
    imported_bytes: int
    children: tuple[int, ...]
    v1_children: tuple[int, ...]


FULL = Scale(
    image_bytes=GiB,
    written_bytes=GiB,
    pools=(10, 5000),
    written_objects=256,
    imported_bytes=GiB,
    children=(1, 100, 10000),
    v1_children=(1, 100),
)
QUICK = Scale(
    image_bytes=256 * MiB,
    written_bytes=32 * MiB,
    pools=(10, 60),
    written_objects=32,
    imported_bytes=64 * MiB,
    children=(1, 10, 50),
    v1_children=(1, 10),
)

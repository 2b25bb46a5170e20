# SPDX-License-Identifier: Apache-2.0
"""What the double holds in place of RBD images and their snapshots."""

import dataclasses
import datetime
from typing import Literal

from rbdcloner.model import CloneFormat
from tests.ceph_double import pages

Half = Literal['name', 'orphan', 'uncounted']


def now() -> datetime.datetime:
    """Return the time by Ceph's clock."""
    return datetime.datetime.now(datetime.UTC)


@dataclasses.dataclass
class HeldSnapshot:
    """``data`` is its image's own of then, ``parent`` its image's of then."""

    id: int
    name: str
    size_bytes: int
    data: pages.Pages
    parent: tuple['HeldImage', 'HeldSnapshot'] | None
    protected: bool = False
    trashed: bool = False
    created_at: datetime.datetime = dataclasses.field(default_factory=now)


@dataclasses.dataclass
class HeldImage:
    """``data`` is what was written to it; of a page that is the whole."""

    pool: str
    namespace: str
    name: str
    id: str
    size_bytes: int
    order: int = 22
    deep_flatten: bool = True
    parent: tuple['HeldImage', HeldSnapshot] | None = None
    clone_format: CloneFormat | None = None
    tag: str = ''
    delivered: bool = False
    committed: bool = False
    writing: bool = False
    trashed: bool = False
    migrating: bool = False
    created_at: datetime.datetime = dataclasses.field(default_factory=now)
    modified_at: datetime.datetime = dataclasses.field(default_factory=now)
    half_made: Half | None = None
    data: pages.Pages = dataclasses.field(default_factory=dict)
    snapshots: list[HeldSnapshot] = dataclasses.field(default_factory=list)
    watchers: list[str] = dataclasses.field(default_factory=list)

    def objects(self, data: pages.Pages) -> set[int]:
        """Return the numbers of the objects that *data* lies in."""
        return {page * pages.PAGE_BYTES >> self.order for page in data}

    def write(self, offset: int, data: bytes) -> None:
        """Have *data* at *offset*."""
        self.data |= pages.written(data_of(self), offset, data)
        self.modified_at = now()


def data_of(held: HeldImage | HeldSnapshot) -> pages.Pages:
    """Return what *held* reads as, its parents' data included."""
    return {**(data_of(held.parent[1]) if held.parent else {}), **held.data}

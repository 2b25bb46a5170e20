# SPDX-License-Identifier: Apache-2.0
"""Who descends from a parent: the database's answer, and Ceph's.

The children are real: cloned by librbd, sixteen at a time. Their rows are
written by one INSERT for many, into a database of their own, since making
them by ``create_disk`` takes minutes and leaves the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import datetime
from typing import Any
import uuid

import sqlalchemy as sa

from rbdcloner.db import engine
from rbdcloner.db import migration
from rbdcloner.db import tables
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import CloneFormat
from rbdcloner.model import Filters
from rbdcloner.model import Kind
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.states import ParentState
from rbdcloner.states import State
from tests.bench import measuring
from tests.bench.librbd import Librbd
from tests.bench.testbed import Testbed

_ROWS_AT_ONCE = 1000
_SIZE_BYTES = 4 << 20
_ORDER = 22


class Family:
    """A parent and so many children, all in one pool."""

    def __init__(
        self,
        bed: Testbed,
        librbd: Librbd,
        clone_format: CloneFormat,
        count: int,
    ) -> None:
        self.parent = f'parent-v{int(clone_format)}-{count}'
        self.children = [f'{uuid.uuid4()}_disk' for _ in range(count)]
        self.clone_format = clone_format
        pool = bed.CHILDREN_POOL
        librbd.make(pool, [self.parent])
        librbd.take_snapshot(pool, self.parent)
        librbd.make_children(pool, self.parent, self.children)


class ListChildren:
    """``list_children2`` on a warm connection."""

    def __init__(self, bed: Testbed, librbd: Librbd, family: Family) -> None:
        self._bed = bed
        self._librbd = librbd
        self._family = family

    def get(self, names: Sequence[str], threads: int) -> measuring.Block:
        """List the children, as often as there are names."""
        return measuring.measure(self._list, names, threads)

    def _list(self, _: str) -> None:
        pool, parent = self._bed.CHILDREN_POOL, self._family.parent
        with self._librbd.opened(pool, parent, read_only=True) as image:
            image.set_snap(self._bed.SNAPSHOT)
            _require(self._family, len(list(image.list_children2())))


class Queries:
    """The lineage's answers on one parent."""

    def __init__(
        self, lineage: Lineage, parent: Parent, family: Family
    ) -> None:
        self._lineage = lineage
        self._parent = parent
        wanted = Filters(parent_id=parent.id, attached=True)
        self._page = lambda _: lineage.page(wanted)
        if not lineage.has_children(parent) or not self._page(''):
            _require(family, 0)

    def get(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Ask whether there is a child, as often as there are names."""
        return measuring.measure(
            lambda _: self._lineage.has_children(self._parent), names, threads
        )

    def page(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Ask for the first hundred children."""
        return measuring.measure(self._page, names, threads)


def recorded(
    bed: Testbed, librbd: Librbd, database: str, families: Sequence[Family]
) -> Callable[[Family], Queries]:
    """Write the rows of *families*; return who is asked about one."""
    connected = engine.connect(bed.servers.databases[database].create())
    bed.callback(connected.dispose)
    migration.upgrade(connected)
    ids = librbd.ids(bed.CHILDREN_POOL)
    with connected.begin() as connection:
        for number, family in enumerate(families, start=1):
            parent = _parent_row(bed, family, ids, number)
            connection.execute(sa.insert(tables.parents), parent)
            rows = _clone_rows(bed, family, ids, number)
            for begin in range(0, len(rows), _ROWS_AT_ONCE):
                connection.execute(
                    sa.insert(tables.clones),
                    rows[begin : begin + _ROWS_AT_ONCE],
                )
    lineage = Lineage(connected)
    parents = {one.snapshot.image.name: one for one in lineage.parents()}
    return lambda one: Queries(lineage, parents[one.parent], one)


def _parent_row(
    bed: Testbed, family: Family, ids: Mapping[str, str], number: int
) -> dict[str, Any]:
    return {
        'id': number,
        **_place(bed),
        'image_name': family.parent,
        'image_id': ids[family.parent],
        'snapshot_name': bed.SNAPSHOT,
        'snapshot_id': number,
        'live': None,
        'size_bytes': _SIZE_BYTES,
        'order': _ORDER,
        'glance_image_id': str(uuid.uuid4()),
        'protector': Protector.OTHERS,
        'purpose': Purpose.ADOPTED,
        'depth': 0,
        'state': ParentState.ACTIVE,
    }


def _clone_rows(
    bed: Testbed, family: Family, ids: Mapping[str, str], number: int
) -> list[dict[str, Any]]:
    glance_image_id = str(uuid.uuid4())
    return [
        {
            'uuid': str(uuid.uuid4()),
            **_place(bed),
            'name': name,
            'image_id': ids[name],
            'live': 1,
            'kind': Kind.DISK,
            'attached': 1,
            'size_bytes': _SIZE_BYTES,
            'clone_format': family.clone_format,
            'parent_id': number,
            'glance_image_id': glance_image_id,
            'instance_uuid': name.partition('_')[0],
            'project_id': uuid.uuid4().hex,
            'host': 'compute-1',
            'state': State.READY,
            'reason': '',
            'owner': '',
            'fence': 1,
        }
        for name in family.children
    ]


def _place(bed: Testbed) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    return {
        'fsid': bed.servers.ceph.fsid,
        'pool': bed.CHILDREN_POOL,
        'namespace': '',
        'created_at': now,
        'updated_at': now,
    }


def _require(family: Family, found: int) -> None:
    """Make sure that what is measured is what it says.

    :raises ValueError: it is not.
    """
    if found != len(family.children):
        raise ValueError(f'{found} children of {family.parent} were found')

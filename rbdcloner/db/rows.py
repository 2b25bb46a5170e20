# SPDX-License-Identifier: Apache-2.0
"""Rows become the model's nouns here, and only here."""

import dataclasses
from typing import Any

import sqlalchemy as sa

from rbdcloner.db import clock
from rbdcloner.db import tables
from rbdcloner.db.tables import bases
from rbdcloner.db.tables import clones
from rbdcloner.db.tables import flattens
from rbdcloner.db.tables import parents
from rbdcloner.model import Base
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Flatten
from rbdcloner.model import FlattenReason
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.model import Snapshot
from rbdcloner.model import Way
from rbdcloner.model import Worker
from rbdcloner.states import BaseState
from rbdcloner.states import FlattenState
from rbdcloner.states import ParentState
from rbdcloner.states import State

#: What an UPDATE may have changed: :func:`changed` wants these.
CHANGING = (
    clones.c.image_id,
    clones.c.size_bytes,
    clones.c.state,
    clones.c.reason,
    clones.c.owner,
    clones.c.fence,
    clones.c.lease_expires_at,
    clones.c.attached,
    clones.c.attempts,
    clones.c.retry_at,
    clones.c.rollback_to,
    clones.c.held_bytes,
    clones.c.updated_at,
)

# All tables have an id, a state …
_PARENT_LABELS = [
    column.label(f'parent_{column.name}_') for column in parents.c
]

_FLATTEN_LABELS = [
    column.label(f'flatten_{column.name}_') for column in flattens.c
]
_BASE_LABELS = [column.label(f'base_{column.name}_') for column in bases.c]
_TREE = clones.outerjoin(parents, clones.c.parent_id == parents.c.id)

#: Clones with their parents: :func:`clone_and_parent` wants its rows.
CLONES = sa.select(*clones.c, *_PARENT_LABELS).select_from(_TREE)

#: Flattens with their clones: :func:`flatten` wants its rows.
FLATTENS = sa.select(*_FLATTEN_LABELS, *clones.c, *_PARENT_LABELS).select_from(
    flattens.join(_TREE, flattens.c.clone_id == clones.c.id)
)

#: Bases with their images' clones: :func:`base` wants its rows.
BASES = sa.select(*_BASE_LABELS, *clones.c).select_from(
    bases.outerjoin(clones, bases.c.clone_id == clones.c.id)
)

# What a flatten and a base have in common, and in their rows as well.
_QUEUED = (
    'id',
    'reason',
    'slot',
    'owner',
    'fence',
    'lease_expires_at',
    'attempts',
    'retry_at',
    'created_at',
    'updated_at',
)

#: The database's clock, as the tables have times.
NOW = sa.type_coerce(clock.utc_now(), tables.workers.c.seen_at.type)


def clone_and_parent(row: sa.Row[Any]) -> Clone:
    """Return the clone in a row of :data:`CLONES`."""
    facts = row._mapping
    own = {c.name: facts[f'parent_{c.name}_'] for c in parents.c}
    return clone(row, None if own['id'] is None else _parent(own))


def clone(row: sa.Row[Any], parent: Parent | None) -> Clone:
    """Return the clone, a child of *parent*, in a row of its table."""
    return Clone(
        id=row.id,
        uuid=row.uuid,
        image=Image(row.fsid, row.pool, row.namespace, row.name, row.image_id),
        size_bytes=row.size_bytes,
        clone_format=CloneFormat(row.clone_format),
        kind=Kind(row.kind),
        parent=parent,
        attached=row.attached == 1,
        glance_image_id=row.glance_image_id,
        instance_uuid=row.instance_uuid,
        project_id=row.project_id,
        host=row.host,
        state=State(row.state),
        reason=row.reason,
        owner=row.owner,
        fence=row.fence,
        lease_expires_at=row.lease_expires_at,
        attempts=row.attempts,
        retry_at=row.retry_at,
        rollback_to=row.rollback_to,
        held_bytes=row.held_bytes,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def changed(clone: Clone, row: sa.Row[Any]) -> Clone:
    """Return *clone* with what a row of :data:`CHANGING` says."""
    return dataclasses.replace(
        clone,
        image=dataclasses.replace(clone.image, id=row.image_id),
        size_bytes=row.size_bytes,
        state=State(row.state),
        reason=row.reason,
        owner=row.owner,
        fence=row.fence,
        lease_expires_at=row.lease_expires_at,
        attached=row.attached == 1,
        attempts=row.attempts,
        retry_at=row.retry_at,
        rollback_to=row.rollback_to,
        held_bytes=row.held_bytes,
        updated_at=row.updated_at,
    )


def flatten(row: sa.Row[Any]) -> Flatten:
    """Return the flatten in a row of :data:`FLATTENS`."""
    facts = row._mapping
    own = {c.name: facts[f'flatten_{c.name}_'] for c in flattens.c}
    return Flatten(
        clone=clone_and_parent(row),
        why=FlattenReason(own['why']),
        forced=own['forced'],
        state=FlattenState(own['state']),
        done_objects=own['done_objects'],
        total_objects=own['total_objects'],
        **{name: own[name] for name in _QUEUED},
    )


def base(row: sa.Row[Any]) -> Base:
    """Return the base in a row of :data:`BASES`."""
    facts = row._mapping
    own = {c.name: facts[f'base_{c.name}_'] for c in bases.c}
    return Base(
        uuid=own['uuid'],
        fsid=own['fsid'],
        glance_image_id=own['glance_image_id'],
        checksum=own['checksum'],
        state=BaseState(own['state']),
        # An image that is imported descends from none.
        clone=None if own['clone_id'] is None else clone(row, None),
        way=Way(own['way']),
        done_bytes=own['done_bytes'],
        total_bytes=own['total_bytes'],
        asked_at=own['asked_at'],
        **{name: own[name] for name in _QUEUED},
    )


def worker(row: sa.Row[Any]) -> Worker:
    """Return the worker in a row of its table and :data:`NOW`."""
    facts = dict(row._mapping)
    return Worker(**facts | {'addresses': tuple(row.addresses.split())})


def parent(row: sa.Row[Any]) -> Parent:
    """Return the parent in a row of its table."""
    return _parent(dict(row._mapping))


def _parent(facts: dict[str, Any]) -> Parent:
    image = Image(
        fsid=facts['fsid'],
        pool=facts['pool'],
        namespace=facts['namespace'],
        name=facts['image_name'],
        id=facts['image_id'],
    )
    return Parent(
        id=facts['id'],
        snapshot=Snapshot(image, facts['snapshot_name'], facts['snapshot_id']),
        size_bytes=facts['size_bytes'],
        order=facts['order'],
        glance_image_id=facts['glance_image_id'],
        protector=Protector(facts['protector']),
        purpose=Purpose(facts['purpose']),
        depth=facts['depth'],
        state=ParentState(facts['state']),
    )

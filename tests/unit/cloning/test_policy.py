# SPDX-License-Identifier: Apache-2.0
"""How deep a child would be, and whom to flatten."""

import dataclasses
import datetime

import pytest

from rbdcloner.cloning import policy
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.model import Snapshot
from rbdcloner.states import ParentState
from rbdcloner.states import State

NOW = datetime.datetime.now(datetime.UTC)


def parent_of(name: str, depth: int = 0) -> Parent:
    return Parent(
        id=1,
        snapshot=Snapshot(Image('fsid', 'images', '', name, name), 'snap', 1),
        size_bytes=1,
        order=22,
        glance_image_id=name,
        protector=Protector.NOBODY,
        purpose=Purpose.ADOPTED,
        depth=depth,
        state=ParentState.ACTIVE,
    )


def row(name: str, parent: Parent | None, **changes: object) -> Clone:
    clone = Clone(
        id=1,
        uuid=name,
        image=Image('fsid', 'vms', '', name, name),
        size_bytes=1,
        clone_format=CloneFormat.V2,
        kind=Kind.DISK,
        parent=parent,
        attached=parent is not None,
        glance_image_id='',
        instance_uuid='',
        project_id='',
        host='',
        state=State.READY,
        reason='',
        owner='',
        fence=1,
        lease_expires_at=None,
        attempts=0,
        retry_at=None,
        rollback_to=None,
        held_bytes=None,
        created_at=NOW,
        updated_at=NOW,
    )
    return dataclasses.replace(clone, **changes)


GOLDEN = parent_of('golden', depth=2)
DISK = row('disk', GOLDEN)
IMAGE = row('image', parent_of('disk'), kind=Kind.IMAGE)
ADOPTED = row('golden', None, kind=Kind.ADOPTED, state=State.RETIRED)
FLAT = dataclasses.replace(IMAGE, attached=False)


@pytest.mark.parametrize(
    ('parent', 'chain', 'depth'),
    [
        (GOLDEN, [], 3),
        (parent_of('disk'), [DISK], 4),
        (parent_of('image'), [IMAGE, DISK], 5),
        (parent_of('image'), [IMAGE, DISK, ADOPTED], 5),
        (GOLDEN, [ADOPTED], 3),
        (parent_of('image'), [FLAT], 1),
    ],
)
def test_a_depth_counts_every_image_above(parent, chain, depth):
    assert policy.depth(parent, chain) == depth


RETIRED = dataclasses.replace(DISK, state=State.RETIRED)


@pytest.mark.parametrize(
    ('chain', 'chosen'),
    [
        ([], None),
        ([DISK], None),
        ([IMAGE, DISK], IMAGE),
        ([DISK, IMAGE], IMAGE),
        ([RETIRED, IMAGE], RETIRED),
        ([FLAT, RETIRED], RETIRED),
        ([DISK, ADOPTED], None),
    ],
)
def test_the_nearest_that_no_guest_has_open_is_flattened(chain, chosen):
    assert policy.relief(chain) is chosen

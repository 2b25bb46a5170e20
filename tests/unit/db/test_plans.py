# SPDX-License-Identifier: Apache-2.0
"""No query reads a whole table."""

import pytest
from sqlalchemy import event

from rbdcloner.db.lineage import Lineage
from rbdcloner.model import CloneFormat
from rbdcloner.model import Filters
from rbdcloner.model import FlattenReason
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.model import Way
from rbdcloner.states import BaseState
from rbdcloner.states import FlattenState
from rbdcloner.states import State
from tests.lineage_suite.claims import FACTS
from tests.lineage_suite.claims import FSID
from tests.lineage_suite.claims import REQUEST
from tests.lineage_suite.claims import retire
from tests.lineage_suite.claims import seen


def everything(lineage):
    """Run each query once."""
    parent = lineage.adopt(FACTS, 'g', Protector.SERVICE)
    clone = lineage.reserve(REQUEST, parent, CloneFormat.V2, 'me', -1)
    lineage.find(FSID, 'vms', '', 'a_disk')
    lineage.abandoned(0, 10)
    clone = lineage.hold(clone, 'me', 30)
    clone = lineage.note_image_id(clone, 'id')
    lineage.let_go(clone, 'why')
    clone = lineage.move(clone, State.UNDOING)
    lineage.move(clone, State.FAILED)
    for changes in (
        {},
        {'uuid': 'a-uuid'},
        {'instance_uuid': 'instance'},
        {'parent_id': parent.id},
        {'glance_image_id': 'g'},
        {'project_id': 'project'},
        {'host': 'host'},
        {'pool': 'vms'},
        {'name': 'a_disk'},
        {'states': [State.READY, State.RESERVED]},
        {'kind': Kind.IMAGE},
        {'attached': True},
        {'parent_id': 1, 'attached': True},
    ):
        lineage.page(Filters(**changes))
    lineage.parents([parent.id])
    for pool in ('', 'images'):
        lineage.active_parents(Purpose.ADOPTED, pool)
    lineage.unneeded_parents(0, 10)
    lineage.releasing(parent)
    lineage.released(parent)


def any_order(lineage):
    """Run each query about what goes in any order once."""
    parent = lineage.adopt(FACTS, 'g', Protector.NOBODY)
    disk = lineage.reserve(REQUEST, parent, CloneFormat.V2, 'me', 30)
    disk = lineage.renew(disk, 30)
    disk = lineage.move(disk, State.READY, image_id='id')
    image = lineage.reserve_image(
        disk, 'image', 'images', CloneFormat.V2, 'me', 30
    )
    planned = lineage.plan_snapshot(
        disk.image, 'name', Purpose.CALLER, Protector.NOBODY, size_bytes=1
    )
    lineage.made_snapshot(planned, seen(disk.image, 'name', 3))
    lineage.adopt_image(FACTS.snapshot.image, 'g', 1, CloneFormat.V2)
    lineage.snapshots_of(disk.image)
    lineage.chain(image.parent)
    lineage.has_children(parent)
    for why in (False, True):
        lineage.want_flatten(disk, FlattenReason.DEPTH, why)
    running = lineage.next_flatten('me', 30, 1)
    running = lineage.flatten_progress(running, 1, 2, 30)
    lineage.put_back_flatten(running, 'why')
    lineage.cancel_flatten(running, 'why')
    lineage.want_flatten(disk, FlattenReason.DEPTH)
    lineage.cancel_flattens_of(disk, 'why')
    lineage.want_flatten(disk, FlattenReason.DEPTH)
    lineage.flattened(lineage.next_flatten('me', 30, 1))
    lineage.flattens([FlattenState.DONE], disk.id)
    lineage.flattens()
    lineage.detach(image)
    retired = retire(lineage, disk)
    lineage.note_held_bytes(retired, 1)
    lineage.reapable(10)
    lineage.waiting()
    lineage.take_duty('survey', 'me', 60)
    lineage.take_duty('survey', 'me', 60)
    lineage.register_worker('me', 'host', 1, '1', '1.0')
    lineage.beat('me', 0)
    lineage.note_addresses('me', ['a'])
    lineage.shut_out('me', lineage.addresses_of('me'))
    lineage.worker_stopped('me')
    lineage.held()


def imports(lineage):
    """Run each query about bases once."""
    lineage.want_base(FSID, 'g', 'md5:1', 1)
    for again in (False, True):
        lineage.want_base(FSID, 'g', 'md5:1', 1, again)
        base = lineage.next_base('me', 30, 1)
        base = lineage.base_progress(base, 1, 2, 30, Way.STREAM)
        base = lineage.refuse_base(base, 'why')
    base = lineage.want_base(FSID, 'g', 'md5:1', 1, True)
    lineage.put_back_base(lineage.next_base('me', 30, 1), 'why')
    lineage.drop_base(base, 'why')
    lineage.want_base(FSID, 'g', 'md5:1', 1)
    base = lineage.next_base('me', 30, 1)
    clone = lineage.reserve_base_image(
        base, 1, 'images', CloneFormat.V2, 'me', 30
    )
    planned = lineage.plan_snapshot(
        Image(FSID, 'images', '', clone.image.name, 'base-id'),
        'snap',
        Purpose.BASE,
        Protector.SERVICE,
        size_bytes=1,
    )
    lineage.made_snapshot(planned, seen(planned.snapshot.image, 'snap', 5))
    base = lineage.base_made(base, clone, 'base-id', 1)
    assert lineage.parent_of_base(base) is not None
    lineage.base(base.uuid)
    lineage.bases()
    lineage.bases([BaseState.READY])
    lineage.bases(glance_image_id='g')
    lineage.bases_beat()
    assert lineage.childless_bases() == lineage.idle_bases(0, 10) == [base]
    lineage.drop_base(base, 'why')
    lineage.unneeded_parents(0, 10)


@pytest.fixture
def plans(engine):
    """How SQLite runs each statement."""
    statements = {}

    @event.listens_for(engine, 'before_cursor_execute')
    def keep(connection, cursor, statement, parameters, context, many):
        if statement.split()[0] in ('SELECT', 'INSERT', 'UPDATE'):
            statements[statement] = parameters

    everything(Lineage(engine))
    any_order(Lineage(engine))
    imports(Lineage(engine))
    event.remove(engine, 'before_cursor_execute', keep)
    with engine.connect() as connection:
        return {
            statement: [
                row.detail
                for row in connection.exec_driver_sql(
                    f'EXPLAIN QUERY PLAN {statement}', parameters
                )
            ]
            for statement, parameters in dict(statements).items()
        }


def test_every_query_is_served_by_an_index(plans):
    assert len(plans) > 60
    scans = {
        statement: steps
        for statement, steps in plans.items()
        if any(step.startswith('SCAN') for step in steps)
    }
    assert scans == {}

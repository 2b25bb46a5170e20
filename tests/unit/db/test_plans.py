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
from rbdcloner.states import FlattenState
from rbdcloner.states import ImportState
from rbdcloner.states import State
from tests.lineage_suite.claims import FACTS
from tests.lineage_suite.claims import FSID
from tests.lineage_suite.claims import REQUEST
from tests.lineage_suite.claims import retire
from tests.lineage_suite.claims import seen


def everything(lineage):
    """Run each query once."""
    parent = lineage.parents.adopt(FACTS, 'g', Protector.SERVICE)
    clone = lineage.reservations.reserve(
        REQUEST, parent, CloneFormat.V2, 'me', -1
    )
    lineage.clones.find(FSID, 'vms', '', 'a_disk')
    lineage.pending.abandoned(0, 10)
    clone = lineage.leases.hold(clone, 'me', 30)
    clone = lineage.clones.note_image_id(clone, 'id')
    lineage.leases.let_go(clone, 'why')
    clone = lineage.clones.transition(clone, State.UNDOING)
    lineage.clones.transition(clone, State.FAILED)
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
        lineage.clones.page(Filters(**changes))
    lineage.parents.page([parent.id])
    for pool in ('', 'images'):
        lineage.parents.active(Purpose.ADOPTED, pool)
    lineage.pending.unneeded_parents(0, 10)
    lineage.parent_release.releasing(parent)
    lineage.parent_release.released(parent)


def any_order(lineage):
    """Run each query about what goes in any order once."""
    parent = lineage.parents.adopt(FACTS, 'g', Protector.NOBODY)
    disk = lineage.reservations.reserve(
        REQUEST, parent, CloneFormat.V2, 'me', 30
    )
    disk = lineage.leases.renew(disk, 30)
    disk = lineage.clones.transition(disk, State.READY, image_id='id')
    image = lineage.reservations.reserve_image(
        disk, 'image', 'images', CloneFormat.V2, 'me', 30
    )
    planned = lineage.snapshots.plan_snapshot(
        disk.image, 'name', Purpose.CALLER, Protector.NOBODY, size_bytes=1
    )
    lineage.snapshots.made_snapshot(planned, seen(disk.image, 'name', 3))
    lineage.reservations.adopt_image(
        FACTS.snapshot.image, 'g', 1, CloneFormat.V2
    )
    lineage.snapshots.snapshots_of(disk.image)
    lineage.clones.chain(image.parent)
    lineage.clones.has_children(parent)
    for why in (False, True):
        lineage.flattens.want_flatten(disk, FlattenReason.DEPTH, why)
    running = lineage.flattens.next_flatten('me', 30, 1)
    running = lineage.flattens.flatten_progress(running, 1, 2, 30)
    lineage.flattens.put_back_flatten(running, 'why')
    lineage.flattens.cancel_flatten(running, 'why')
    lineage.flattens.want_flatten(disk, FlattenReason.DEPTH)
    lineage.flattens.cancel_flattens_of(disk, 'why')
    lineage.flattens.want_flatten(disk, FlattenReason.DEPTH)
    lineage.flattens.flattened(lineage.flattens.next_flatten('me', 30, 1))
    lineage.flattens.page([FlattenState.DONE], disk.id)
    lineage.flattens.page()
    lineage.clones.detach(image)
    retired = retire(lineage, disk)
    lineage.clones.note_held_bytes(retired, 1)
    lineage.pending.reapable(10)
    lineage.pending.waiting()
    lineage.duties.take_duty('reconciler', 'me', 60)
    lineage.duties.take_duty('reconciler', 'me', 60)
    lineage.workers.register_worker('me', 'host', 1, '1', '1.0')
    lineage.workers.beat('me', 0)
    lineage.workers.note_addresses('me', ['a'])
    lineage.workers.shut_out('me', lineage.workers.addresses_of('me'))
    lineage.workers.worker_stopped('me')
    lineage.workers.held()


def imports(lineage):
    """Run each query about bases once."""
    lineage.image_imports.want_base(FSID, 'g', 'md5:1', 1)
    for again in (False, True):
        lineage.image_imports.want_base(FSID, 'g', 'md5:1', 1, again)
        base = lineage.import_runs.next_base('me', 30, 1)
        base = lineage.import_runs.base_progress(base, 1, 2, 30, Way.STREAM)
        base = lineage.import_runs.refuse_base(base, 'why')
    base = lineage.image_imports.want_base(FSID, 'g', 'md5:1', 1, True)
    lineage.import_runs.put_back_base(
        lineage.import_runs.next_base('me', 30, 1), 'why'
    )
    lineage.base_images.drop_base(base, 'why')
    lineage.image_imports.want_base(FSID, 'g', 'md5:1', 1)
    base = lineage.import_runs.next_base('me', 30, 1)
    clone = lineage.base_images.reserve_base_image(
        base, 1, 'images', CloneFormat.V2, 'me', 30
    )
    planned = lineage.snapshots.plan_snapshot(
        Image(FSID, 'images', '', clone.image.name, 'base-id'),
        'snap',
        Purpose.BASE,
        Protector.SERVICE,
        size_bytes=1,
    )
    lineage.snapshots.made_snapshot(
        planned, seen(planned.snapshot.image, 'snap', 5)
    )
    base = lineage.base_images.base_made(base, clone, 'base-id', 1)
    assert lineage.base_images.parent_of_base(base) is not None
    lineage.image_imports.base(base.uuid)
    lineage.image_imports.page()
    lineage.image_imports.page([ImportState.READY])
    lineage.image_imports.page(glance_image_id='g')
    lineage.image_imports.bases_beat()
    assert (
        lineage.base_images.childless_bases()
        == lineage.base_images.idle_bases(0, 10)
        == [base]
    )
    lineage.base_images.drop_base(base, 'why')
    lineage.pending.unneeded_parents(0, 10)


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

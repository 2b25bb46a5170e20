# SPDX-License-Identifier: Apache-2.0
"""No query reads a whole table."""

import pytest
from sqlalchemy import event

from rbdcloner.db.lineage import Lineage
from rbdcloner.model import CloneFormat
from rbdcloner.model import Filters
from rbdcloner.model import Protector
from rbdcloner.states import State
from tests.lineage_suite.claims import FACTS
from tests.lineage_suite.claims import FSID
from tests.lineage_suite.claims import REQUEST


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
    ):
        lineage.page(Filters(**changes))
    lineage.parents([parent.id])
    lineage.unneeded_parents(0, 10)
    lineage.releasing(parent)
    lineage.released(parent)


@pytest.fixture
def plans(engine):
    """How SQLite runs each statement."""
    statements = {}

    @event.listens_for(engine, 'before_cursor_execute')
    def keep(connection, cursor, statement, parameters, context, many):
        if statement.split()[0] in ('SELECT', 'INSERT', 'UPDATE'):
            statements[statement] = parameters

    everything(Lineage(engine))
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
    assert len(plans) > 20
    scans = {
        statement: steps
        for statement, steps in plans.items()
        if any(step.startswith('SCAN') for step in steps)
    }
    assert scans == {}

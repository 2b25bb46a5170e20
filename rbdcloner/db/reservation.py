# SPDX-License-Identifier: Apache-2.0
"""The intents: a clone's row is written before anything is made in Ceph.

Taking a child is one statement, the busiest one of the service. It races on
the parent's row with the parent's release: the taker reads it FOR SHARE, the
releaser FOR UPDATE, and one of them sees the other's work.
"""

from typing import Any
import uuid

from oslo_db import exception
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import ancestry
from rbdcloner.db import clock
from rbdcloner.db import rows
from rbdcloner.db.tables import clones
from rbdcloner.db.tables import parents
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import writes
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import DiskRequest
from rbdcloner.model import Parent
from rbdcloner.states import ParentState
from rbdcloner.states import State


class Reservations(Database):
    """How :class:`~rbdcloner.db.lineage.Lineage` writes a new clone's row."""

    @writes
    def reserve(
        self,
        connection: sa.Connection,
        request: DiskRequest,
        parent: Parent,
        clone_format: CloneFormat,
        owner: str,
        lease_s: float,
    ) -> Clone:
        """Write the intent: a RESERVED row under the request's name, held.

        :raises DiskExists: a live row has the name.
        :raises ParentNotFound: *parent* has no row.
        :raises ParentReleased: *parent* takes no child.
        """
        wanted = values(request, parent, clone_format, owner, lease_s)
        try:
            row = connection.execute(STATEMENT, wanted).one_or_none()
        except exception.DBDuplicateEntry as exc:
            raise errors.DiskExists(
                name=request.name, pool=request.pool
            ) from exc
        if row is None:
            raise ancestry.refusal(connection, parent)
        return rows.clone(row, parent)


def values(
    request: DiskRequest,
    parent: Parent,
    clone_format: CloneFormat,
    owner: str,
    lease_s: float,
) -> dict[str, Any]:
    """Return what :data:`STATEMENT` is executed with."""
    return {
        'uuid': str(uuid.uuid4()),
        'pool': request.pool,
        # A child is where Nova looks for it: in the namespace without a name.
        'namespace': '',
        'name': request.name,
        'image_id': '',
        'live': 1,
        'size_bytes': request.size_bytes,
        'clone_format': clone_format,
        'glance_image_id': request.image_id,
        'instance_uuid': request.instance_uuid,
        'project_id': request.project_id,
        'host': request.host,
        'state': State.RESERVED,
        'reason': '',
        'owner': owner,
        'fence': 1,
        'of_parent': parent.id,
        'lease_s': float(lease_s),
    }


def _statement() -> sa.Executable:
    columns: dict[str, sa.ColumnElement[Any]] = {
        column.name: sa.bindparam(column.name, type_=column.type)
        for column in clones.c
        if column.name != 'id'
    }
    columns['fsid'] = parents.c.fsid
    columns['parent_id'] = parents.c.id
    columns['lease_expires_at'] = clock.utc_after(
        sa.bindparam('lease_s', type_=sa.Float())
    )
    columns['created_at'] = columns['updated_at'] = clock.utc_now()
    source = (
        sa.select(*columns.values())
        .select_from(parents)
        .where(
            parents.c.id == sa.bindparam('of_parent'),
            parents.c.state == ParentState.ACTIVE,
        )
        .with_for_update(read=True)
    )
    insert = sa.insert(clones).from_select(list(columns), source)
    return insert.returning(*clones.c)


#: INSERT … SELECT … FOR SHARE … RETURNING: a row of ``clones``, or none. It
#: is there if, and only if, the parent was active at a moment when it was
#: locked against a releaser until our COMMIT. A releaser that was first makes
#: the SELECT wait; then PostgreSQL tests the WHERE again on the row as
#: committed (EvalPlanQual), and InnoDB's locking read sees that row in the
#: first place. SQLite has one writer at a time.
STATEMENT = _statement()

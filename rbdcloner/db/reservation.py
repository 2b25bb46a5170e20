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
from rbdcloner.db import changing
from rbdcloner.db import clock
from rbdcloner.db import rows
from rbdcloner.db import search
from rbdcloner.db.deletions import Deletions
from rbdcloner.db.tables import clones
from rbdcloner.db.tables import parents
from rbdcloner.db.transaction import writes
from rbdcloner.db.warrants import Warrants
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import DiskRequest
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.model import Warrant
from rbdcloner.states import ParentState
from rbdcloner.states import State

#: A snapshot of this name was made for the clone whose uuid follows.
EDGE_PREFIX = 'rbdcloner-'

# Of the uuids of adopted images.
_ADOPTED = uuid.UUID('8c1f6a1e-5d0b-4f0e-9c57-2f1f3a6f7c11')


class Reservations(Deletions, Warrants):
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

        :raises CreationOutdated: the name, or the instance, was deleted later
            than the caller knew.
        :raises DiskExists: a live row has the name.
        :raises ParentNotFound: *parent* has no row.
        :raises ParentReleased: *parent* takes no child.
        """
        fsid = parent.snapshot.image.fsid
        self._refuse_outdated(
            connection,
            Image(fsid, request.pool, '', request.name),
            request.instance_uuid,
            request.after,
        )
        wanted = values(request, parent, clone_format, owner, lease_s)
        try:
            row = connection.execute(STATEMENT, wanted).one_or_none()
        except exception.DBDuplicateEntry as exc:
            raise errors.DiskExists(
                name=request.name, pool=request.pool
            ) from exc
        if row is None:
            raise ancestry.refusal(connection, parent)
        self._note_recreation(connection, row.id, request.after)
        return rows.clone(row, parent)

    @writes
    def reserve_image(
        self,
        connection: sa.Connection,
        disk: Clone,
        image_id: str,
        pool: str,
        clone_format: CloneFormat,
        owner: str,
        lease_s: float,
        after: int | None = None,
    ) -> Clone:
        """Write the intent to make *disk* a Glance image, in *pool*.

        That is a RESERVED row, held, under the image's id; and as its parent
        an edge: a PLANNED snapshot of the disk, named after the row's uuid.
        Nobody moves the disk meanwhile, so that it has a child before it is
        deleted, or takes none.

        :raises CreationOutdated: the name was deleted later than *after*.
        :raises DiskExists: a live row has the name.
        :raises RowMoved: the disk is not READY any more.
        """
        there = Image(disk.image.fsid, pool, '', image_id)
        self._refuse_outdated(connection, there, '', after)
        changing.keep(connection, disk, clones.c.state == State.READY)
        tag = str(uuid.uuid4())
        edge = _plan_edge(connection, disk, tag, clone_format)
        row = inserted(
            connection,
            {
                'uuid': tag,
                'fsid': disk.image.fsid,
                'pool': pool,
                'name': image_id,
                'live': 1,
                'kind': Kind.IMAGE,
                'attached': 1,
                'size_bytes': disk.size_bytes,
                'clone_format': clone_format,
                'parent_id': edge.id,
                'glance_image_id': image_id,
                'instance_uuid': disk.instance_uuid,
                'project_id': disk.project_id,
                'host': disk.host,
                'state': State.RESERVED,
                'owner': owner,
                'fence': 1,
                'lease_expires_at': clock.utc_after(lease_s),
            },
        )
        self._note_recreation(connection, row.id, after)
        return rows.clone(row, edge)

    @writes
    def adopt_image(
        self,
        connection: sa.Connection,
        image: Image,
        glance_image_id: str,
        size_bytes: int,
        clone_format: CloneFormat,
        *,
        trashed: bool = False,
    ) -> Clone:
        """Record *image*, which others made and want no more, or find its row.

        The row is DELETING, or RETIRED if the image is *trashed* and its name
        free for others, and nobody holds it. Its uuid comes from the image's
        identity: two requests at once make one row, and an image that a
        final row of this making speaks of gets no other; that is returned.

        :raises DiskExists: another live row has the name.
        """
        tag = str(uuid.uuid5(_ADOPTED, '/'.join(_identity(image))))
        known = search.by_image(connection, image) or tagged(connection, tag)
        if known is not None:
            return known
        wanted = {
            'uuid': tag,
            'fsid': image.fsid,
            'pool': image.pool,
            'namespace': image.namespace,
            'name': image.name,
            'image_id': image.id,
            'live': None if trashed else 1,
            'kind': Kind.ADOPTED,
            'attached': None,
            'size_bytes': size_bytes,
            'clone_format': clone_format,
            'glance_image_id': glance_image_id,
            'state': State.RETIRED if trashed else State.DELETING,
        }
        try:
            with connection.begin_nested():
                adopted = rows.clone(inserted(connection, wanted), None)
        except errors.DiskExists:
            known = tagged(connection, tag)
            if known is None:
                raise
            return known
        self._issue(
            connection,
            adopted,
            Warrant(Order.ABSENCE, 'Glance deleted it')
            if trashed
            else Warrant(Order.OPERATOR, 'image release --retire'),
        )
        return adopted


def _identity(image: Image) -> tuple[str, ...]:
    return (image.fsid, image.pool, image.namespace, image.id)


def tagged(connection: sa.Connection, tag: str) -> Clone | None:
    """Return the row with the uuid *tag*, in whatever state."""
    row = connection.execute(
        rows.CLONES.where(clones.c.uuid == tag)
    ).one_or_none()
    return None if row is None else rows.clone_and_parent(row)


def _plan_edge(
    connection: sa.Connection, disk: Clone, tag: str, clone_format: CloneFormat
) -> Parent:
    protected = clone_format == CloneFormat.V1
    statement = sa.insert(parents).values(
        **ancestry.values(disk.image),
        snapshot_name=f'{EDGE_PREFIX}{tag}',
        snapshot_id=None,
        live=1,
        size_bytes=disk.size_bytes,
        order=0,
        glance_image_id='',
        protector=Protector.SERVICE if protected else Protector.NOBODY,
        purpose=Purpose.EDGE,
        depth=0,
        state=ParentState.PLANNED,
    )
    row = connection.execute(statement.returning(*parents.c)).one()
    return rows.parent(row)


def inserted(connection: sa.Connection, wanted: dict[str, Any]) -> Any:
    """Insert a clone's row of *wanted*, empty elsewhere, and return it.

    :raises DiskExists: a unique key is against it.
    """
    statement = sa.insert(clones).values(
        **{
            'namespace': '',
            'image_id': '',
            'instance_uuid': '',
            'project_id': '',
            'host': '',
            'reason': '',
            'owner': '',
            'fence': 0,
            'attempts': 0,
            'created_at': clock.utc_now(),
            'updated_at': clock.utc_now(),
            **wanted,
        }
    )
    try:
        return connection.execute(statement.returning(*clones.c)).one()
    except exception.DBDuplicateEntry as exc:
        raise errors.DiskExists(
            name=wanted['name'], pool=wanted['pool']
        ) from exc


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
        'kind': Kind.DISK,
        'attached': 1,
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
        'attempts': 0,
        'of_parent': parent.id,
        'lease_s': float(lease_s),
    }


# Numbered by the database, or NULL.
_LEFT_OUT = ('id', 'retry_at', 'rollback_to', 'held_bytes')


def _statement() -> sa.Executable:
    columns: dict[str, sa.ColumnElement[Any]] = {
        column.name: sa.bindparam(column.name, type_=column.type)
        for column in clones.c
        if column.name not in _LEFT_OUT
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

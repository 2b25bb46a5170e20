# SPDX-License-Identifier: Apache-2.0
"""Disks that others made become rows."""

from typing import Any
import uuid

import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import ancestry
from rbdcloner.db import clock
from rbdcloner.db import reservation
from rbdcloner.db import rows
from rbdcloner.db import search
from rbdcloner.db.deferral import Deferrals
from rbdcloner.db.tables import parents
from rbdcloner.db.transaction import writes
from rbdcloner.db.warrants import Warrants
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import DiskRequest
from rbdcloner.model import ImageFacts
from rbdcloner.model import Kind
from rbdcloner.model import Order
from rbdcloner.model import Parent
from rbdcloner.model import Warrant
from rbdcloner.states import ParentState
from rbdcloner.states import State

_READY: dict[str, Any] = {'live': 1, 'state': State.READY}
_IMPORTING: dict[str, Any] = {'live': 1, 'state': State.IMPORTING}
_DELETING: dict[str, Any] = {'live': 1, 'state': State.DELETING}

#: By whose order an image goes that was deleted after the backup.
FOUND_IN_TRASH = Warrant(Order.OPERATOR, 'db restored: it is in the trash')


class Adoption(Deferrals, Warrants):
    """How :class:`~rbdcloner.db.lineage.Lineage` takes disks over."""

    @writes
    def adopt_disk(
        self,
        connection: sa.Connection,
        facts: ImageFacts,
        request: DiskRequest,
        parent: Parent | None,
        clone_format: CloneFormat,
    ) -> Clone:
        """Record the image of *facts* as a READY disk that nobody holds.

        :raises CreationOutdated: the name, or the instance, was deleted later
            than the caller knew.
        :raises DiskExists: a live row has the name, or the image a row.
        :raises ParentNotFound: *parent* has no row.
        :raises ParentReleased: *parent* takes no child.
        """
        image = facts.image
        self._refuse_outdated(
            connection, image, request.instance_uuid, request.after
        )
        if search.by_image(connection, image) is not None:
            raise errors.DiskExists(name=image.name, pool=image.pool)
        if parent is not None:
            _keep_active(connection, parent)
        row = reservation.inserted(
            connection,
            {
                'uuid': str(uuid.uuid4()),
                'fsid': image.fsid,
                'pool': image.pool,
                'namespace': image.namespace,
                'name': image.name,
                'image_id': image.id,
                'live': 1,
                'kind': Kind.DISK,
                'attached': None if parent is None else 1,
                'size_bytes': facts.size_bytes,
                'clone_format': clone_format,
                'parent_id': None if parent is None else parent.id,
                'glance_image_id': request.image_id,
                'instance_uuid': request.instance_uuid,
                'project_id': request.project_id,
                'host': request.host,
                'state': State.READY,
            },
        )
        self._note_recreation(connection, row.id, request.after)
        return rows.clone(row, parent)

    @writes
    def adopt_tagged(
        self,
        connection: sa.Connection,
        facts: ImageFacts,
        kind: Kind,
        parent: Parent | None,
        clone_format: CloneFormat,
        *,
        trashed: bool,
        retry_after_s: float = 0,
        glance_image_id: str = '',
        instance_uuid: str = '',
    ) -> Clone:
        """Record the image of *facts* under the uuid that is its tag.

        The service made it, and lost the row. READY, or RETIRED if the image
        is *trashed*, where it is purged after *retry_after_s* at the
        earliest; nobody holds it. A disk is DELETING if a deferred deletion
        concerns it, else IMPORTING if its caller has not committed it.

        :raises DiskExists: a live row has the name, or a row the uuid.
        :raises ParentNotFound: *parent* has no row.
        :raises ParentReleased: *parent* takes no child.
        """
        image = facts.image
        if parent is not None:
            _keep_active(connection, parent)
        order, entering = None, _READY
        if trashed:
            order, entering = FOUND_IN_TRASH, _trashed(retry_after_s)
        elif kind is Kind.DISK:
            order = self._deferred_order(
                connection, image, instance_uuid, facts.created_at
            )
            if order is not None:
                entering = _DELETING
            elif facts.writing:
                entering = _IMPORTING
        row = reservation.inserted(
            connection,
            {
                'uuid': facts.tag,
                'fsid': image.fsid,
                'pool': image.pool,
                'namespace': image.namespace,
                'name': image.name,
                'image_id': image.id,
                'kind': kind,
                'attached': None if parent is None else 1,
                'size_bytes': facts.size_bytes,
                'clone_format': clone_format,
                'parent_id': None if parent is None else parent.id,
                'glance_image_id': glance_image_id,
                'instance_uuid': instance_uuid,
                **entering,
            },
        )
        adopted = rows.clone(row, parent)
        if order is not None:
            self._issue(connection, adopted, order)
        return adopted


def _trashed(retry_after_s: float) -> dict[str, Any]:
    return {
        'live': None,
        'state': State.RETIRED,
        'reason': FOUND_IN_TRASH.evidence,
        'retry_at': clock.utc_after(retry_after_s),
    }


def _keep_active(connection: sa.Connection, parent: Parent) -> None:
    """Keep the parent from being released until the transaction's end."""
    statement = sa.select(parents.c.id).where(
        parents.c.id == parent.id, parents.c.state == ParentState.ACTIVE
    )
    if connection.scalar(statement.with_for_update(read=True)) is None:
        raise ancestry.refusal(connection, parent)

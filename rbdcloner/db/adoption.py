# SPDX-License-Identifier: Apache-2.0
"""Disks that others made become rows."""

import uuid

import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import ancestry
from rbdcloner.db import reservation
from rbdcloner.db import rows
from rbdcloner.db import search
from rbdcloner.db.deletions import Deletions
from rbdcloner.db.tables import parents
from rbdcloner.db.transaction import writes
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import DiskRequest
from rbdcloner.model import ImageFacts
from rbdcloner.model import Kind
from rbdcloner.model import Parent
from rbdcloner.states import ParentState
from rbdcloner.states import State


class Adoption(Deletions):
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


def _keep_active(connection: sa.Connection, parent: Parent) -> None:
    """Keep the parent from being released until the transaction's end."""
    statement = sa.select(parents.c.id).where(
        parents.c.id == parent.id, parents.c.state == ParentState.ACTIVE
    )
    if connection.scalar(statement.with_for_update(read=True)) is None:
        raise ancestry.refusal(connection, parent)

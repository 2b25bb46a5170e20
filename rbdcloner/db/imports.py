# SPDX-License-Identifier: Apache-2.0
"""The intents of images without a parent, which their callers write into.

What is begun ends what was begun under the name before. So each beginning is
noted once for its call, as a deletion is: another's that comes late finds it
and is refused. What a call has made is told by its row's uuid, which comes
from the call.
"""

import contextlib
import uuid

from oslo_db import exception
import sqlalchemy as sa

from rbdcloner.db import clock
from rbdcloner.db import reservation
from rbdcloner.db import rows
from rbdcloner.db.deletions import Deletions
from rbdcloner.db.transaction import writes
from rbdcloner.model import Clone
from rbdcloner.model import CloneFormat
from rbdcloner.model import DiskRequest
from rbdcloner.model import Image
from rbdcloner.model import Kind
from rbdcloner.states import State

# Of the uuids of what calls have begun.
_BEGUN = uuid.UUID('3f0c8d52-7a1e-4b64-9d0a-c6e2b1f4a875')


class Imports(Deletions):
    """How :class:`~rbdcloner.db.lineage.Lineage` begins an import."""

    @writes
    def reserve_import(
        self,
        connection: sa.Connection,
        request: DiskRequest,
        fsid: str,
        clone_format: CloneFormat,
        owner: str,
        lease_s: float,
    ) -> Clone:
        """Write the intent: a RESERVED row without a parent, held.

        The beginning is noted with it.

        :raises CreationOutdated: the name, or the instance, was deleted later
            than the caller knew; or the name was begun anew.
        :raises DiskExists: a live row has the name; nothing is noted.
        """
        self._note_beginning(connection, request, fsid)
        tag = row_uuid(request.call)
        if reservation.tagged(connection, tag) is not None:
            # What it made first has come to an end that nobody asked for.
            tag = str(uuid.uuid4())
        row = reservation.inserted(
            connection,
            {
                'uuid': tag,
                'fsid': fsid,
                'pool': request.pool,
                'name': request.name,
                'live': 1,
                'kind': Kind.DISK,
                'attached': None,
                'size_bytes': request.size_bytes,
                'clone_format': clone_format,
                'glance_image_id': request.image_id,
                'instance_uuid': request.instance_uuid,
                'project_id': request.project_id,
                'host': request.host,
                'state': State.RESERVED,
                'owner': owner,
                'fence': 1,
                'lease_expires_at': clock.utc_after(lease_s),
            },
        )
        self._note_recreation(connection, row.id, request.after)
        return rows.clone(row, None)

    @writes
    def note_import(
        self, connection: sa.Connection, request: DiskRequest, fsid: str
    ) -> None:
        """Note the beginning alone, once for its call.

        :raises CreationOutdated: as :meth:`reserve_import`.
        """
        self._note_beginning(connection, request, fsid)

    def _note_beginning(
        self, connection: sa.Connection, request: DiskRequest, fsid: str
    ) -> None:
        image = Image(fsid, request.pool, '', request.name)
        self._refuse_outdated(
            connection,
            image,
            request.instance_uuid,
            request.after,
            request.call,
        )
        with (
            contextlib.suppress(exception.DBDuplicateEntry),
            connection.begin_nested(),
        ):
            self._insert_deletion(connection, request.call, image)


def row_uuid(call: str) -> str:
    """Return the uuid of the row that *call* makes."""
    return str(uuid.uuid5(_BEGUN, call))

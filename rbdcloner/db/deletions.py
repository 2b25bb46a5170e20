# SPDX-License-Identifier: Apache-2.0
"""What callers wanted gone, so that nothing late undoes it, or does it twice.

A message can be executed after its caller gave up, and twice. So deletions
are numbered, and a creation names the last one that its caller knew of:

* it is refused where there is a later one, of its name or of its instance;
* a deletion leaves alone what a creation made that knew of it.

Requests that change a disk are numbered among them
(:mod:`rbdcloner.db.changes`); they concern no creation.

A deletion is committed before it looks for a live row, and a creation asks
for deletions once more when its own row is committed, before it is READY: one
of them sees the other, and no clock is asked. On the schema of the release
before, nothing is remembered.
"""

import uuid

from oslo_db import exception
import sqlalchemy as sa

from rbdcloner import errors
from rbdcloner.db import clock
from rbdcloner.db import search
from rbdcloner.db.tables import changes
from rbdcloner.db.tables import clones
from rbdcloner.db.tables import deferred_deletions
from rbdcloner.db.tables import deletions
from rbdcloner.db.tables import recreations
from rbdcloner.db.transaction import Database
from rbdcloner.db.transaction import reads
from rbdcloner.db.transaction import writes
from rbdcloner.model import Clone
from rbdcloner.model import Image

#: The number of a deletion that is not remembered: all were made before it.
FORGOTTEN = 2**63 - 1


class Deletions(Database):
    """How :class:`~rbdcloner.db.lineage.Lineage` remembers deletions."""

    _known_tables: frozenset[str] = frozenset()

    def note_deletion(
        self, call: str, image: Image, instance_uuid: str = ''
    ) -> int:
        """Record that *call* deletes what has the name of *image*.

        With an *instance_uuid* and no name: the disks of that instance.
        Returns its number; repeated, the same. Without a *call* it is a new
        one each time.
        """
        try:
            return self._note_deletion(call, image, instance_uuid)
        except CallRepeated:
            return self._number_of(call)

    @reads
    def find_deleted(
        self, connection: sa.Connection, image: Image, deletion: int
    ) -> Clone:
        """Return the live row of the name that *deletion* concerns.

        Else the newest of the others.

        :raises DiskNotFound: no row ever had the name, but one that was made
            by who knew of *deletion*.
        """
        spared = (
            [sa.not_(_knows(deletion))]
            if self._are_remembered(connection)
            else []
        )
        found = search.named(connection, image, *spared)
        if found is None:
            raise errors.DiskNotFound(name=image.name, pool=image.pool)
        return found

    @reads
    def made_since(
        self, connection: sa.Connection, deletion: int, instance_uuid: str
    ) -> set[int]:
        """Return the ids of the instance's clones that *deletion* spares."""
        if not self._are_remembered(connection):
            return set()
        statement = sa.select(clones.c.id).where(
            clones.c.instance_uuid == instance_uuid, _knows(deletion)
        )
        return set(connection.scalars(statement))

    @reads
    def refuse_outdated(
        self,
        connection: sa.Connection,
        image: Image,
        instance_uuid: str,
        after: int | None,
    ) -> None:
        """Raise if a later deletion than *after* concerns the name.

        :raises CreationOutdated: one does.
        """
        self._refuse_outdated(connection, image, instance_uuid, after)

    @reads
    def known_deletion(self, connection: sa.Connection, clone: Clone) -> int:
        """Return the last deletion noted before the clone was reserved, or 0.

        Its caller knew of those that concern it, or did not say.
        """
        if not self._are_remembered(connection):
            return 0
        statement = sa.select(sa.func.max(deletions.c.id)).where(
            deletions.c.created_at < clone.created_at
        )
        return int(connection.scalar(statement) or 0)

    @writes
    def forget_deletions(
        self, connection: sa.Connection, after_s: float
    ) -> int:
        """Forget those noted longer ago than *after_s*; how many.

        Those that still wait for ``db restored`` are kept.
        """
        if not self._are_remembered(connection):
            return 0
        old = deletions.c.created_at < clock.utc_after(-after_s)
        if self._are_remembered(connection, deferred_deletions):
            waiting = sa.select(deferred_deletions.c.id)
            old = sa.and_(old, deletions.c.id.not_in(waiting))
        if self._are_remembered(connection, changes):
            ids = sa.select(deletions.c.id).where(old)
            connection.execute(sa.delete(changes).where(changes.c.id.in_(ids)))
        return connection.execute(sa.delete(deletions).where(old)).rowcount

    @writes
    def _note_deletion(
        self,
        connection: sa.Connection,
        call: str,
        image: Image,
        instance_uuid: str,
    ) -> int:
        return self._insert_once(connection, call, image, instance_uuid)

    @reads
    def _number_of(self, connection: sa.Connection, call: str) -> int:
        statement = sa.select(deletions.c.id).where(deletions.c.call == call)
        return int(connection.execute(statement).scalar_one())

    def _insert_once(
        self,
        connection: sa.Connection,
        call: str,
        image: Image,
        instance_uuid: str = '',
    ) -> int:
        """Note a deletion; its number.

        :raises CallRepeated: the call was noted before.
        """
        try:
            return self._insert_deletion(
                connection, call, image, instance_uuid
            )
        except exception.DBDuplicateEntry as exc:
            raise CallRepeated from exc

    def _insert_deletion(
        self,
        connection: sa.Connection,
        call: str,
        image: Image,
        instance_uuid: str = '',
    ) -> int:
        """Note a deletion; its number.

        :raises oslo_db.exception.DBDuplicateEntry: the call was noted before.
        """
        if not self._are_remembered(connection):
            return FORGOTTEN
        insert = sa.insert(deletions).values(
            call=call or str(uuid.uuid4()),
            fsid=image.fsid,
            pool=image.pool,
            name=image.name,
            instance_uuid=instance_uuid,
            created_at=clock.utc_now(),
        )
        noted = connection.execute(insert.returning(deletions.c.id))
        return int(noted.scalar_one())

    def _refuse_outdated(
        self,
        connection: sa.Connection,
        image: Image,
        instance_uuid: str,
        after: int | None,
        call: str = '',
        changing: bool = False,
    ) -> None:
        """Raise if a later deletion than *after* concerns the name.

        Or, for what is *changing* a disk, any later request. Not what *call*
        itself has noted.

        :raises CreationOutdated: one does.
        :raises RequestOutdated: one does, for a change.
        """
        if after is None or not self._are_remembered(connection):
            return
        later = [
            deletions.c.id > after,
            deletions.c.call != call,
            deletions.c.fsid == image.fsid,
            concerns(image, instance_uuid),
        ]
        if not changing and self._are_remembered(connection, changes):
            is_change = sa.exists().where(changes.c.id == deletions.c.id)
            later.append(sa.not_(is_change.correlate(deletions)))
        last = connection.scalar(
            sa.select(sa.func.max(deletions.c.id)).where(*later)
        )
        if last is not None:
            facts = {'name': image.name, 'pool': image.pool, 'later': last}
            if changing:
                raise errors.RequestOutdated(**facts)
            raise errors.CreationOutdated(**facts)

    def _note_recreation(
        self, connection: sa.Connection, clone_id: int, after: int | None
    ) -> None:
        """Record that who made the clone knew of the deletion *after*."""
        if after and self._are_remembered(connection):
            connection.execute(
                sa.insert(recreations).values(clone_id=clone_id, after=after)
            )

    def _end_changes(
        self, connection: sa.Connection, clone: Clone, done: bool
    ) -> None:
        """Record that no request is changing *clone* any more.

        What was not *done* is forgotten: sent again, it is a new request.
        """
        if not self._are_remembered(connection, changes):
            return
        ended = (changes.c.clone_id == clone.id, changes.c.open == 1)
        if done:
            connection.execute(
                sa.update(changes).where(*ended).values(open=None)
            )
            return
        ids = sa.select(changes.c.id).where(*ended)
        connection.execute(sa.delete(deletions).where(deletions.c.id.in_(ids)))
        connection.execute(sa.delete(changes).where(*ended))

    def _are_remembered(
        self, connection: sa.Connection, what: sa.Table = deletions
    ) -> bool:
        if what.name not in self._known_tables:
            if not sa.inspect(connection).has_table(what.name):
                return False
            self._known_tables |= {what.name}
        return True


class CallRepeated(Exception):
    """The deletion was noted before; so the transaction is lost."""


def concerns(image: Image, instance_uuid: str) -> sa.ColumnElement[bool]:
    """Return the condition for deletions of the name or of the instance."""
    of_name = sa.and_(
        deletions.c.name == image.name, deletions.c.pool == image.pool
    )
    if not instance_uuid:
        return of_name
    return sa.or_(
        of_name,
        sa.and_(
            deletions.c.instance_uuid == instance_uuid,
            deletions.c.name == '',
        ),
    )


def _knows(deletion: int) -> sa.ColumnElement[bool]:
    return (
        sa.exists()
        .where(
            recreations.c.clone_id == clones.c.id,
            recreations.c.after >= deletion,
        )
        .correlate(clones)
    )

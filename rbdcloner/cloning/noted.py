# SPDX-License-Identifier: Apache-2.0
"""What nova-compute noted while nobody answered, done as it asks.

A note is a disk's name and whose it is. It is there before the disk is, so
that no worker takes that for what another has left, and says so until the disk
is whole. It is struck out once the disk's row is READY, or when there is
nothing to adopt; what cannot be adopted now stays for the next look.

A nova-compute that dies leaves a note of a disk in the making. It is struck
out when the name has the disk of a row, or for long no image. An image that
nova-compute may have made stays, and its note with it, until an operator or
the deletion of the instance decides.

Or it says that all disks of an instance are unwanted: its build failed, and
then Nova knows of no host that it would ask to delete them.
"""

from collections.abc import Collection
from collections.abc import Mapping
import dataclasses
import json
import logging
import threading
import time
from typing import Any

from oslo_utils import uuidutils

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.cloning.disk_adoption import DiskAdoption
from rbdcloner.cloning.engine import MADE
from rbdcloner.model import DiskRequest
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import Kind
from rbdcloner.states import State

LOG = logging.getLogger(__name__)

#: Notes of a pool that one look goes through.
_AT_ONCE = 100

#: What was being made when nova-compute made its own.
_IN_THE_WAY = (State.RESERVED, State.UNDOING)

#: What a note may say besides whose it is.
_MAKING = 'making'
_UNWANTED = 'unwanted'

#: There is nothing to adopt, today or later.
_HOPELESS = (errors.DiskDiffers, errors.InvalidArgument, errors.NameTaken)


@dataclasses.dataclass(slots=True)
class Noted:
    """Follows the notes of some pools.

    ``failed`` is why a note could not be followed at the last look: the same
    is told once. A nova-compute whose note has said for *abandoned_after_s*
    that it is about to make an image is dead.
    """

    ceph: Driver
    adoption: DiskAdoption
    pools: Collection[str]
    failed: dict[tuple[str, str], str] = dataclasses.field(
        default_factory=dict
    )
    abandoned_after_s: float = 3600
    _after: dict[str, str] = dataclasses.field(default_factory=dict)
    #: By pool, name and text.
    _making_since: dict[tuple[str, str, str], float] = dataclasses.field(
        default_factory=dict
    )

    def look(self, stopping: threading.Event | None = None) -> int:
        """Do what is noted, some of each pool in turn; how many were adopted.

        When *stopping* is set, no note is begun.
        """
        adopted = 0
        for pool in sorted(self.pools):
            after = self._after.pop(pool, '')
            notes = self.ceph.notes(pool, after=after, limit=_AT_ONCE)
            for name, text in notes.items():
                if stopping and stopping.is_set():
                    return adopted
                adopted += self._try(pool, name, text)
            if len(notes) == _AT_ONCE:
                self._after[pool] = max(notes)
            elif not after:
                self._forget_but(pool, notes)
        return adopted

    def adopt_of(self, instance_uuid: str) -> None:
        """Adopt the noted disks of an instance, which is to be deleted.

        :raises DiskBusy: one's row is in the way, and is resolved before long.
        :raises CephError: one is not adopted, and would not be found.
        """
        for pool in sorted(self.pools):
            # Nova's names of disks begin with it.
            for name, text in self.ceph.notes(pool, instance_uuid).items():
                if _says(text, _UNWANTED):
                    continue
                try:
                    self._adopt(pool, name, text)
                except (errors.DiskBusy, errors.DiskInUse) as exc:
                    if exc.kwargs.get('state') in _IN_THE_WAY:
                        raise
                    # Its row is deleted with the others.
                    LOG.debug('A row has the name %s: %s', name, exc)

    def _try(self, pool: str, name: str, text: str) -> bool:
        follow = self._adopt
        if _says(text, _UNWANTED):
            follow = self._delete
        elif _says(text, _MAKING):
            follow = self._follow_making
        try:
            adopted = follow(pool, name, text)
        except errors.Error as exc:
            if self.failed.get((pool, name)) != str(exc):
                LOG.warning('The note of %s is kept: %s', name, exc)
            self.failed[pool, name] = str(exc)
            return False
        self.failed.pop((pool, name), None)
        return adopted

    def _follow_making(self, pool: str, name: str, text: str) -> bool:
        """Strike the note of a making that is over, or that nobody is at.

        :raises NoteUndecided: the maker seems dead, and may have made the
            image that has the name.
        """
        now = time.monotonic()
        since = self._making_since.setdefault((pool, name, text), now)
        is_old = now - since >= self.abandoned_after_s
        fsid = self.adoption.engine.fsid
        facts = self.ceph.find_image(Image(fsid, pool, '', name))
        if facts is None and is_old:
            LOG.warning(
                'nova-compute noted in pool %s that it makes disk %s, and has '
                'not made it for %d s: the note %.200r is struck out',
                *(pool, name, now - since, text),
            )
        elif facts is not None and self._is_disk(facts):
            LOG.info('Disk %s was noted to be made, and is recorded', name)
        elif facts is not None and is_old:
            raise errors.NoteUndecided(name=name, pool=pool)
        else:
            return False
        self.ceph.strike_note(pool, name, text)
        return False

    def _is_disk(self, facts: ImageFacts) -> bool:
        """Tell whether the image is the whole disk of a row."""
        row = self.adoption.engine.lineage.find_by_image(facts.image)
        return (
            row is not None
            and row.kind is Kind.DISK
            and row.state in MADE
            and facts.delivered
            and facts.tag == row.uuid
        )

    def _forget_but(self, pool: str, notes: Mapping[str, str]) -> None:
        """Forget since when notes of a pool were seen that are gone."""
        self._making_since = {
            (its_pool, name, text): since
            for (its_pool, name, text), since in self._making_since.items()
            if its_pool != pool or notes.get(name) == text
        }

    def _delete(self, pool: str, name: str, text: str) -> bool:
        """Begin the deletion of an instance's disks, and strike the note."""
        try:
            instance_uuid = _request(pool, name, text).instance_uuid
        except errors.InvalidArgument as exc:
            LOG.warning(
                'Note %s in pool %s, %.200r, is struck out: %s',
                *(name, pool, text, exc),
            )
        else:
            self.adopt_of(instance_uuid)
            self.adoption.engine.delete_disks(instance_uuid, '', wait=False)
            LOG.info('No disk of instance %s is wanted', instance_uuid)
        self.ceph.strike_note(pool, name, text)
        return False

    def _adopt(self, pool: str, name: str, text: str) -> bool:
        """Adopt a disk, or find that there is none, and strike its note."""
        adopted = False
        try:
            self.adoption.adopt(_request(pool, name, text))
            adopted = True
        except errors.DiskNotFound:
            LOG.info('Disk %s was noted to be adopted, and is gone', name)
        except _HOPELESS as exc:
            LOG.warning(
                'Disk %s, noted in pool %s as %.200r, is not adopted and its '
                'note struck out; "rbdcloner-manage disk adopt" can do it: %s',
                name, pool, text, exc,
            )  # fmt: skip
        self.ceph.strike_note(pool, name, text)
        return adopted


def _facts(text: str) -> dict[str, Any] | None:
    try:
        facts = json.loads(text)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) else None


def _says(text: str, what: str) -> bool:
    return bool((_facts(text) or {}).get(what))


def _request(pool: str, name: str, text: str) -> DiskRequest:
    """Return what the note asks for.

    :raises InvalidArgument: it is not as nova-compute writes it.
    """
    facts = _facts(text)
    if facts is None:
        raise _invalid('a JSON object')
    if not uuidutils.is_uuid_like(facts.get('instance_uuid')):
        raise _invalid('with the uuid of an instance')
    image_id = facts.get('image_id') or ''
    if image_id and not uuidutils.is_uuid_like(image_id):
        raise _invalid('with the id of a Glance image, or none')
    return DiskRequest(
        image_id=image_id,
        name=name,
        pool=pool,
        size_bytes=0,
        instance_uuid=facts['instance_uuid'],
        project_id=_word(facts, 'project_id'),
        host=_word(facts, 'host'),
    )


def _word(facts: dict[str, Any], key: str) -> str:
    value = facts.get(key) or ''
    if not isinstance(value, str) or len(value) > 255:
        raise _invalid(f'with a short text as its {key}')
    return value


def _invalid(wanted: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        argument='note', reason=f'it must be {wanted}'
    )

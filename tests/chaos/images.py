# SPDX-License-Identifier: Apache-2.0
"""What callers do with Glance images: upload, snapshot, delete."""

from __future__ import annotations

from collections.abc import Callable
import http.client
import pathlib
import tempfile
import threading
import time
from typing import Any

from glanceclient import exc as glance_errors
from keystoneauth1 import exceptions as session_errors

from rbdcloner import errors
from rbdcloner.model import GLANCE_NAME
from tests.chaos import disks
from tests.chaos import ledger
from tests.chaos.asking import Asker
from tests.chaos.asking import GaveUp
from tests.chaos.ledger import Disk
from tests.chaos.ledger import Image
from tests.chaos.ledger import Known
from tests.stack import StackError
from tests.stack.glance import Glance
from tests.unit.cloning.expected import Data
from tests.unit.images import specimens

POOL = 'images'
_PATIENCE_S = 60
_PAUSE_S = 0.5
_CONFLICTS = 10
#: So many cannot be cloned, and are imported.
_PACKED = 0.4

#: How a Glance fails whose servers are down: not all is glanceclient's own.
FAILURES = (
    glance_errors.ClientException,
    session_errors.ClientException,
    http.client.HTTPException,
    StackError,
    OSError,
)

#: Glance's database is SQLite here, and what it finds locked it does by half.
_changing_glance = threading.Lock()


class Images:
    """One caller's way to Glance."""

    def __init__(self, asker: Asker, glance: Glance) -> None:
        self._asker = asker
        self._glance = glance
        self._images = glance.client().images
        self._ledger = asker.ledger
        self._chance = asker.chance

    def upload(self) -> None:
        """Upload an image with a token at its beginning, packed or not."""
        token = self._ledger.token()
        data = token + bytes(ledger.UNIT - len(token))
        packed = self._chance.random() < _PACKED
        try:
            with _changing_glance:
                made = (
                    self._glance.upload('packed', _as_qcow2(data), 'qcow2')
                    if packed
                    else self._glance.upload('uploaded', data)
                )
        except FAILURES as exc:
            # Whatever Glance keeps of it is nobody's image here.
            self._ledger.failed(f'Glance {type(exc).__name__}')
            return
        image = Image(made.id, [Data(ledger.UNIT, {0: token})], packed=packed)
        image.note('uploaded, packed' if packed else 'uploaded')
        self._ledger.add(image)
        image.known, image.busy = Known.THERE, False

    def snapshot(self, disk: Disk) -> None:
        """Have the disk's data be a Glance image, as Nova does."""
        self._snapshot(disk, is_wanted=True)

    def snapshot_and_discard(self, disk: Disk) -> None:
        """Make an image of the disk that is not wanted after all."""
        self._snapshot(disk, is_wanted=False)

    def _snapshot(self, disk: Disk, is_wanted: bool) -> None:
        made = self._glances(disk, 'create', self._queued)
        if made is None:
            return
        image = Image(made.id, [disk.data])
        image.note(f'a snapshot of {disk.name}')
        disk.note(f'is snapshotted into {image.name}')
        self._ledger.add(image)
        if self._take(disk, image):
            if is_wanted and not image.late and self._register(image):
                image.known = Known.THERE
            else:
                self._discard(image)
        image.busy = False

    def _take(self, disk: Disk, image: Image) -> bool:
        """Have the image made, and tell whether there may be something."""
        try:
            image.location = self._asker.ask(
                image,
                'snapshot_disk',
                name=disk.name,
                pool=disks.POOL,
                image_id=image.name,
                dest_pool=POOL,
            )
        except GaveUp:
            image.late = True
            fsid = self._ledger.fsid
            image.location = f'rbd://{fsid}/{POOL}/{image.name}/{GLANCE_NAME}'
        except errors.Error as exc:
            why = f'snapshot_disk was refused: {exc.name}: {exc}'
            lost = isinstance(exc, errors.DiskNotFound)
            self._ledger.surprise('lost' if lost else '', why, disk)
            image.known = Known.GONE
            self._forget(image)
            return False
        return True

    def delete(self, image: Image) -> None:
        """Delete the image in Glance; it may have children, and lives then."""
        image.leaving, image.known = True, Known.UNSURE

        def delete() -> Any:
            try:
                self._images.delete(image.name)
            except glance_errors.HTTPConflict:
                # Somebody has it open, or format v1 children descend from it.
                image.note('Glance: in use')
                return Known.THERE
            except glance_errors.HTTPNotFound:
                return Known.GONE
            return Known.GONE

        for _ in range(_CONFLICTS):
            known = self._glances(image, 'delete', delete)
            image.known = known or Known.UNSURE
            if known is not Known.THERE:
                return
            time.sleep(_PAUSE_S)

    def remove(self, image: Image) -> None:
        """Have nothing left of the image, whatever became of it."""
        if image.known is Known.UNSURE and not image.leaving:
            self._discard(image)
        else:
            self.delete(image)

    def _discard(self, image: Image) -> None:
        """Undo the snapshot, and delete what Glance has of it."""
        image.known = Known.UNSURE
        try:
            self._asker.ask(image, 'discard_snapshot', location=image.location)
        except GaveUp:
            return
        except errors.Error as exc:
            why = f'discard_snapshot was refused: {exc.name}: {exc}'
            self._ledger.surprise('', why, image)
            return
        image.known = Known.GONE
        self._forget(image)

    def _forget(self, image: Image) -> None:
        self._glances(image, 'delete', lambda: self._images.delete(image.name))

    def _register(self, image: Image) -> bool:
        """Add the location, and tell whether the image is active."""

        def add() -> Any:
            if self._images.get(image.name).status != 'active':
                self._glance.add_location(image.name, image.location)
            return True

        return bool(self._glances(image, 'add_location', add))

    def _queued(self) -> Any:
        return self._images.create(
            name='snapshot',
            disk_format='raw',
            container_format='bare',
            visibility='public',
        )

    def _glances(
        self, thing: ledger.Thing, what: str, act: Callable[[], Any]
    ) -> Any:
        """Return Glance's answer; None where it has none for long."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                with _changing_glance:
                    answer = act()
            except glance_errors.HTTPNotFound:
                return None
            except FAILURES as exc:
                thing.note(f'Glance {what}: {type(exc).__name__}: {exc}')
                self._ledger.failed(f'Glance {type(exc).__name__}')
            else:
                thing.note(f'Glance {what}')
                return answer
            if time.monotonic() > deadline:
                return None
            time.sleep(_PAUSE_S)


def _as_qcow2(data: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        raw, made = pathlib.Path(folder, 'raw'), pathlib.Path(folder, 'qcow2')
        raw.write_bytes(data)
        return specimens.converted(raw, 'qcow2', made).read_bytes()

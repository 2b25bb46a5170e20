# SPDX-License-Identifier: Apache-2.0
"""The last chapter: everything goes, in the order that breaks others."""

from __future__ import annotations

import dataclasses
import pathlib
import time
import uuid

from oslo_context import context

from rbdcloner import rpcapi
from tests.demo import claim
from tests.demo import commands
from tests.demo import content
from tests.demo import screen
from tests.stack import glance
from tests.stack import process

POOL, IMAGE_POOL = 'vms', 'images'
BOOTED = 'web-3_disk'
_COMPARED_BYTES = 8 << 20
_EMPTY_WITHIN_S = 60

#: The manager looks once a second, for people do not wait a minute.
EAGER = {'recovery_interval': 1, 'survey_interval': 1}


@dataclasses.dataclass(frozen=True)
class Written:
    """What a guest wrote to a disk, and where."""

    disk: rpcapi.Disk
    offset: int
    data: bytes


@dataclasses.dataclass(frozen=True)
class AnyOrder:
    """The chapter, on the servers of the story."""

    seen: screen.Screen
    api: rpcapi.API
    caller: context.RequestContext
    glance: glance.Glance
    images: content.Images
    rbd: commands.Rbd

    def tell(self, image_id: str, raw: pathlib.Path, written: Written) -> None:
        """Snapshot, delete disk and image, boot, delete the rest."""
        snapshot_id = self._snapshot(written.disk['name'])
        self._delete(written.disk['name'], image_id)
        self._boot(snapshot_id, raw, written)
        self._empty(snapshot_id)

    def _snapshot(self, name: str) -> str:
        images = self.glance.client().images
        with self.seen.step(f'Snapshot {name} into Glance'):
            image = images.create(
                name='snapshot',
                disk_format='raw',
                container_format='bare',
                visibility='public',
            )
            begun = time.monotonic()
            location = self.api.snapshot_disk(
                self.caller, name, POOL, image.id, IMAGE_POOL
            )
            seconds = time.monotonic() - begun
            image = self.glance.add_location(image.id, location)
            used = self.rbd.used_bytes(f'{IMAGE_POOL}/{image.id}')
            claim.require(used == 0, 'nothing was copied')
            copied = f'{screen.size(image.size)}, 0 B copied'
            self._say('snapshot', copied, seconds)
        return str(image.id)

    def _delete(self, name: str, image_id: str) -> None:
        with self.seen.step(f'Delete {name}, then the image it came from'):
            begun = time.monotonic()
            disk = self.api.delete_disk(self.caller, name, POOL)
            self._say(name, disk['state'], time.monotonic() - begun)
            begun = time.monotonic()
            self.glance.delete(image_id)
            self._say('the image', 'deleted', time.monotonic() - begun)
            claim.require(
                name not in self.images.names(POOL)
                and image_id not in self.images.names(IMAGE_POOL),
                'both names are free',
            )

    def _boot(
        self, snapshot_id: str, raw: pathlib.Path, written: Written
    ) -> None:
        with self.seen.step(f'Ask for {BOOTED} of the snapshot'):
            begun = time.monotonic()
            disk = self.api.create_disk(
                self.caller,
                snapshot_id,
                BOOTED,
                written.disk['size_bytes'],
                POOL,
                str(uuid.uuid4()),
                str(self.caller.project_id),
                'compute-2',
            )
            self._say(BOOTED, disk['state'], time.monotonic() - begun)
            with raw.open('rb') as file:
                original = file.read(_COMPARED_BYTES)
            length = len(written.data)
            with self.images.open(POOL, BOOTED) as image:
                same = (
                    image.read(0, _COMPARED_BYTES) == original
                    and image.read(written.offset, length) == written.data
                )
            claim.require(same, f'{BOOTED} has the data of both')
            self.seen.say('it has what was written, and the image elsewhere')

    def _empty(self, snapshot_id: str) -> None:
        with self.seen.step('Delete the snapshot, then every disk'):
            self.glance.delete(snapshot_id)
            for name in self.images.names(POOL):
                self.api.delete_disk(self.caller, name, POOL)
            begun = time.monotonic()
            process.wait_until(
                lambda: not self._left(), 'nothing left', _EMPTY_WITHIN_S
            )
            seconds = time.monotonic() - begun
            self._say('both pools and trashes', 'empty', seconds)

    def _left(self) -> list[str]:
        return [
            name
            for pool in (POOL, IMAGE_POOL)
            for name in self.images.names(pool) + self.images.trash(pool)
        ]

    def _say(self, what: str, came_of_it: str, seconds: float) -> None:
        self.seen.say(f'{what:24}{came_of_it:32}{seconds:9.3f} s')

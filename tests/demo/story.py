# SPDX-License-Identifier: Apache-2.0
"""The steps of the demonstration, each of which checks what it says."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import statistics
import time
import uuid

from rbdcloner import errors
from rbdcloner import rpc
from rbdcloner import rpcapi
from tests import stack
from tests.demo import any_order
from tests.demo import claim
from tests.demo import commands
from tests.demo import content
from tests.demo import database
from tests.demo import lineage
from tests.demo import scratch
from tests.demo import screen
from tests.stack import manager
from tests.stack import process

MiB = 1 << 20
WRITTEN_BYTES = 16 * MiB
POOL, IMAGE_POOL, SNAPSHOT = 'vms', 'images', 'snap'
DISKS = ('web-1_disk', 'web-2_disk', 'db-1_disk')
TOO_SMALL, IMPORTED = 'tiny-1_disk', 'imported'
# What Ceph itself needs, and room for what is written.
_SPARE_BYTES = 4096 * MiB


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What the person at the command line asked for."""

    size_bytes: int
    database_url: str | None


class Story:
    """The steps, in the order they are shown."""

    def __init__(
        self, folder: scratch.Scratch, wishes: Wishes, seen: screen.Screen
    ) -> None:
        self._folder = folder
        self._size_bytes = wishes.size_bytes
        self._database_url = wishes.database_url
        self._seen = seen
        self._raw = folder.path / 'image.raw'
        self._project_id = uuid.uuid4().hex
        self._caller = manager.caller(self._project_id)
        self._disks: dict[str, rpcapi.Disk] = {}
        self._clone_s: list[float] = []

    def check(self) -> None:
        """Find out what would go wrong before anything is started.

        :raises StackError: and says what
        """
        content.require_space(self._folder.path.parent, self._size_bytes)
        if self._database_url is not None:
            self._database_url = database.checked(self._database_url)

    def tell(self) -> None:
        """Go through all steps; ends nothing."""
        self._seen.say(f'rbdcloner on a Ceph of its own, {self._folder.path}')
        self._seen.say()
        self._start_servers()
        self._start_manager()
        self._make_image()
        self._upload()
        with contextlib.ExitStack() as opened:
            self._connect(opened)
            self._sum_parent('Read the image in Ceph')
            self._clone()
            self._import()
            self._compare()
            self._write()
            self._sum_parent('Read the image in Ceph again')
            self._refuse()
            self._resize()
            self._delete()
            self._show_lineage()
            self._any_order()

    # The servers

    def _start_servers(self) -> None:
        size_bytes = 2 * self._size_bytes + _SPARE_BYTES
        ready: list[str] = []

        def report(line: str) -> None:
            if not line.startswith(('stack:', 'sqlite:')):
                ready.append(line.replace(': ready in', ''))
                self._seen.progress(', '.join(ready))

        self._stack = stack.Stack(
            self._folder.stack,
            options={'ceph': {'osd_size_bytes': size_bytes}},
            report=report,
        )
        with self._seen.step('Start Ceph, RabbitMQ and Glance'):
            self._stack.setUp()
            self._seen.say(f'ready after: {", ".join(ready)}')

    def _start_manager(self) -> None:
        with self._seen.step('Create the database, start rbdcloner-manager'):
            url = (
                self._database_url or self._stack.databases['sqlite'].create()
            )
            self._manager = manager.Manager(
                self._stack, url, options={'DEFAULT': any_order.EAGER}
            )
            self._manager.setUp()
            where = 'SQLite, a file in that folder'
            if self._database_url:
                where = database.shown(url)
            self._seen.say(f'database: {where}')

    def _connect(self, opened: contextlib.ExitStack) -> None:
        transport = rpc.transport(self._manager.load_conf())
        opened.callback(transport.cleanup)
        self._api = rpcapi.API(lambda: transport)
        cluster = self._stack.ceph.connection('client.rbdcloner')
        self._images = content.Images(opened.enter_context(cluster))
        self._rbd = commands.Rbd(self._stack.ceph.conf, 'rbdcloner')

    # The image

    def _make_image(self) -> None:
        whole = screen.size(self._size_bytes)
        with self._seen.step(f'Make a raw image of {whole}, full of noise'):
            self._sha256 = content.make(
                self._raw, self._size_bytes, self._seen.rate
            )

    def _upload(self) -> None:
        with (
            self._seen.step('Upload the image to Glance'),
            content.Reader(self._raw, self._seen.rate) as reader,
        ):
            begun = time.monotonic()
            image = self._stack.glance.upload('demo', reader)
            speed = screen.speed(self._size_bytes, time.monotonic() - begun)
            self._image_id = image.id
            claim.require(image.size == self._size_bytes, 'it is all there')
            self._seen.say(f'image {image.id}, {speed}')

    def _sum_parent(self, name: str) -> None:
        """Check that the parent holds what was uploaded, to the last byte."""
        with (
            self._seen.step(name),
            self._images.open(IMAGE_POOL, self._image_id, SNAPSHOT) as parent,
        ):
            found = self._images.sha256(parent, self._seen.rate)
            claim.require(found == self._sha256, 'the parent is unchanged')
            self._seen.say(f'SHA-256 {found[:16]}…, as the raw file has')

    # The disks

    def _create(self, name: str, size_bytes: int) -> rpcapi.Disk:
        return self._api.create_disk(
            self._caller,
            self._image_id,
            name,
            size_bytes,
            POOL,
            str(uuid.uuid5(uuid.UUID(self._image_id), name)),
            self._project_id,
            'compute-1',
        )

    def _clone(self) -> None:
        size_bytes = 2 * self._size_bytes
        whole = screen.size(size_bytes)
        with self._seen.step(f'Ask rbdcloner for three disks of {whole}'):
            for name in DISKS:
                begun = time.monotonic()
                self._disks[name] = disk = self._create(name, size_bytes)
                self._clone_s.append(time.monotonic() - begun)
                self._require_disk(disk, size_bytes)
                self._say(name, disk['state'], self._clone_s[-1])
            begun = time.monotonic()
            again = self._create(DISKS[0], size_bytes)
            claim.require(again == self._disks[DISKS[0]], 'the same answer')
            seconds = time.monotonic() - begun
            self._say(f'{DISKS[0]} once more', 'the same answer', seconds)

    def _say(self, what: str, came_of_it: str, seconds: float) -> None:
        self._seen.say(f'{what:24}{came_of_it:32}{seconds:9.3f} s')

    def _require_disk(self, disk: rpcapi.Disk, size_bytes: int) -> None:
        """Check in Ceph what the answer says."""
        name = disk['name']
        with self._images.open(POOL, name) as image:
            claim.require(image.size() == size_bytes, f'{name} has its size')
            parent = (IMAGE_POOL, self._image_id, SNAPSHOT)
            claim.require(image.parent_info() == parent, f'{name} is a clone')

    def _import(self) -> None:
        with self._seen.step('rbd import the same raw image, to compare'):
            begun = time.monotonic()
            self._rbd.import_file(
                self._raw, f'{POOL}/{IMPORTED}', self._seen.rate
            )
            self._import_s = time.monotonic() - begun
            speed = screen.speed(self._size_bytes, self._import_s)
            self._seen.say(f'{POOL}/{IMPORTED}, {speed}')

    def _compare(self) -> None:
        with self._seen.step(
            'Ask Ceph what both take (rbd du), remove the import'
        ):
            cloned_bytes = self._rbd.used_bytes(f'{POOL}/{DISKS[0]}')
            imported_bytes = self._rbd.used_bytes(f'{POOL}/{IMPORTED}')
            claim.require(cloned_bytes == 0, 'a new clone takes no space')
            enough = imported_bytes >= self._size_bytes
            claim.require(enough, 'an import takes the whole size')
            self._rbd.run('rm', '--no-progress', f'{POOL}/{IMPORTED}')
            self._show_comparison(cloned_bytes, imported_bytes)

    def _show_comparison(self, cloned_bytes: int, imported_bytes: int) -> None:
        clone_s = statistics.median(self._clone_s)
        self._seen.say(f'{"":40}{"time":>11}{"space in Ceph":>18}')
        for what, seconds, used_bytes in (
            ('a disk by rbdcloner (median)', clone_s, cloned_bytes),
            ('rbd import of the same image', self._import_s, imported_bytes),
        ):
            used = screen.size(used_bytes)
            self._seen.say(f'{what:40}{seconds:9.3f} s{used:>18}')
        ratio = self._import_s / clone_s
        self._seen.say(f'{"ratio":40}{ratio:9.0f} x')

    def _write(self) -> None:
        written, first = os.urandom(WRITTEN_BYTES), DISKS[0]
        # Where an object begins, so that rbd du shows no more.
        offset = self._size_bytes // 2 // (8 * MiB) * (8 * MiB)
        size = screen.size(WRITTEN_BYTES)
        with self._seen.step(f'Write {size} to {first}'):
            with self._images.open(POOL, first) as disk:
                disk.write(written, offset)
                disk.flush()
            with self._images.open(POOL, first) as disk:
                read = disk.read(offset, WRITTEN_BYTES)
            self._written = any_order.Written(
                self._disks[first], offset, written
            )
            claim.require(read == written, 'what was written can be read')
            self._require_untouched(DISKS[1], offset)
            used = screen.size(self._rbd.used_bytes(f'{POOL}/{first}'))
            self._seen.say(f'read back the same; the disk takes {used} now')
            self._seen.say(f'{DISKS[1]} still has the image there')

    def _require_untouched(self, name: str, offset: int) -> None:
        with self._raw.open('rb') as raw:
            raw.seek(offset)
            original = raw.read(WRITTEN_BYTES)
        with self._images.open(POOL, name) as disk:
            same = disk.read(offset, WRITTEN_BYTES) == original
        claim.require(same, f'{name} is as the image')

    def _refuse(self) -> None:
        with self._seen.step('Ask for a disk smaller than the image'):
            before = self._images.names(POOL)
            try:
                self._create(TOO_SMALL, self._size_bytes - MiB)
            except errors.ImageTooBig as exc:
                said = f'refused: {exc.name}'
            else:
                raise stack.StackError('a disk that is too small was made')
            nothing = self._images.names(POOL) == before
            claim.require(nothing, 'nothing was made')
            self._seen.say(f'{said}; nothing was made')

    def _resize(self) -> None:
        name, size_bytes = DISKS[1], 3 * self._size_bytes
        with self._seen.step(f'Grow {name} to {screen.size(size_bytes)}'):
            self._api.resize_disk(self._caller, name, POOL, size_bytes)
            self._require_disk(self._disks[name], size_bytes)
            try:
                self._api.resize_disk(self._caller, name, POOL, MiB)
            except errors.ShrinkRefused as exc:
                self._seen.say(f'to shrink it is refused: {exc.name}')
            else:
                raise stack.StackError('a disk was shrunk')

    def _delete(self) -> None:
        name = DISKS[2]
        with self._seen.step(f'Delete {name}, twice'):
            uuids = set()
            for time_name in (name, f'{name} once more'):
                begun = time.monotonic()
                disk = self._api.delete_disk(self._caller, name, POOL)
                uuids.add(disk['uuid'])
                seconds = time.monotonic() - begun
                self._say(time_name, disk['state'], seconds)
            claim.require(len(uuids) == 1, 'the same disk')
            gone = name not in self._images.names(POOL)
            claim.require(gone, f'{name} is gone from Ceph')
            process.wait_until(
                lambda: self._delete_once(name) == 'deleted',
                f'{name} is destroyed',
            )

    def _delete_once(self, name: str) -> str:
        return str(self._api.delete_disk(self._caller, name, POOL)['state'])

    def _show_lineage(self) -> None:
        manage = commands.Manage(self._manager.conf)
        lineage.show(self._seen, manage, self._image_id, DISKS[:2], DISKS[2:])

    def _any_order(self) -> None:
        chapter = any_order.AnyOrder(
            self._seen,
            self._api,
            self._caller,
            self._stack.glance,
            self._images,
            self._rbd,
        )
        chapter.tell(self._image_id, self._raw, self._written)

    def explain(self) -> None:
        """Say how to talk to what is left running; leave only that."""
        self._raw.unlink()
        self._seen.say(
            commands.explanation(
                self._folder.path, self._manager.conf, self._stack.ceph.conf
            )
        )

# SPDX-License-Identifier: Apache-2.0
"""What callers ask of the service, and what guests do meanwhile."""

import contextlib
import dataclasses
import uuid

from rbdcloner import errors
from rbdcloner.model import Request
from rbdcloner.states import State
from tests.unit.cloning import service
from tests.unit.cloning.expected import Data
from tests.unit.cloning.expected import Disk
from tests.unit.cloning.machine import Machine
from tests.unit.cloning.steps import NAME
from tests.unit.cloning.steps import NUMBER
from tests.unit.cloning.steps import PLACE
from tests.unit.cloning.steps import TROUBLE
from tests.unit.cloning.steps import UNITS
from tests.unit.cloning.steps import WHO
from tests.unit.cloning.steps import Trouble
from tests.unit.cloning.steps import pick
from tests.unit.cloning.steps import step
from tests.unit.cloning.steps import with_a
from tests.unit.cloning.steps import with_room

_MOST_DISKS = 8
MOST_IMAGES = 6


class Callers(Machine):
    """A machine of those who have disks."""

    # What callers ask for

    @with_room(_MOST_DISKS, 'disks')
    @with_a('images')
    @step(name=NUMBER, image=NUMBER, units=UNITS, who=WHO, trouble=TROUBLE)
    def launch(
        self, name: int, image: int, units: int, who: int, trouble: Trouble
    ) -> None:
        held = pick(self.expected.images, image)
        asked = service.request(
            held.id,
            name=f'{name}_disk',
            size_bytes=max(held.data.size_bytes, units * self.unit),
        )
        if asked.name in self.expected.disks:
            return
        may_fail = self.has_a_guest_leaving(asked.name) or (
            self.expected.state_of(held) not in (None, State.READY)
        )
        with self.refused_only_if(may_fail):
            self.do(who, trouble, lambda p: p.engine.create_disk(asked))
            data = Data(asked.size_bytes, held.data.written)
            self.expected.disks[asked.name] = Disk(asked, data)

    @with_room(_MOST_DISKS, 'disks')
    @step(name=NUMBER, units=UNITS, who=WHO, trouble=TROUBLE)
    def import_disk(
        self, name: int, units: int, who: int, trouble: Trouble
    ) -> None:
        """Write half an image, begin again, and write that one."""
        asked = service.request(
            '', name=f'{name}_disk', size_bytes=units * self.unit
        )
        if asked.name in self.expected.disks:
            return
        with self.refused_only_if(self.has_a_guest_leaving(asked.name)):
            first = self.do(who, None, lambda p: p.imports.begin(asked))
            self.world.ceph.write(first.image, 0, self.token())
            clone = self.do(who, trouble, lambda p: p.imports.begin(asked))
            assert clone.image.id != first.image.id
            token = self.token()
            self.world.ceph.write(clone.image, 0, token)
            at = ('vms', asked.name, clone.image.id, asked.size_bytes)
            self.do(who, trouble, lambda p: p.imports.finish(*at))
            data = Data(asked.size_bytes, {0: token})
            self.expected.disks[asked.name] = Disk(asked, data)

    @with_room(_MOST_DISKS, 'disks')
    @with_a('images')
    @step(name=NUMBER, image=NUMBER, who=WHO, trouble=TROUBLE)
    def clone_alone(
        self, name: int, image: int, who: int, trouble: Trouble
    ) -> None:
        """Do what Nova does without us, and have it adopted."""
        held = pick(self.expected.images, image)
        asked = service.request('', name=f'{name}_disk', size_bytes=0)
        if asked.name in self.expected.disks:
            return
        if asked.name in self.world.ceph.named('vms'):
            return
        if self.expected.state_of(held) not in (None, State.READY):
            return
        child = self.world.child(asked.name)
        with self.refused_only_if(True):
            self.world.ceph.clone(
                self.world.parent_of(held.id), child, self.clone_format, 22
            )
        if asked.name not in self.world.ceph.named('vms'):
            return
        self.do(who, trouble, lambda p: p.noted.adoption.adopt(asked))
        made = dataclasses.replace(asked, image_id=held.id)
        self.expected.disks[asked.name] = Disk(made, held.data)

    @with_a('disks')
    @step(disk=NUMBER, who=WHO)
    def launch_again(self, disk: int, who: int) -> None:
        known = pick(self.expected.disks, disk)
        with self.refused_only_if(known.lost):
            again = dataclasses.replace(known.request, size_bytes=self.unit)
            made = self.do(who, None, lambda p: p.engine.create_disk(again))
            assert made.size_bytes == known.data.size_bytes

    @with_room(MOST_IMAGES, 'images')
    @with_a('disks')
    @step(disk=NUMBER, who=WHO, trouble=TROUBLE)
    def snapshot_into_glance(
        self, disk: int, who: int, trouble: Trouble
    ) -> None:
        known = pick(self.expected.disks, disk)
        with self.refused_only_if(known.lost):
            image_id, location = self.snapshot(known, who, trouble)
            size_bytes = known.data.size_bytes
            self.world.register_image(image_id, location, size_bytes)
            self.hold(image_id, known.data, location)

    @with_a('disks')
    @step(disk=NUMBER, who=WHO, trouble=TROUBLE)
    def snapshot_and_discard(
        self, disk: int, who: int, trouble: Trouble
    ) -> None:
        known = pick(self.expected.disks, disk)
        with self.refused_only_if(known.lost):
            _, location = self.snapshot(known, who, None)
            self.do(
                who, trouble, lambda p: p.snapshots.discard_snapshot(location)
            )

    @with_a('images')
    @step(image=NUMBER, who=WHO, trouble=TROUBLE)
    def discard_what_glance_has(
        self, image: int, who: int, trouble: Trouble
    ) -> None:
        held = pick(self.expected.images, image)
        if held.location:
            self.do(
                who,
                trouble,
                lambda p: p.snapshots.discard_snapshot(held.location),
            )

    @with_a('disks')
    @step(disk=NUMBER, units=UNITS, who=WHO, trouble=TROUBLE)
    def resize(
        self, disk: int, units: int, who: int, trouble: Trouble
    ) -> None:
        known = pick(self.expected.disks, disk)
        size_bytes = units * self.unit
        with self.refused_only_if(
            known.lost or size_bytes < known.data.size_bytes
        ):
            self.do(
                who,
                trouble,
                lambda p: p.engine.resize_disk(
                    'vms', known.request.name, size_bytes
                ),
            )
            known.data = Data(size_bytes, known.data.written)

    @with_a('disks')
    @step(disk=NUMBER, who=WHO, trouble=TROUBLE)
    def delete_disk(self, disk: int, who: int, trouble: Trouble) -> None:
        known = pick(self.expected.disks, disk)
        try:
            self.do(
                who,
                trouble,
                lambda p: p.engine.delete_disk('vms', known.request.name),
            )
            assert known.guest is None
        except errors.DiskInUse:
            assert known.guest is not None
            self.expected.leaving.append(known)
        del self.expected.disks[known.request.name]

    @with_a('disks')
    @step(disk=NUMBER, name=NAME, who=WHO, trouble=TROUBLE)
    def create_snapshot(
        self, disk: int, name: str, who: int, trouble: Trouble
    ) -> None:
        known = pick(self.expected.disks, disk)
        request = Request(uuid.uuid4().hex)
        with self.refused_only_if(known.lost or name in known.snapshots):
            self.do(
                who,
                trouble,
                lambda p: p.snapshots.create_snapshot(
                    'vms', known.request.name, name, request
                ),
            )
            assert name not in known.snapshots
            known.snapshots[name] = known.data

    @with_a('disks')
    @step(disk=NUMBER, name=NAME, who=WHO, trouble=TROUBLE)
    def remove_snapshot(
        self, disk: int, name: str, who: int, trouble: Trouble
    ) -> None:
        known = pick(self.expected.disks, disk)
        with self.refused_only_if(known.lost):
            self.do(
                who,
                trouble,
                lambda p: p.snapshots.remove_snapshot(
                    'vms', known.request.name, name
                ),
            )
            known.snapshots.pop(name, None)

    @with_a('disks')
    @step(disk=NUMBER, name=NAME, who=WHO, trouble=TROUBLE)
    def rollback(
        self, disk: int, name: str, who: int, trouble: Trouble
    ) -> None:
        known = pick(self.expected.disks, disk)
        may_fail = name not in known.snapshots or known.guest is not None
        with self.refused_only_if(may_fail or known.lost):
            self.do(
                who,
                trouble,
                lambda p: p.snapshots.rollback_disk(
                    'vms', known.request.name, name
                ),
            )
            known.data = known.snapshots[name]

    # What guests do

    @with_a('disks')
    @step(disk=NUMBER, place=PLACE)
    def write(self, disk: int, place: int) -> None:
        known = pick(self.expected.disks, disk)
        offset = self.expected.offset(place)
        if known.lost or offset >= known.data.size_bytes:
            return
        token = self.token()
        image = self.expected.disk_image(known)
        self.world.ceph.write(image, offset, token)
        known.data = known.data.with_token(place, token)

    @with_a('disks')
    @step(disk=NUMBER)
    def open_or_close(self, disk: int) -> None:
        known = pick(self.expected.disks, disk)
        if known.guest is not None:
            known.close()
        elif not known.lost:
            image = self.expected.disk_image(known)
            known.guest = contextlib.ExitStack()
            known.guest.enter_context(self.world.ceph.watch(image))

    @with_a('leaving')
    @step()
    def leave(self) -> None:
        self.expected.leaving.pop(0).close()

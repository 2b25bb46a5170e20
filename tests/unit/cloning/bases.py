# SPDX-License-Identifier: Apache-2.0
"""An importer of bases that takes one step at a time."""

from rbdcloner.model import Base
from rbdcloner.model import Clone
from rbdcloner.model import Parent
from rbdcloner.model import Protector
from rbdcloner.model import Purpose
from rbdcloner.states import ParentState
from tests.unit.cloning import service

MIB = service.MIB


class Importer:
    """Imports an image step by step, and can stop after any."""

    def __init__(self, world: service.Service) -> None:
        self.world = world
        self.process = world.process()
        self.lineage = self.process.lineage
        self.image_id = world.add_image()

    def want(self) -> Base:
        return self.lineage.want_base(
            self.world.ceph.fsid, self.image_id, 'md5:0', MIB
        )

    def run(self, lease_s: float = 30) -> Base:
        self.want()
        base = self.lineage.next_base('importer', lease_s, 1, ())
        assert base is not None
        return base

    def reserve(self, base: Base, lease_s: float = 30) -> Clone:
        return self.lineage.reserve_base_image(
            base, MIB, 'vms', self.world.clone_format, 'importer', lease_s
        )

    def create(self, clone: Clone) -> None:
        self.world.ceph.create(clone.image, MIB)

    def tag(self, clone: Clone) -> Clone:
        with self.world.ceph.open(clone.image) as opened:
            opened.tag(clone.uuid)
            image_id = opened.facts().image.id
        return self.lineage.note_image_id(clone, image_id)

    def plan(self, clone: Clone) -> Parent:
        return self.lineage.plan_snapshot(
            clone.image,
            'snap',
            Purpose.BASE,
            Protector.SERVICE,
            clone=clone,
            size_bytes=MIB,
            glance_image_id=self.image_id,
        )

    def take(self, planned: Parent) -> Parent:
        return self.process.engine.maker.take(planned)

    def make(self) -> Base:
        base = self.run()
        clone = self.reserve(base)
        self.create(clone)
        clone = self.tag(clone)
        self.take(self.plan(clone))
        return self.lineage.base_made(base, clone, clone.image.id, MIB)

    def disk_of(self, base: Base) -> Clone:
        """Make a disk of the base, as the engine does."""
        parent = self.lineage.parent_of_base(base)
        assert parent is not None
        engine = self.process.engine
        clone = engine.holder.taken(
            self.lineage.reserve,
            service.request(self.image_id),
            parent,
            engine.clone_format,
        )
        return engine.maker.make(clone)

    def assert_nothing_left(self) -> None:
        """There is Glance's image, and nothing else."""
        assert self.world.ceph.named('vms') == {}
        (image,) = self.world.ceph.named('images')
        assert image == self.image_id
        for parent in self.lineage.parents():
            if parent.purpose is Purpose.BASE:
                assert parent.state is ParentState.RELEASED

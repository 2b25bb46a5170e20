# SPDX-License-Identifier: Apache-2.0
"""A machine without rules: its world, what must hold in it, and its end."""

import collections
from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import itertools
import sys
from typing import ClassVar
from typing import TypeVar
import uuid

from hypothesis import stateful

from rbdcloner import errors
from rbdcloner.cloning.image_release import ImageRelease
from rbdcloner.model import CloneFormat
from tests.unit.cloning import service
from tests.unit.cloning.expected import Data
from tests.unit.cloning.expected import Disk
from tests.unit.cloning.expected import Expected
from tests.unit.cloning.expected import Held
from tests.unit.cloning.service import Process
from tests.unit.cloning.steps import Trouble
from tests.unit.cloning.steps import no_trouble

Answer = TypeVar('Answer')

_LIMITS = {'soft_depth': 2, 'hard_depth': 64, 'soft_snapshots': 2}


class Machine(stateful.RuleBasedStateMachine):
    """Subclasses have the rules, the Ceph and the format."""

    world_class: ClassVar[type[service.Service]] = service.Service
    clone_format: ClassVar[CloneFormat]
    unit: ClassVar[int] = service.MIB
    counts: ClassVar[collections.Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.world = self.world_class(self.clone_format, **_LIMITS)
        self.world.setUp()
        self.processes = [self.world.process() for _ in range(2)]
        self.expected = Expected(
            self.world, self.world.process().lineage, self.unit
        )
        self._tokens = itertools.count(1)

    # What must hold

    @stateful.invariant()
    def every_byte_is_there(self) -> None:
        self.expected.assert_bytes()

    @stateful.invariant()
    def rows_account_for_everything(self) -> None:
        self.expected.assert_rows()

    def teardown(self) -> None:
        """Delete everything, in the order of its making; nothing is left."""
        try:
            if sys.exc_info()[0] is None:
                self._end_all()
        finally:
            self.world.cleanUp()

    def _end_all(self) -> None:
        for disk in [*self.expected.disks.values(), *self.expected.leaving]:
            disk.close()
        for name in list(self.expected.disks):
            self.processes[0].engine.delete_disk('vms', name)
        self.expected.disks.clear()
        before: list[str] = []
        while True:
            for image_id in list(self.expected.images):
                with contextlib.suppress(errors.RbdImageInUse):
                    self.world.delete_image(image_id)
                    del self.expected.images[image_id]
            self._settle()
            self.expected.assert_bytes()
            self.expected.assert_rows()
            left = [*self.expected.images, *self.expected.unfinished()]
            if not left:
                return
            assert left != before, f'left for ever: {left}'
            before = left

    def _settle(self) -> None:
        self.world.pass_time()
        for process in self.processes:
            process.survey.look()
            process.recovery.sweep()
            while process.flattener.run_next():
                continue
            process.reaper.sweep()

    # How it is done

    def do(
        self,
        who: int,
        trouble: Trouble | None,
        act: Callable[[Process], Answer],
    ) -> Answer:
        """Have a process do *act*; if it dies of it, the other one."""
        ceph = self.world.ceph
        if trouble is not None:
            troubled = self.world.process(lambda: steps('commit', 'before'))
            steps = trouble.steps(ceph)
            ceph.on_act = steps
            try:
                return act(troubled)
            except (service.Died, errors.CephUnavailable):
                self.counts['died' if trouble.deadly else 'unanswered'] += 1
            finally:
                ceph.on_act = no_trouble
            ceph.expire_watches()
            self.world.pass_time()
            if trouble.recovered:
                self.processes[1 - who].recovery.sweep()
        return act(self.processes[who])

    @property
    def release(self) -> ImageRelease:
        return ImageRelease(self.expected.lineage, self.clone_format, 'admin')

    @contextlib.contextmanager
    def refused_only_if(self, may_fail: bool) -> Iterator[None]:
        try:
            yield
        except errors.Error:
            if not may_fail:
                raise
            self.counts['refused'] += 1

    def has_a_guest_leaving(self, name: str) -> bool:
        return any(disk.request.name == name for disk in self.expected.leaving)

    def snapshot(
        self, disk: Disk, who: int, trouble: Trouble | None
    ) -> tuple[str, str]:
        image_id = str(uuid.uuid4())
        location = self.do(
            who,
            trouble,
            lambda p: p.snapshots.snapshot_disk(
                'vms', disk.request.name, image_id, 'images'
            ),
        )
        return image_id, location

    def hold(self, image_id: str, data: Data, location: str = '') -> None:
        rbd_id = self.world.ceph.named('images')[image_id]
        held = Held(image_id, rbd_id, data, location)
        self.expected.images[image_id] = held

    def token(self) -> bytes:
        return b'%04d' % next(self._tokens)

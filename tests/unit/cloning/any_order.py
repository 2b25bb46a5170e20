# SPDX-License-Identifier: Apache-2.0
"""A machine that does whatever callers, Glance, guests and operators do.

In any order, by several processes in turn, some of which die in the midst of
it or get no answer from Ceph; whoever asked then asks another process again.
After each step every byte is compared, and in the end everything is deleted:
nothing may be left.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import functools
import itertools
import sys
from typing import Any
from typing import ClassVar
from typing import TypeVar
import uuid

import hypothesis
from hypothesis import stateful
from hypothesis import strategies
import pytest

from rbdcloner import errors
from rbdcloner.cloning.image_release import ImageRelease
from rbdcloner.model import CloneFormat
from rbdcloner.model import FlattenReason
from rbdcloner.states import State
from tests.unit.cloning import service
from tests.unit.cloning.expected import PLACES
from tests.unit.cloning.expected import Data
from tests.unit.cloning.expected import Disk
from tests.unit.cloning.expected import Expected
from tests.unit.cloning.expected import Held
from tests.unit.cloning.service import Process

Answer = TypeVar('Answer')
Chosen = TypeVar('Chosen')

_MOST_DISKS = 8
_MOST_IMAGES = 6
_MAX_UNITS = 3
_LIMITS = {'soft_depth': 2, 'hard_depth': 64, 'soft_snapshots': 2}


@dataclasses.dataclass(frozen=True)
class Trouble:
    """A process dies at its n-th step, or Ceph does not answer it there."""

    step: int
    when: str
    deadly: bool
    recovered: bool

    def steps(self, ceph: Any) -> Callable[[str, str], None]:
        numbers = itertools.count()

        def step(name: str, when: str) -> None:
            if when != self.when or next(numbers) != self.step:
                return
            ceph.on_act = _no_trouble
            if self.deadly:
                raise service.Died(f'{when} {name}')
            raise errors.CephUnavailable(act=name)

        return step


def _no_trouble(name: str, when: str) -> None:
    """Let the act go on."""


#: On a cluster it would take hours.
WITHOUT_SHRINKING = (hypothesis.Phase.generate,)

NUMBER = strategies.integers(0, 11)
WHO = strategies.integers(0, 1)
PLACE = strategies.integers(0, PLACES - 1)
UNITS = strategies.integers(1, _MAX_UNITS)
NAME = strategies.sampled_from(['first', 'second'])
TROUBLE = strategies.one_of(
    strategies.none(),
    strategies.none(),
    strategies.none(),
    strategies.builds(
        Trouble,
        step=strategies.integers(0, 6),
        when=strategies.sampled_from(['before', 'after']),
        deadly=strategies.booleans(),
        recovered=strategies.booleans(),
    ),
)

CHORES: dict[str, Callable[[Process], object]] = {
    'survey': lambda process: process.survey.look(),
    'recover': lambda process: process.recovery.sweep(),
    'reap': lambda process: process.reaper.sweep(),
    'flatten': lambda process: process.flattener.run_next(),
}


def step(**drawn: Any) -> Callable[[Callable[..., None]], Any]:
    """Make a method a rule that is counted."""

    def decorate(method: Callable[..., None]) -> Any:
        @functools.wraps(method)
        def counted(self: 'AnyOrder', **given: Any) -> None:
            self.counts['steps'] += 1
            self.counts[method.__name__] += 1
            method(self, **given)

        return stateful.rule(**drawn)(counted)

    return decorate


def with_room(limit: int, what: str) -> Callable[[Any], Any]:
    """Let a rule run only while there are less of *what*."""
    return stateful.precondition(
        lambda self: len(getattr(self.expected, what)) < limit
    )


def with_a(what: str) -> Callable[[Any], Any]:
    """Let a rule run only if there is one of *what*."""
    return stateful.precondition(lambda self: getattr(self.expected, what))


class AnyOrder(stateful.RuleBasedStateMachine):
    """The machine; subclasses say over which Ceph, and in which format."""

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

    @stateful.initialize(protected=strategies.booleans())
    def begin(self, protected: bool) -> None:
        """Make image → disk → image → disk, so that there is an order."""
        self.upload(protected=protected)
        for name in range(2):
            self.launch(name=name, image=name, units=1, who=0, trouble=None)
            self.write(disk=name, place=1 - name)
            self.snapshot_into_glance(disk=name, who=1, trouble=None)

    # What callers ask for

    @with_room(_MOST_DISKS, 'disks')
    @with_a('images')
    @step(name=NUMBER, image=NUMBER, units=UNITS, who=WHO, trouble=TROUBLE)
    def launch(
        self, name: int, image: int, units: int, who: int, trouble: Trouble
    ) -> None:
        held = _pick(self.expected.images, image)
        asked = service.request(
            held.id,
            name=f'{name}_disk',
            size_bytes=max(held.data.size_bytes, units * self.unit),
        )
        if asked.name in self.expected.disks:
            return
        may_fail = self._has_a_guest_leaving(asked.name) or (
            self.expected.state_of(held) not in (None, State.READY)
        )
        with self._refused_only_if(may_fail):
            self.do(who, trouble, lambda p: p.engine.create_disk(asked))
            data = Data(asked.size_bytes, held.data.written)
            self.expected.disks[asked.name] = Disk(asked, data)

    @with_a('disks')
    @step(disk=NUMBER, who=WHO)
    def launch_again(self, disk: int, who: int) -> None:
        known = _pick(self.expected.disks, disk)
        with self._refused_only_if(known.lost):
            again = dataclasses.replace(known.request, size_bytes=self.unit)
            made = self.do(who, None, lambda p: p.engine.create_disk(again))
            assert made.size_bytes == known.data.size_bytes

    @with_room(_MOST_IMAGES, 'images')
    @with_a('disks')
    @step(disk=NUMBER, who=WHO, trouble=TROUBLE)
    def snapshot_into_glance(
        self, disk: int, who: int, trouble: Trouble
    ) -> None:
        known = _pick(self.expected.disks, disk)
        with self._refused_only_if(known.lost):
            image_id, location = self._snapshot(known, who, trouble)
            size_bytes = known.data.size_bytes
            self.world.register_image(image_id, location, size_bytes)
            self._hold(image_id, known.data, location)

    @with_a('disks')
    @step(disk=NUMBER, who=WHO, trouble=TROUBLE)
    def snapshot_and_discard(
        self, disk: int, who: int, trouble: Trouble
    ) -> None:
        known = _pick(self.expected.disks, disk)
        with self._refused_only_if(known.lost):
            _, location = self._snapshot(known, who, None)
            self.do(
                who, trouble, lambda p: p.snapshots.discard_snapshot(location)
            )

    @with_a('images')
    @step(image=NUMBER, who=WHO, trouble=TROUBLE)
    def discard_what_glance_has(
        self, image: int, who: int, trouble: Trouble
    ) -> None:
        held = _pick(self.expected.images, image)
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
        known = _pick(self.expected.disks, disk)
        size_bytes = units * self.unit
        with self._refused_only_if(
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
        known = _pick(self.expected.disks, disk)
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
        known = _pick(self.expected.disks, disk)
        with self._refused_only_if(known.lost):
            self.do(
                who,
                trouble,
                lambda p: p.snapshots.create_snapshot(
                    'vms', known.request.name, name
                ),
            )
            known.snapshots.setdefault(name, known.data)

    @with_a('disks')
    @step(disk=NUMBER, name=NAME, who=WHO, trouble=TROUBLE)
    def remove_snapshot(
        self, disk: int, name: str, who: int, trouble: Trouble
    ) -> None:
        known = _pick(self.expected.disks, disk)
        with self._refused_only_if(known.lost):
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
        known = _pick(self.expected.disks, disk)
        may_fail = name not in known.snapshots or known.guest is not None
        with self._refused_only_if(may_fail or known.lost):
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
        known = _pick(self.expected.disks, disk)
        offset = self.expected.offset(place)
        if known.lost or offset >= known.data.size_bytes:
            return
        token = self._token()
        image = self.expected.disk_image(known)
        self.world.ceph.write(image, offset, token)
        known.data = known.data.with_token(place, token)

    @with_a('disks')
    @step(disk=NUMBER)
    def open_or_close(self, disk: int) -> None:
        known = _pick(self.expected.disks, disk)
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

    # What Glance and administrators do

    @with_room(_MOST_IMAGES, 'images')
    @step(protected=strategies.booleans())
    def upload(self, protected: bool) -> None:
        token = self._token()
        image_id = self.world.add_image(self.unit, protected, token)
        self._hold(image_id, Data(self.unit, {0: token}))

    @with_a('images')
    @step(
        image=NUMBER,
        retire=strategies.booleans(),
        forced=strategies.booleans(),
    )
    def delete_image(self, image: int, retire: bool, forced: bool) -> None:
        held = _pick(self.expected.images, image)
        self._end_restoring()
        try:
            self.world.delete_image(held.id)
        except errors.RbdImageInUse:
            assert self.clone_format is CloneFormat.V1
            self.counts['refused by Glance'] += 1
            if retire:
                self._release.retire(held.id)
            else:
                self._release.flatten(held.id, forced)
        else:
            del self.expected.images[held.id]

    @with_a('images')
    @step(image=NUMBER)
    def retire_image(self, image: int) -> None:
        self._release.retire(_pick(self.expected.images, image).id)

    @with_a('images')
    @step(image=NUMBER)
    def restore_image(self, image: int) -> None:
        held = _pick(self.expected.images, image)
        lineage = self.expected.lineage
        row = lineage.find_by_image(self.expected.rbd_image(held))
        if row is not None and row.state is State.RETIRED:
            self.counts['restored'] += 1
            self._release.restore(row)

    @with_a('disks')
    @step(disk=NUMBER, forced=strategies.booleans())
    def want_flatten(self, disk: int, forced: bool) -> None:
        known = _pick(self.expected.disks, disk)
        lineage = self.expected.lineage
        image = self.expected.disk_image(known)
        row = lineage.find(image.fsid, 'vms', '', image.name)
        with contextlib.suppress(errors.RowMoved):
            lineage.want_flatten(row, FlattenReason.RELEASE, forced)

    # What others do behind our back

    @with_a('disks')
    @step(disk=NUMBER)
    def operator_flattens_disk(self, disk: int) -> None:
        known = _pick(self.expected.disks, disk)
        if not known.lost:
            self.world.ceph.flatten_image(self.expected.disk_image(known))

    @with_a('images')
    @step(image=NUMBER)
    def operator_flattens_image(self, image: int) -> None:
        held = _pick(self.expected.images, image)
        self.world.ceph.flatten_image(self.expected.rbd_image(held))

    @with_a('disks')
    @step(disk=NUMBER)
    def operator_removes_disk(self, disk: int) -> None:
        """Remove a disk as ``rbd rm`` does: if it is closed and bare."""
        known = _pick(self.expected.disks, disk)
        ceph = self.world.ceph
        if known.lost or known.guest is not None:
            return
        facts = ceph.find_image(self.expected.disk_image(known))
        if not ceph.snapshots(facts.image):
            ceph.remove_image(facts.image)
            known.lost = True

    # What the service does by itself

    @step(
        chore=strategies.sampled_from(sorted(CHORES)), who=WHO, trouble=TROUBLE
    )
    def do_chore(self, chore: str, who: int, trouble: Trouble) -> None:
        self.counts[chore] += 1
        self.do(who, trouble, CHORES[chore])

    @step()
    def wait(self) -> None:
        self.world.pass_time()

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
            self._end_restoring()
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
                ceph.on_act = _no_trouble
            ceph.expire_watches()
            self.world.pass_time()
            if trouble.recovered:
                self.processes[1 - who].recovery.sweep()
        return act(self.processes[who])

    def _end_restoring(self) -> None:
        """Go on when no image is between the trash and its name.

        What Glance deletes there stays for ever: test_orders.py says so.
        """
        for held in self.expected.images.values():
            if self.expected.state_of(held) is State.RESTORING:
                self.world.pass_time()
                self.processes[0].recovery.sweep()

    @property
    def _release(self) -> ImageRelease:
        return ImageRelease(self.expected.lineage, self.clone_format, 'admin')

    @contextlib.contextmanager
    def _refused_only_if(self, may_fail: bool) -> Iterator[None]:
        try:
            yield
        except errors.Error:
            if not may_fail:
                raise
            self.counts['refused'] += 1

    def _has_a_guest_leaving(self, name: str) -> bool:
        return any(disk.request.name == name for disk in self.expected.leaving)

    def _snapshot(
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

    def _hold(self, image_id: str, data: Data, location: str = '') -> None:
        rbd_id = self.world.ceph.named('images')[image_id]
        held = Held(image_id, rbd_id, data, location)
        self.expected.images[image_id] = held

    def _token(self) -> bytes:
        return b'%04d' % next(self._tokens)


def _pick(known: dict[str, Chosen], number: int) -> Chosen:
    return list(known.values())[number % len(known)]


def explore(
    machine: type[AnyOrder],
    clone_format: CloneFormat,
    config: pytest.Config,
    **limits: Any,
) -> collections.Counter[str]:
    """Run *machine*; how often each step was made.

    Always the same steps, but with ``--hypothesis-seed``.
    """
    counts: collections.Counter[str] = collections.Counter()
    facts = {'clone_format': clone_format, 'counts': counts}
    settings = hypothesis.settings(
        derandomize=config.getoption('--hypothesis-seed') is None,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        **limits,
    )
    chosen = type(machine.__name__, (machine,), facts)
    stateful.run_state_machine_as_test(chosen, settings=settings)
    print(dict(counts))
    return counts

# SPDX-License-Identifier: Apache-2.0
"""A machine that does whatever callers, Glance, guests and operators do.

In any order, by several processes in turn, some of which die in the midst of
it or get no answer from Ceph; whoever asked then asks another process again.
After each step every byte is compared, and in the end everything is deleted:
nothing may be left.
"""

import collections
from collections.abc import Callable
import contextlib
from typing import Any

import hypothesis
from hypothesis import stateful
from hypothesis import strategies
import pytest

from rbdcloner import errors
from rbdcloner.model import CloneFormat
from rbdcloner.model import FlattenReason
from rbdcloner.states import State
from tests.unit.cloning.callers import MOST_IMAGES
from tests.unit.cloning.callers import Callers
from tests.unit.cloning.expected import Data
from tests.unit.cloning.service import Process
from tests.unit.cloning.steps import NUMBER
from tests.unit.cloning.steps import TROUBLE
from tests.unit.cloning.steps import WHO
from tests.unit.cloning.steps import Trouble
from tests.unit.cloning.steps import pick
from tests.unit.cloning.steps import step
from tests.unit.cloning.steps import with_a
from tests.unit.cloning.steps import with_room

#: On a cluster it would take hours.
WITHOUT_SHRINKING = (hypothesis.Phase.generate,)

CHORES: dict[str, Callable[[Process], object]] = {
    'survey': lambda process: process.survey.look(),
    'recover': lambda process: process.recovery.sweep(),
    'reap': lambda process: process.reaper.sweep(),
    'flatten': lambda process: process.flattener.run_next(),
}


class AnyOrder(Callers):
    """The machine; subclasses say over which Ceph, and in which format."""

    @stateful.initialize(protected=strategies.booleans())
    def begin(self, protected: bool) -> None:
        """Make image → disk → image → disk, so that there is an order."""
        self.upload(protected=protected)
        for name in range(2):
            self.launch(name=name, image=name, units=1, who=0, trouble=None)
            self.write(disk=name, place=1 - name)
            self.snapshot_into_glance(disk=name, who=1, trouble=None)

    # What Glance and administrators do

    @with_room(MOST_IMAGES, 'images')
    @step(protected=strategies.booleans())
    def upload(self, protected: bool) -> None:
        token = self.token()
        image_id = self.world.add_image(self.unit, protected, token)
        self.hold(image_id, Data(self.unit, {0: token}))

    @with_a('images')
    @step(
        image=NUMBER,
        retire=strategies.booleans(),
        forced=strategies.booleans(),
    )
    def delete_image(self, image: int, retire: bool, forced: bool) -> None:
        held = pick(self.expected.images, image)
        try:
            self.world.delete_image(held.id)
        except errors.RbdImageInUse:
            assert self.clone_format is CloneFormat.V1
            self.counts['refused by Glance'] += 1
            if retire:
                self.release.retire(held.id)
            else:
                self.release.flatten(held.id, forced)
        else:
            del self.expected.images[held.id]

    @with_a('images')
    @step(image=NUMBER)
    def retire_image(self, image: int) -> None:
        self.release.retire(pick(self.expected.images, image).id)

    @with_a('images')
    @step(image=NUMBER)
    def restore_image(self, image: int) -> None:
        held = pick(self.expected.images, image)
        lineage = self.expected.lineage
        row = lineage.find_by_image(self.expected.rbd_image(held))
        if row is not None and row.state is State.RETIRED:
            self.counts['restored'] += 1
            self.release.restore(row)

    @with_a('disks')
    @step(disk=NUMBER, forced=strategies.booleans())
    def want_flatten(self, disk: int, forced: bool) -> None:
        known = pick(self.expected.disks, disk)
        lineage = self.expected.lineage
        image = self.expected.disk_image(known)
        row = lineage.find(image.fsid, 'vms', '', image.name)
        with contextlib.suppress(errors.RowMoved):
            lineage.want_flatten(row, FlattenReason.RELEASE, forced)

    # What others do behind our back

    @with_a('disks')
    @step(disk=NUMBER)
    def operator_flattens_disk(self, disk: int) -> None:
        known = pick(self.expected.disks, disk)
        if not known.lost:
            self.world.ceph.flatten_image(self.expected.disk_image(known))

    @with_a('images')
    @step(image=NUMBER)
    def operator_flattens_image(self, image: int) -> None:
        held = pick(self.expected.images, image)
        self.world.ceph.flatten_image(self.expected.rbd_image(held))

    @with_a('disks')
    @step(disk=NUMBER)
    def operator_removes_disk(self, disk: int) -> None:
        """Remove a disk as ``rbd rm`` does: if it is closed and bare."""
        known = pick(self.expected.disks, disk)
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

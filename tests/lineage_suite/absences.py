# SPDX-License-Identifier: Apache-2.0
"""What is claimed of absences, of pools and of brakes."""

import dataclasses

from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Filters
from rbdcloner.model import FlattenReason
from rbdcloner.states import State
from tests.lineage_suite.claims import FSID
from tests.lineage_suite.claims import Claims
from tests.lineage_suite.claims import retire

LONG_S = 3600.0
OTHER = 'another-cluster'


class TestAbsence(Claims):
    def test_clock_starts_once_and_ends(self, lineage, ready):
        disk, other = ready(), ready('another')
        assert not lineage.absences.is_absent(disk)
        lineage.absences.note_absence(disk)
        lineage.absences.note_absence(disk)
        assert lineage.absences.is_absent(disk)
        assert not lineage.absences.is_absent(disk, LONG_S)
        assert lineage.absences.is_absent(disk, -1)
        assert not lineage.absences.is_absent(other)
        assert lineage.absences.absent() == [disk]
        assert lineage.absences.absent(marker=disk.id) == []
        lineage.absences.end_absence(disk)
        assert lineage.absences.absent() == []

    def test_row_that_is_trashed_for_absence_says_so(self, lineage, ready):
        disk = ready()
        lineage.absences.note_trashed(disk)
        assert not lineage.absences.was_trashed(disk)
        lineage.absences.note_absence(disk)
        assert not lineage.absences.was_trashed(disk)
        lineage.absences.note_trashed(disk)
        assert lineage.absences.was_trashed(disk)

    def test_young_absence_is_not_reaped(self, lineage, ready):
        disk = retire(lineage, ready())
        lineage.absences.note_absence(disk)
        assert lineage.pending.reapable(10, LONG_S) == []
        assert [one.id for one in lineage.pending.reapable(10)] == [disk.id]

    def test_order_is_later_than_its_row(self, lineage, ready):
        disk = ready()
        assert not lineage.absences.was_ordered(disk)
        lineage.deletions.note_deletion('a-call', disk.image)
        assert lineage.absences.was_ordered(disk)
        elsewhere = dataclasses.replace(disk.image, pool='other')
        assert not lineage.absences.was_ordered(
            dataclasses.replace(disk, image=elsewhere)
        )


class TestSafety(Claims):
    def test_pool_keeps_its_first_id_until_it_is_replaced(self, lineage):
        assert lineage.pools.pool_id(FSID, 'vms', 3) == 3
        assert lineage.pools.pool_id(FSID, 'vms', 7) == 3
        assert lineage.pools.pool_id(OTHER, 'vms', 9) == 9
        lineage.pools.replace_pool(FSID, 'vms', 7)
        assert lineage.pools.pool_id(FSID, 'vms', 3) == 7
        assert lineage.clones.clusters() == {FSID, OTHER}

    def test_brake_is_engaged_once_and_released(self, lineage):
        assert lineage.pools.engage_brake(FSID, 'reconciler', 'too much')
        assert not lineage.pools.engage_brake(FSID, 'reconciler', 'other')
        assert lineage.pools.engage_brake(OTHER, 'reconciler', 'elsewhere')
        (brake,) = lineage.pools.brakes(FSID)
        assert (brake.reason, brake.released) == ('too much', False)
        assert lineage.pools.release_brakes() == 2
        assert lineage.pools.release_brakes() == 0
        assert all(brake.released for brake in lineage.pools.brakes())
        lineage.pools.end_brake(FSID, 'reconciler')
        assert [brake.fsid for brake in lineage.pools.brakes()] == [OTHER]

    def test_work_of_another_cluster_is_not_found(self, lineage, ready):
        disk = ready()
        lineage.flattens.want_flatten(disk, FlattenReason.ASKED)
        here, elsewhere = (lineage.of_cluster(one) for one in (FSID, OTHER))
        assert here.page(Filters()) == [disk]
        assert elsewhere.page(Filters()) == []
        assert elsewhere.flattens.next_flatten('me', LONG_S, 1) is None
        assert here.flattens.next_flatten('me', LONG_S, 1) is not None
        assert self.work_of(elsewhere) == [[], [], [], []]

    def work_of(self, lineage: Lineage):
        """Return what a worker would find to do."""
        return [
            lineage.pending.abandoned(0, 10, tuple(State)),
            lineage.pending.reapable(10),
            lineage.pending.waiting(),
            lineage.parents.page(),
        ]

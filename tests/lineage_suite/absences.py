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
        assert not lineage.is_absent(disk)
        lineage.note_absence(disk)
        lineage.note_absence(disk)
        assert lineage.is_absent(disk)
        assert not lineage.is_absent(disk, LONG_S)
        assert lineage.is_absent(disk, -1)
        assert not lineage.is_absent(other)
        assert lineage.absent() == [disk]
        assert lineage.absent(marker=disk.id) == []
        lineage.end_absence(disk)
        assert lineage.absent() == []

    def test_row_that_is_trashed_for_absence_says_so(self, lineage, ready):
        disk = ready()
        lineage.note_trashed(disk)
        assert not lineage.was_trashed(disk)
        lineage.note_absence(disk)
        assert not lineage.was_trashed(disk)
        lineage.note_trashed(disk)
        assert lineage.was_trashed(disk)

    def test_young_absence_is_not_reaped(self, lineage, ready):
        disk = retire(lineage, ready())
        lineage.note_absence(disk)
        assert lineage.reapable(10, LONG_S) == []
        assert [one.id for one in lineage.reapable(10)] == [disk.id]

    def test_order_is_later_than_its_row(self, lineage, ready):
        disk = ready()
        assert not lineage.was_ordered(disk)
        lineage.note_deletion('a-call', disk.image)
        assert lineage.was_ordered(disk)
        elsewhere = dataclasses.replace(disk.image, pool='other')
        assert not lineage.was_ordered(
            dataclasses.replace(disk, image=elsewhere)
        )


class TestSafety(Claims):
    def test_pool_keeps_its_first_id_until_it_is_replaced(self, lineage):
        assert lineage.pool_id(FSID, 'vms', 3) == 3
        assert lineage.pool_id(FSID, 'vms', 7) == 3
        assert lineage.pool_id(OTHER, 'vms', 9) == 9
        lineage.replace_pool(FSID, 'vms', 7)
        assert lineage.pool_id(FSID, 'vms', 3) == 7
        assert lineage.clusters() == {FSID, OTHER}

    def test_brake_is_engaged_once_and_released(self, lineage):
        assert lineage.engage_brake(FSID, 'survey', 'too much')
        assert not lineage.engage_brake(FSID, 'survey', 'other')
        assert lineage.engage_brake(OTHER, 'survey', 'elsewhere')
        (brake,) = lineage.brakes(FSID)
        assert (brake.reason, brake.released) == ('too much', False)
        assert lineage.release_brakes() == 2
        assert lineage.release_brakes() == 0
        assert all(brake.released for brake in lineage.brakes())
        lineage.end_brake(FSID, 'survey')
        assert [brake.fsid for brake in lineage.brakes()] == [OTHER]

    def test_work_of_another_cluster_is_not_found(self, lineage, ready):
        disk = ready()
        lineage.want_flatten(disk, FlattenReason.ASKED)
        here, elsewhere = (lineage.of_cluster(one) for one in (FSID, OTHER))
        assert here.page(Filters()) == [disk]
        assert elsewhere.page(Filters()) == []
        assert elsewhere.next_flatten('me', LONG_S, 1) is None
        assert here.next_flatten('me', LONG_S, 1) is not None
        assert self.work_of(elsewhere) == [[], [], [], []]

    def work_of(self, lineage: Lineage):
        """Return what a worker would find to do."""
        return [
            lineage.abandoned(0, 10, tuple(State)),
            lineage.reapable(10),
            lineage.waiting(),
            lineage.parents(),
        ]

# SPDX-License-Identifier: Apache-2.0
"""The lineage database: one section for each group of its tables.

Every method raises :class:`rbdcloner.errors.DatabaseUnavailable` when the
database cannot be reached, within seconds. A deadlock is retried, and a
connection that was lost before its COMMIT; what came of a COMMIT that was
lost is unknown, and the caller looks.
"""

from typing import Self

import sqlalchemy as sa

from rbdcloner.db.clones.absences import Absences
from rbdcloner.db.clones.adoption import Adoption
from rbdcloner.db.clones.blank_disks import BlankDisks
from rbdcloner.db.clones.changes import Changes
from rbdcloner.db.clones.deferred_deletions import DeferredDeletions
from rbdcloner.db.clones.deletion import Deletion
from rbdcloner.db.clones.deletion_log import Deletions
from rbdcloner.db.clones.leases import Leases
from rbdcloner.db.clones.pending import Pending
from rbdcloner.db.clones.queries import Queries
from rbdcloner.db.clones.reservations import Reservations
from rbdcloner.db.clones.snapshots import Snapshots
from rbdcloner.db.clones.transitions import Transitions
from rbdcloner.db.clones.warrants import Warrants
from rbdcloner.db.cluster.duties import Duties
from rbdcloner.db.cluster.generations import Generations
from rbdcloner.db.cluster.safety import Pools
from rbdcloner.db.cluster.workers import Workers
from rbdcloner.db.core.transaction import Database
from rbdcloner.db.parents.records import Parents
from rbdcloner.db.parents.release import ParentRelease
from rbdcloner.db.queues.base_images import BaseImages
from rbdcloner.db.queues.flattens import Flattens
from rbdcloner.db.queues.image_imports import ImageImports
from rbdcloner.db.queues.import_runs import ImportRuns


class Clones(Queries, Transitions):
    """Rows of clones: found, and brought from one state to the next."""


class Lineage:
    """The lineage database, through one SQLAlchemy engine."""

    def __init__(self, engine: sa.Engine) -> None:
        self._compose(Database(engine))

    def of_cluster(self, fsid: str) -> Self:
        """Return the same, but that it finds the work of one cluster only.

        What a worker does of itself is for the cluster that it is connected
        to: the rows of another are not missing from it.
        """
        restricted = type(self).__new__(type(self))
        restricted._compose(self.database.of_cluster(fsid))
        return restricted

    def _compose(self, database: Database) -> None:
        self.database = database
        self.clones = Clones(database)
        self.reservations = Reservations(database)
        self.leases = Leases(database)
        self.changes = Changes(database)
        self.snapshots = Snapshots(database)
        self.blank_disks = BlankDisks(database)
        self.adoption = Adoption(database)
        self.deletion = Deletion(database)
        self.deletions = Deletions(database)
        self.deferred_deletions = DeferredDeletions(database)
        self.pending = Pending(database)
        self.absences = Absences(database)
        self.warrants = Warrants(database)
        self.parents = Parents(database)
        self.parent_release = ParentRelease(database)
        self.flattens = Flattens(database)
        self.image_imports = ImageImports(database)
        self.import_runs = ImportRuns(database)
        self.base_images = BaseImages(database)
        self.workers = Workers(database)
        self.duties = Duties(database)
        self.generations = Generations(database)
        self.pools = Pools(database)

# SPDX-License-Identifier: Apache-2.0
"""Who was cloned from whom, and what was promised.

One public method is one transaction; none is open while Ceph, Glance or
RabbitMQ works. Each group of queries is a class in a module of its own; here
they are put together.
"""

from rbdcloner.db.clones.adoption import Adoption
from rbdcloner.db.clones.blank_disks import Imports
from rbdcloner.db.clones.changes import Changes
from rbdcloner.db.clones.deletion import Removals
from rbdcloner.db.clones.deletion_log import Deletions
from rbdcloner.db.clones.pending import Waiting
from rbdcloner.db.clones.queries import Search
from rbdcloner.db.clones.reservations import Reservations
from rbdcloner.db.clones.snapshots import Snapshots
from rbdcloner.db.cluster.duties import Duties
from rbdcloner.db.cluster.generations import Generations
from rbdcloner.db.cluster.safety import Safety
from rbdcloner.db.cluster.workers import Workers
from rbdcloner.db.parents.records import Ancestry
from rbdcloner.db.parents.release import Releasing
from rbdcloner.db.queues.base_images import BaseImages
from rbdcloner.db.queues.flattens import Flattening


class Lineage(
    Reservations,
    Imports,
    Adoption,
    Removals,
    Changes,
    BaseImages,
    Search,
    Waiting,
    Ancestry,
    Releasing,
    Snapshots,
    Flattening,
    Duties,
    Generations,
    Workers,
    Deletions,
    Safety,
):
    """The lineage database, through one SQLAlchemy engine.

    Every method raises :class:`rbdcloner.errors.DatabaseUnavailable` when the
    database cannot be reached, within seconds. A deadlock is retried, and a
    connection that was lost before its COMMIT; what came of a COMMIT that was
    lost is unknown, and the caller looks.
    """

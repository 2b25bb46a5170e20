# SPDX-License-Identifier: Apache-2.0
"""Who was cloned from whom, and what was promised.

One public method is one transaction; none is open while Ceph, Glance or
RabbitMQ works. Each group of queries is a class in a module of its own; here
they are put together.
"""

from rbdcloner.db.adoption import Adoption
from rbdcloner.db.ancestry import Ancestry
from rbdcloner.db.base_images import BaseImages
from rbdcloner.db.changes import Changes
from rbdcloner.db.deletions import Deletions
from rbdcloner.db.duty import Duties
from rbdcloner.db.flattening import Flattening
from rbdcloner.db.generations import Generations
from rbdcloner.db.imports import Imports
from rbdcloner.db.releasing import Releasing
from rbdcloner.db.removal import Removals
from rbdcloner.db.reservation import Reservations
from rbdcloner.db.safety import Safety
from rbdcloner.db.search import Search
from rbdcloner.db.snapshots import Snapshots
from rbdcloner.db.waiting import Waiting
from rbdcloner.db.workers import Workers


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

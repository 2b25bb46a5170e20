# SPDX-License-Identifier: Apache-2.0
"""Whether a pool is the one that the rows are about.

Names of pools can be given to others. What is not in another pool was not
removed, so nothing is inferred from such a one.
"""

import threading

from rbdcloner import errors
from rbdcloner.ceph.driver import Driver
from rbdcloner.db.lineage import Lineage


class PoolIdentity:
    """The pools of one cluster, by the ids that they had at first."""

    def __init__(self, ceph: Driver, lineage: Lineage) -> None:
        self._ceph = ceph
        self._lineage = lineage
        self._known: dict[str, int] = {}
        self._lock = threading.Lock()

    def check(self, pool: str) -> None:
        """Return if *pool* is the one that it was; a new one is recorded.

        Costs no request while it is.

        :raises PoolNotFound: there is no such pool now.
        :raises PoolReplaced: its name is another's now.
        """
        found = self._ceph.pool_id(pool)
        with self._lock:
            if self._known.get(pool) == found:
                return
        recorded = self._lineage.pool_id(self._ceph.fsid, pool, found)
        if recorded != found:
            raise errors.PoolReplaced(
                pool=pool, found=found, recorded=recorded
            )
        with self._lock:
            self._known[pool] = found

    def accept(self, pool: str) -> None:
        """Take the pool that has the name now for the one that it was."""
        found = self._ceph.pool_id(pool)
        self._lineage.replace_pool(self._ceph.fsid, pool, found)

# SPDX-License-Identifier: Apache-2.0
"""One connection to a Ceph cluster, shared by the calls that use it."""

import errno
import threading
import time
from typing import Any
from typing import Protocol

import rados

from rbdcloner import errors
from rbdcloner.ceph import keyring

#: A command that costs a mon nothing; a refusal is an answer, too.
_ANYTHING = '{"prefix": "fsid"}'


class Recorder(Protocol):
    """Who is to know the addresses that this process uses."""

    def connected(self, address: str) -> None:
        """Note a new one, before it is used; what this raises is raised."""

    def disconnected(self, address: str) -> None:
        """Forget one that is not used any more; raises nothing."""


class Handle:
    """One connected RADOS handle and its I/O contexts, never changed."""

    def __init__(
        self, cluster: Any, key: str, recorder: Recorder | None
    ) -> None:
        """Share *cluster*; *key* tells that which it was opened with."""
        self.fsid: str = cluster.get_fsid()
        #: As others see it among the watchers of an image.
        self.address: str = cluster.get_addrs()
        self.default_order = int(cluster.conf_get('rbd_default_order'))
        self.default_data_pool: str = (
            cluster.conf_get('rbd_default_data_pool') or ''
        )
        self._cluster = cluster
        self._key = key
        self._recorder = recorder
        self._ioctxs: dict[tuple[int, str], Any] = {}
        self._pool_ids: dict[str, int] = {}
        self._users = 1
        self._lock = threading.Lock()
        if recorder:
            recorder.connected(self.address)
        #: Whoever takes a row over from then on finds the address.
        self.connected_at = time.monotonic()

    def ioctx(self, pool: str, namespace: str = '') -> Any:
        """Return the I/O context of a pool and namespace, for any thread.

        A full pool refuses what would grow it at once instead of holding
        it until the timeout, and lets the rest through.
        """
        pool_id = self._pool_id(pool)
        with self._lock:
            ioctx = self._ioctxs.get((pool_id, namespace))
            if ioctx is None:
                ioctx = self._cluster.open_ioctx2(pool_id)
                ioctx.set_namespace(namespace)
                ioctx.set_osdmap_full_try()
                self._ioctxs[pool_id, namespace] = ioctx
            return ioctx

    def pool_name(self, pool_id: int) -> str:
        """Return the name of a pool; its id where there is none by now."""
        return str(self._cluster.pool_reverse_lookup(pool_id) or pool_id)

    def _pool_id(self, pool: str) -> int:
        """Return the id that a pool has by now.

        By id, because a pool may be destroyed and made again by its name. A
        pool that keeps its name costs a look into librados' own map.

        :raises PoolNotFound: a mon knows none of that name
        """
        known = self._pool_ids.get(pool)
        name_of = self._cluster.pool_reverse_lookup
        if known is not None and name_of(known) == pool:
            return known
        if pool not in self._cluster.list_pools():
            self._hear()
        pool_id: int | None = self._cluster.pool_lookup(pool)
        if pool_id is None:
            raise errors.PoolNotFound(pool=pool)
        self._pool_ids[pool] = pool_id
        return pool_id

    def shut_out(self, address: str, duration_s: int) -> None:
        """Have the cluster refuse what comes from *address*, for so long."""
        self._cluster.blocklist_add(address, duration_s)

    def follow(self) -> None:
        """Wait for the newest map, which says what is blocklisted.

        Whatever OSD is asked after that knows it first.
        """
        self._hear()
        self._cluster.wait_for_latest_osdmap()

    def has_key_of(self, client: str) -> bool:
        """Tell whether it was opened with the key that *client* has now."""
        now = keyring.digest(self._cluster.conf_get, client)
        return now == self._key

    def _hear(self) -> None:
        """Return when a mon answers.

        librados waits for the newest map without a limit: for ever where no
        mon accepts the key any more, which it learns when it connects again.
        """
        code, _, _ = self._cluster.mon_command(_ANYTHING, b'')
        if code == -errno.ETIMEDOUT:
            raise rados.TimedOut('no mon answers', errno=errno.ETIMEDOUT)

    def take(self) -> None:
        """Count one user more."""
        with self._lock:
            self._users += 1

    def give_back(self) -> None:
        """Count one user less; the last one closes the handle."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
        for ioctx in self._ioctxs.values():
            ioctx.close()
        self._cluster.shutdown()
        if self._recorder:
            self._recorder.disconnected(self.address)

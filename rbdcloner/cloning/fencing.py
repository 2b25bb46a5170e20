# SPDX-License-Identifier: Apache-2.0
"""Shutting out of Ceph who held a row past its lease.

A worker that was stopped in the middle of an act in librbd goes on with it
when it wakes, whatever the database says by then. Ceph refuses it if the
addresses of its connections are on the blocklist. So a connection's address
is recorded before it is used; and who takes a row whose lease ran out puts
its holder's addresses there first. A worker that was only slow connects anew.

A lease says nothing of its holder where the database was silent: nobody could
renew one. So nothing is taken over, and nobody is blocklisted, before the
database has answered for as long as a lease lasts.

The row is taken by the statement that finds no address recorded but those
that are shut out: one that comes later is of a connection that found the row
taken before its first act.
"""

from collections.abc import Callable
from collections.abc import Collection
import logging
from typing import Any
from typing import TypeVar

from rbdcloner import errors
from rbdcloner.db.lineage import Lineage

LOG = logging.getLogger(__name__)

#: Makes Ceph refuse what comes from these addresses from now on.
ShutOut = Callable[[Collection[str]], None]

_Row = TypeVar('_Row')


def _nobody(addresses: Collection[str]) -> None:
    pass


class Fence:
    """Records where this worker connects from, and shuts others out."""

    def __init__(
        self,
        lineage: Lineage,
        owner: str,
        lease_s: float,
        shut_out: ShutOut = _nobody,
    ) -> None:
        self._lineage = lineage
        self.owner = owner
        self._lease_s = lease_s
        #: How; set once there is a driver.
        self.shut_out = shut_out

    def connected(self, address: str) -> None:
        """Record an address that this worker is about to use."""
        self._lineage.note_addresses(self.owner, [address])

    def disconnected(self, address: str) -> None:
        """Forget an address that it does not use any more."""
        try:
            self._lineage.forget_addresses(self.owner, [address])
        except errors.Error as exc:
            LOG.info('Address %s stays recorded: %s', address, exc)

    def taking(
        self, take: Callable[..., _Row], *given: Any, **named: Any
    ) -> _Row:
        """Return what *take* takes, its late holder shut out before.

        :raises HolderLate: that one connected again meanwhile, or the
            database was silent, so that it could not renew its lease.
        """
        try:
            return take(*given, **named)
        except errors.HolderLate as exc:
            if not self._lineage.may_take_over(self.owner, self._lease_s):
                raise
            late = exc.kwargs
        LOG.warning(
            'Worker %s is late with %s: shut out of Ceph, it connects anew if '
            'it is alive', late['owner'], late['name'],
        )  # fmt: skip
        self._end(late['owner'], late['addresses'])
        return take(*given, **named, shut_out=late['addresses'])

    def shut_ourselves_out(self) -> None:
        """End what this process has begun in Ceph; it connects anew."""
        LOG.error('Work in Ceph hangs: all connections are begun anew')
        self._end(self.owner, self._lineage.addresses_of(self.owner))

    def _end(self, owner: str, addresses: Collection[str]) -> None:
        try:
            self.shut_out(addresses)
        except errors.CephForbidden as exc:
            LOG.error(
                'What worker %s has begun in Ceph may still happen (%s): give '
                'the key "profile rbd" on the mon', owner, exc,
            )  # fmt: skip
        else:
            if addresses:
                self._lineage.shut_out(owner, addresses)

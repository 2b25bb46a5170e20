# SPDX-License-Identifier: Apache-2.0
"""Whose work a row is: taking it, waiting for its holder, letting it go."""

from collections.abc import Iterator
import contextlib
import dataclasses
import threading

import tenacity

from rbdcloner import errors
from rbdcloner.db.lineage import Lineage
from rbdcloner.model import Clone

#: A row's holder is believed to be alive this long.
LEASE_S = 120.0

_LOOK_AGAIN_S = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    """One process that holds rows: its name, and for how long at once."""

    lineage: Lineage
    owner: str
    lease_s: float = LEASE_S

    def take(self, clone: Clone) -> Clone:
        """Return *clone*'s row held by this process.

        Waits for another holder until that one is done or its lease has run
        out, for little more than a lease.

        :raises DiskBusy: yet another holder took it meanwhile.
        :raises RowMoved: the row got another state in the meantime.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(errors.DiskBusy),
            wait=tenacity.wait_random_exponential(0.02, _LOOK_AGAIN_S),
            stop=tenacity.stop_after_delay(self.lease_s + 2 * _LOOK_AGAIN_S),
            reraise=True,
        )
        return retrying(self.lineage.hold, clone, self.owner, self.lease_s)

    @contextlib.contextmanager
    def renewing(self, clone: Clone) -> Iterator[None]:
        """Keep the lease from running out while something long is done."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(self.lease_s / 3):
                try:
                    self.lineage.renew(clone, self.lease_s)
                except errors.RowMoved:
                    return
                except errors.DatabaseUnavailable:
                    continue

        renewer = threading.Thread(target=renew, name='lease', daemon=True)
        renewer.start()
        try:
            yield
        finally:
            done.set()
            renewer.join()

    @contextlib.contextmanager
    def working_on(self, clone: Clone) -> Iterator[None]:
        """Let the row go, with the reason, when the work on it fails.

        A killed process lets nothing go: its lease runs out.
        """
        try:
            yield
        except Exception as exc:
            self.lineage.let_go(clone, errors.reason_of(exc))
            raise

# SPDX-License-Identifier: Apache-2.0
"""Outages that last: each could lead a service to a wrong conclusion."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import random
import threading

from rbdcloner import errors
from tests.chaos.world import World

#: Some looks of the managers' at Glance.
_LOST_S = (6.0, 12.0)
#: Several leases.
_SILENT_S = 30.0
#: So long as a lease, and some.
_FROZEN_S = (9.0, 12.0)

Disturb = Callable[[World, random.Random, threading.Event], bool]


def _glance_lost(
    world: World, chance: random.Random, stopping: threading.Event
) -> bool:
    """Have the ingress answer 404 in Glance's place."""
    world.ingress.lose_backend()
    stopping.wait(chance.uniform(*_LOST_S))
    world.ingress.find_backend()
    return True


def _database_silent(
    world: World, chance: random.Random, stopping: threading.Event
) -> bool:
    """Have the database fail over: another server has its data, at last."""
    world.database.pause()
    stopping.wait(_SILENT_S)
    if chance.random() < 0.5:
        world.database.kill()
        world.database.start()
    else:
        world.database.resume()
    return True


def _manager_frozen(
    world: World, chance: random.Random, stopping: threading.Event
) -> bool:
    """Stop a virtual machine, and drop its connections to Ceph meanwhile."""
    with world.a_manager(chance) as daemon:
        if not daemon.running:
            return False
        daemon.pause()
        try:
            dropped = _drop_connections(world, daemon.name)
            stopping.wait(chance.uniform(*_FROZEN_S))
        finally:
            if daemon.running:
                daemon.resume()
    return dropped


def _drop_connections(world: World, host: str) -> bool:
    """Have Ceph refuse the workers of *host*; tell whether it does."""
    with contextlib.suppress(errors.DatabaseUnavailable):
        addresses = [
            address
            for worker in world.lineage.workers()
            if worker.host == host
            for address in worker.addresses
        ]
        for address in addresses:
            world.servers.ceph.shut_out(address)
        return bool(addresses)
    return False


SERVERS: dict[str, Disturb] = {
    'glance_lost': _glance_lost,
    'database_silent': _database_silent,
}
MANAGERS: dict[str, Disturb] = {'manager_frozen': _manager_frozen}

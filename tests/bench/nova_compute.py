# SPDX-License-Identifier: Apache-2.0
"""nova-compute itself, which notes how long its acts on disks take it.

Its first argument is the file that it notes them in, as lines of JSON; the
others are nova-compute's. Measured are the methods of whichever driver
nova.conf names, and of that driver's image backend for RBD: with the plug-in
and without they are called from the same lines of Nova's driver, in the same
build, snapshot or deletion, with all that Nova, Glance and the managers cost.
A process that calls the backend alone, as ``nova_disk`` does, would leave out
what nova-compute does meanwhile, and would have to repeat Nova's order of
calls.

Nova's interpreter runs this file, and finds nothing else of this folder:
``nova`` is Nova's.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import json
import sys
import time
from typing import Any


def main() -> None:
    """Run nova-compute until it ends."""
    notes = sys.argv.pop(1)
    # It decides on native or green threads when it is imported: first.
    from nova.cmd import compute
    from nova.virt import driver

    load = driver.load_compute_driver

    @functools.wraps(load)
    def load_measured(*given: Any, **named: Any) -> Any:
        loaded = load(*given, **named)
        own = type(loaded)
        backend = loaded.image_backend.BACKEND['rbd']
        # What they are told apart by: the server, or the new image.
        _measure(own, '_create_and_inject_local_root', 'create', 1, notes)
        _measure(own, '_cleanup_rbd', 'delete', 0, notes)
        _measure(backend, 'direct_snapshot', 'snapshot', 3, notes)
        return loaded

    driver.load_compute_driver = load_measured
    compute.main()


def _measure(kind: type, name: str, act: str, whose: int, notes: str) -> None:
    """Have each call of a method noted, with what argument *whose* is."""
    method: Callable[..., Any] = getattr(kind, name)

    @functools.wraps(method)
    def measured(self: Any, *given: Any) -> Any:
        begun = time.monotonic()
        try:
            return method(self, *given)
        finally:
            note = {
                'act': act,
                'of': getattr(given[whose], 'uuid', given[whose]),
                'begun': begun,
                'ended': time.monotonic(),
            }
            with open(notes, 'a') as file:
                file.write(json.dumps(note) + '\n')

    setattr(kind, name, measured)


if __name__ == '__main__':
    main()

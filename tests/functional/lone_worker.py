# SPDX-License-Identifier: Apache-2.0
"""A worker that is handed its requests by a test, and says where it is.

``python -m tests.functional.lone_worker FILE`` reads requests for disks as
lines of JSON; it writes ``in`` and ``out`` around librbd's clone, and for
each request ``READY`` or the error's name. With ``machine`` it is told of no
time while it is stopped, as in a virtual machine that is paused; it writes
``cloned``, and when it was stopped and is connected anew, ``connected``.
"""

import json
import sys
import threading
import time
from typing import Any

from oslo_config import cfg
import rbd

from rbdcloner import conf as options
from rbdcloner import errors
from rbdcloner.cloning import holding
from rbdcloner.cmd import compose
from rbdcloner.model import DiskRequest

_TICK_S = 0.02
_STOPPED_S = 1.0


class Machine:
    """The clock of a machine that can be paused: it stands still then."""

    def __init__(self) -> None:
        self._real = time.monotonic
        self._at = self._seen = self._real()
        self.paused = threading.Event()
        threading.Thread(target=self._tick, daemon=True).start()

    def monotonic(self) -> float:
        return self._at

    def _tick(self) -> None:
        while True:
            time.sleep(_TICK_S)
            now = self._real()
            passed_s, self._seen = now - self._seen, now
            if passed_s > _STOPPED_S:
                self.paused.set()
            self._at += min(passed_s, _TICK_S)


def _run_in_a_machine() -> Machine:
    machine = Machine()
    time.monotonic = machine.monotonic
    # So does what the thread that renews leases waits for.
    holding.Holder._start_renewing = lambda self: None  # type: ignore[method-assign]
    return machine


def _connect_anew(driver: Any) -> None:
    """Look at the pool as another thread may, until that succeeds."""
    while True:
        try:
            driver.images('vms')
        except errors.ShutOut:
            continue
        return


def main() -> None:
    """Answer until the input ends."""
    conf = cfg.CONF
    options.register(conf)
    options.load(conf, [], [sys.argv[1]])
    clone = rbd.RBD.clone
    machine = _run_in_a_machine() if 'machine' in sys.argv[2:] else None

    class Told(rbd.RBD):  # type: ignore[misc]
        """librbd, which tells when it clones."""

        def clone(self, *given: Any, **named: Any) -> None:
            print('in', flush=True)
            clone(self, *given, **named)
            if machine:
                print('cloned', flush=True)
                machine.paused.wait()
                _connect_anew(driver)
                print('connected', flush=True)
            print('out', flush=True)

    rbd.RBD = Told
    owner = compose.owner()
    driver, rooms = compose.service(conf, compose.lineage(conf), owner)
    print(owner, flush=True)
    for line in sys.stdin:
        request = DiskRequest(**json.loads(line))
        try:
            made = rooms.manager.engine.create_disk(request)
        except errors.Error as exc:
            print(exc.name, flush=True)
        else:
            print(made.state.name, flush=True)
    driver.close()


if __name__ == '__main__':
    main()

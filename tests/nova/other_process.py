# SPDX-License-Identifier: Apache-2.0
"""Another process of nova-compute's: what it does is its first argument."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import sys
import threading
import time
from typing import Any
import uuid

from rbdcloner.nova import imagebackend
from rbdcloner.nova import writing
from tests.functional.service import MIB
from tests.nova import compute
from tests.nova import is_green


def die(told: dict[str, Any]) -> None:
    """Be killed while a file is written into a disk."""
    instance = compute.Instance(told['instance'])
    written = []

    def finish(completion: Any) -> None:
        completion.wait_for_complete_and_cb()
        written.append(completion)
        if len(written) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    # That is what the process dies in.
    writing._finish = finish
    imagebackend.Rbd(instance, 'disk.config').import_file(
        instance, told['path'], 'disk.config'
    )


def boot(told: dict[str, Any]) -> None:
    """Make disks and remove them, with threads of Nova's kind.

    Prints how often another of these threads ran while a disk was written,
    at the least.
    """
    ticks: list[float] = []
    spans: list[tuple[float, float]] = []
    done = threading.Event()
    write = writing._write

    def timed(*given: Any) -> None:
        begun = time.monotonic()
        write(*given)
        spans.append((begun, time.monotonic()))

    # From outside nobody sees when it begins and ends.
    writing._write = timed

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.001)

    ticker = threading.Thread(target=tick)
    ticker.start()
    names = [threading.Thread(target=_use, args=(told,)) for _ in range(4)]
    for each in names:
        each.start()
    for each in names:
        each.join()
    done.set()
    ticker.join()
    seen = [sum(a < tick < b for tick in ticks) for a, b in spans]
    print(
        json.dumps(
            {
                'used': _used,
                'ticks': min(seen),
                'green': is_green(),
            }
        )
    )


_used: list[int] = []


def _use(told: dict[str, Any]) -> None:
    instance = compute.Instance(str(uuid.uuid4()))
    disk = imagebackend.Rbd(instance, 'disk')
    disk.direct_fetch(None, told['image_id'], 8 * MIB)
    swap = imagebackend.Rbd(instance, 'disk.swap')
    swap.import_file(instance, told['path'], 'disk.swap')
    disk.resize_image(16 * MIB)
    disk.get_model(None)
    _used.append(disk.get_disk_size(None) + swap.get_disk_size(None))
    compute.delete_disks(instance)


if __name__ == '__main__':
    given = json.loads(sys.argv[2])
    compute.configure(given['settings'])
    pathlib.Path(compute.CONF.instances_path).mkdir(exist_ok=True)
    {'die': die, 'boot': boot}[sys.argv[1]](given)

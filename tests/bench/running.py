# SPDX-License-Identifier: Apache-2.0
"""A benchmark from its beginning to its end, whichever end it is."""

from __future__ import annotations

from collections.abc import Sequence
import logging
import pathlib
import secrets
import time
from typing import Any

import psutil

from tests import stack
from tests.bench import child
from tests.bench import figures
from tests.bench import rounds
from tests.bench import screen
from tests.bench import testbed
from tests.bench.command_line import CommandLine
from tests.bench.command_line import Import
from tests.bench.librbd import Librbd
from tests.bench.nova import Nova
from tests.bench.service import FreshImages
from tests.bench.service import Service
from tests.demo import interrupt
from tests.demo import scratch

# Two and four processes were tried: create_disk's rates differed by less than
# they do from run to run, so the callers' Python is not what is measured.
CALLER_PROCESSES = 1
_IDLE_S = 2


def run(wishes: testbed.Wishes, wanted: Sequence[figures.Figure]) -> int:
    """Measure everything, end everything; the exit code."""
    interrupts = interrupt.Interrupts()
    # Not TMPDIR: unix sockets have short paths.
    name = f'/tmp/rbdcloner-bench-{secrets.token_hex(4)}'
    folder = scratch.Scratch(pathlib.Path(name))
    code = 1
    try:
        try:
            folder.make()
            logging.basicConfig(filename=folder.path / 'bench.log', force=True)
            screen.show(_measure(folder.path, wishes, wanted))
            interrupts.check()
            code = 0
        finally:
            interrupts.end()
    except interrupt.Interrupted as exc:
        code = 128 + int(exc.args[0])
        screen.say('Interrupted.')
    except (stack.StackError, child.ChildError) as exc:
        screen.say(f'The benchmark failed: {exc}')
    finally:
        folder.end()
    return code


def _measure(
    folder: pathlib.Path,
    wishes: testbed.Wishes,
    wanted: Sequence[figures.Figure],
) -> list[dict[str, Any]]:
    begun = time.monotonic()
    plan = rounds.QUICK if wishes.quick else rounds.FULL
    phases = plan.phases(wanted)
    needed = {lane.contestant for phase in phases for lane in phase}
    databases = ('sqlite', *({'mariadb'} & needed))
    with testbed.Testbed(folder, wishes, screen.say) as bed:
        bed.start(databases)
        remover = Librbd(bed, 'client.admin')
        bed.callback(remover.close)
        contestants = {
            name: _contestant(name, bed, remover, plan) for name in needed
        }
        measured = rounds.Rounds(contestants, screen.say)
        for phase in phases:
            measured.run(phase)
        _require_empty(remover)
        memory = _memory(bed) if needed & {'sqlite'} else {}
        screen.say(f'{time.monotonic() - begun:.0f} s in all')
        return figures.rows(wanted, measured.results, memory)


def _contestant(
    name: str, bed: testbed.Testbed, remover: Librbd, plan: rounds.Plan
) -> Any:
    match name:
        case 'librbd':
            librbd = Librbd(bed)
            bed.callback(librbd.close)
            return librbd
        case 'rbd':
            return CommandLine(bed, remover)
        case 'import':
            return Import(bed, remover)
        case 'nova':
            return Nova(bed, remover)
        case 'fresh':
            return FreshImages(bed, 'sqlite', plan.fresh)
    return Service(bed, name, CALLER_PROCESSES)


def _require_empty(librbd: Librbd) -> None:
    """Make sure that whatever was made was removed."""
    if left := librbd.left():
        raise stack.StackError(f'disks were left: {left}')


def _memory(bed: testbed.Testbed) -> dict[str, float]:
    """Return the larger worker's memory when it has nothing to do, in MiB."""
    time.sleep(_IDLE_S)
    seen = [
        psutil.Process(pid).memory_full_info()
        for pid in bed.worker_pids('sqlite')
    ]
    return {
        kind: max(getattr(one, kind) for one in seen) / testbed.MiB
        for kind in ('uss', 'rss')
    }

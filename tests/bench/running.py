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
from tests.bench import cloud
from tests.bench import compute_figures
from tests.bench import compute_hosts
from tests.bench import field
from tests.bench import figures
from tests.bench import rounds
from tests.bench import scale
from tests.bench import screen
from tests.bench import testbed
from tests.bench.librbd import Librbd
from tests.demo import interrupt
from tests.demo import scratch

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
    results: dict[tuple[figures.Contestant, int, str], Any] = {}
    memory: dict[str, float] = {}
    novas = [one for one in wanted if one.task == compute_figures.TASK]
    others = [one for one in wanted if one not in novas]
    if others:
        memory = _measure_service(folder, wishes, others, results)
    if novas:
        _measure_hosts(folder, wishes, novas, results)
    screen.say(f'{time.monotonic() - begun:.0f} s in all')
    return figures.rows(wanted, results, memory)


def _measure_service(
    folder: pathlib.Path,
    wishes: testbed.Wishes,
    wanted: Sequence[figures.Figure],
    results: dict[tuple[figures.Contestant, int, str], Any],
) -> dict[str, float]:
    """Add what was measured to the results; return the memory in use."""
    plan = _plan(wishes)
    phases = plan.phases(wanted)
    with testbed.Testbed(folder, wishes, screen.say) as bed:
        bed.start(_databases(wanted))
        admin = Librbd(bed, 'client.admin')
        bed.callback(admin.close)
        contestants = field.Field(bed, admin, plan, screen.say)
        measured = rounds.Rounds(screen.say)
        memory: dict[str, float] = {}
        for phase in phases:
            in_turns = contestants.contestants(
                lane.contestant for lane in phase
            )
            if phase[0].contestant.task != 'create' and not memory:
                memory = _memory(bed)
            measured.run(phase, in_turns)
        contestants.finish()
        _require_empty(admin)
        results.update(measured.results)
        return (memory or _memory(bed)) | contestants.memory()


def _measure_hosts(
    folder: pathlib.Path,
    wishes: testbed.Wishes,
    wanted: Sequence[figures.Figure],
    results: dict[tuple[figures.Contestant, int, str], Any],
) -> None:
    """Add what nova-compute took on two hosts to the results."""
    with cloud.Cloud(folder, wishes, screen.say) as bed:
        bed.start()
        admin = Librbd(bed, 'client.admin')
        bed.callback(admin.close)
        for phase in _plan(wishes).phases(wanted):
            in_turns = {
                lane.contestant: compute_hosts.contestant(
                    bed, admin, lane.contestant
                )
                for lane in phase
            }
            # Servers are slow: the limit is for each phase.
            measured = rounds.Rounds(screen.say)
            measured.run(phase, in_turns)
            results.update(measured.results)
        _require_empty(admin)


def _plan(wishes: testbed.Wishes) -> rounds.Plan:
    return rounds.QUICK if wishes.quick else rounds.FULL


def _databases(wanted: Sequence[figures.Figure]) -> tuple[str, ...]:
    """Return those that managers, or the lineage alone, are measured on."""
    needed = {figure.who for figure in wanted}
    if any(figure.task == 'faults' for figure in wanted):
        needed.add('mariadb')
    return ('sqlite', *({'mariadb'} & needed))


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
        kind: max(getattr(one, kind) for one in seen) / scale.MiB
        for kind in ('uss', 'rss')
    }

# SPDX-License-Identifier: Apache-2.0
"""A run from its beginning to its end, whichever end it is."""

from __future__ import annotations

import logging
import pathlib
import secrets
import traceback

from tests.chaos import report
from tests.chaos.plan import Plan
from tests.chaos.story import Story
from tests.chaos.world import World
from tests.demo import interrupt
from tests.demo import scratch
from tests.stack import process


def run(plan: Plan) -> int:
    """Disturb, look, end everything; the exit code."""
    interrupts = interrupt.Interrupts()
    # Not TMPDIR: unix sockets have short paths.
    name = f'/tmp/rbdcloner-chaos-{secrets.token_hex(4)}'
    folder = scratch.Scratch(pathlib.Path(name))
    code = 1
    try:
        try:
            folder.make()
            # PostgreSQL's user must be able to pass through.
            folder.path.chmod(0o711)
            logging.basicConfig(filename=folder.path / 'chaos.log', force=True)
            code = _attempt(folder, plan, interrupts)
            interrupts.check()
        finally:
            interrupts.end()
    except interrupt.Interrupted as exc:
        code = 128 + int(exc.args[0])
        report.say('Interrupted.')
        folder.end()
    except Exception:
        report.say(f'The run failed: {traceback.format_exc()}')
        _leave(folder)
    return code


def _attempt(
    folder: scratch.Scratch, plan: Plan, interrupts: interrupt.Interrupts
) -> int:
    with World(folder.path, plan, report.say) as world:
        try:
            told = Story(plan, world, interrupts.check).tell()
        except Exception:
            world.leave()
            raise
        for line in told.incidents:
            report.say(f'\nAN ERROR OF THE RUN ITSELF: {line}')
        for finding in [*told.surprises, *told.findings]:
            finding.show(world.logs)
        if plan.keep:
            world.leave()
            world.servers.detach()
            report.say(
                f'{folder.path} is left running; '
                f'"python -m tests.stack down {folder.stack}" ends it'
            )
        elif not told.is_clean:
            world.leave()
            _leave(folder)
    if told.is_clean and not plan.keep:
        folder.end()
    return report.conclude(told.figures) or (0 if told.is_clean else 1)


def _leave(folder: scratch.Scratch) -> None:
    """End all that runs, and leave what it wrote."""
    process.kill_all(folder.processes())
    report.say(f'The logs are in {folder.stack / "log"}')

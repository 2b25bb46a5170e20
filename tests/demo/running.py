# SPDX-License-Identifier: Apache-2.0
"""A demonstration from its beginning to its end, whichever end it is."""

from __future__ import annotations

from collections.abc import Sequence
import logging
import time

from rbdcloner import errors
from tests import stack
from tests.demo import interrupt
from tests.demo import scratch
from tests.demo import screen
from tests.demo import story
from tests.stack import process

_TAIL_LINES = 8


def run(wishes: story.Wishes, keep: bool) -> int:
    """Show everything, end everything; the exit code."""
    begun = time.monotonic()
    interrupts = interrupt.Interrupts()
    seen = screen.Screen(interrupts.check)
    folder = scratch.Scratch.choose()
    code = 1
    try:
        try:
            code = _attempt(folder, wishes, seen, interrupts, keep)
        finally:
            interrupts.end()
    except interrupt.Interrupted as exc:
        code = 128 + int(exc.args[0])
        seen.last_words('Interrupted.')
    finally:
        if code or not keep:
            code = _end(folder, seen) or code
    if not code:
        seconds = time.monotonic() - begun
        seen.last_words(f'Everything was as printed. {seconds:.0f} s in all.')
    return code


def _attempt(
    folder: scratch.Scratch,
    wishes: story.Wishes,
    seen: screen.Screen,
    interrupts: interrupt.Interrupts,
    keep: bool,
) -> int:
    told = story.Story(folder, wishes, seen)
    try:
        told.check()
        folder.make()
        logging.basicConfig(filename=folder.path / 'demo.log', force=True)
        told.tell()
        if keep:
            told.explain()
        return 0
    except BrokenPipeError:  # nobody reads any more
        return 1
    except (stack.StackError, errors.ConfigurationError) as exc:
        failure = str(exc)
    except Exception as exc:
        failure = f'{type(exc).__name__}: {exc}'
    # Tidying up may fail of what an interrupt left half-way.
    interrupts.check()
    tails = _log_tails(folder)
    seen.last_words(f'\nThe demonstration failed: {failure}\n{tails}'.rstrip())
    return 1


def _log_tails(folder: scratch.Scratch) -> str:
    logs = folder.stack / 'log'
    wanted = (
        logs / 'glance-api.log',
        logs / 'manager.out',
        folder.path / 'demo.log',
    )
    there = [one for one in wanted if one.exists() and one.stat().st_size]
    return '\n'.join(process.tail(one, _TAIL_LINES) for one in there)


def _end(folder: scratch.Scratch, seen: screen.Screen) -> int:
    """End what was started; 1 when that is not sure."""
    if not folder.path.exists():
        return 0
    try:
        with seen.step('End what was started and remove its folder'):
            folder.end()
    except BrokenPipeError:
        folder.end()
    left = folder.processes()
    if left or folder.path.exists():
        seen.last_words(f'Still there: {folder.path}, {left}')
        return 1
    return 0


def down(wanted: Sequence[str]) -> int:
    """End demonstrations that were left running, all or by folder."""
    seen = screen.Screen()
    found = {str(one.path): one for one in scratch.present()}
    code = 0
    for path in wanted or found:
        if path not in found:
            seen.say(f'{path}: no demonstration')
            code = 1
        elif not found[path].take():
            seen.say(f'{path}: still in use, left alone')
        else:
            seen.say(path)
            code = _end(found[path], seen) or code
    if not wanted and not found:
        seen.say('No demonstration was left running.')
    return code

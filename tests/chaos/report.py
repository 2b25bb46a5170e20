# SPDX-License-Identifier: Apache-2.0
"""What was found in the end, with all that a reader needs to see why."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import json
import pathlib
import sys
from typing import Any

from tests.chaos.ledger import Thing

KINDS = ('lost', 'doubled', 'leaked', 'stuck', 'unreadable')
_LINES = 40


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that is not as it should be; ``names`` lead to log lines."""

    kind: str
    why: str
    rows: Sequence[object] = ()
    thing: Thing | None = None
    names: Sequence[str] = ()

    def show(self, logs: pathlib.Path) -> None:
        """Print it, with what everybody said of it."""
        say(f'\n{self.kind.upper() or "SURPRISE"}: {self.why}')
        for row in self.rows:
            say(f'  row    {row}')
        if self.thing is not None:
            say(f'  ledger {self.thing.name}: {self.thing.known}')
            for line in self.thing.history[-_LINES:]:
                say(f'         {line}')
        wanted = [*self.names, *([self.thing.name] if self.thing else [])]
        for line in _lines(logs, wanted)[-_LINES:]:
            say(f'  log    {line}')


def say(text: str) -> None:
    """Print a line for people."""
    print(text, file=sys.stderr, flush=True)


def result(
    operations: int,
    imports: int,
    faults: dict[str, int],
    findings: Sequence[Finding],
    quiet_s: float,
) -> dict[str, Any]:
    """Return what the last line says."""
    counts = {
        kind: sum(one.kind == kind for one in findings) for kind in KINDS
    }
    return {
        'operations': operations,
        'imports': imports,
        'faults': faults,
        **counts,
        'quiet_s': round(quiet_s, 1),
    }


def conclude(figures: dict[str, Any]) -> int:
    """Print the last line; the exit code."""
    print(json.dumps(figures), flush=True)
    return 1 if any(figures[kind] for kind in KINDS) else 0


def _lines(logs: pathlib.Path, names: Sequence[str]) -> list[str]:
    """Return what the managers logged about these, in time's order."""
    found = []
    for log in logs.glob('manager-*.out'):
        with log.open(errors='replace') as opened:
            found += [
                f'{log.stem} {line.rstrip()}'
                for line in opened
                if any(name in line for name in names)
            ]
    return sorted(found, key=lambda line: line.partition(' ')[2])

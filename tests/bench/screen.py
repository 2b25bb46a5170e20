# SPDX-License-Identifier: Apache-2.0
"""What a benchmark prints: JSON lines for programs, a table for people."""

from __future__ import annotations

from collections.abc import Iterable
import json
import sys
from typing import Any


def say(text: str) -> None:
    """Print a line for people."""
    print(text, file=sys.stderr, flush=True)


def show(rows: Iterable[dict[str, Any]]) -> None:
    """Print the figures, for programs and for people."""
    table = []
    for row in rows:
        print(json.dumps(row), flush=True)
        compared = reach = ''
        if 'against' in row:
            compared = f'{row["ratio"]:7.2f} x {row["against"]}'
        if 'reach' in row:
            verdict = 'reached' if row['reached'] else 'NOT REACHED'
            reach = f'  ({", ".join(row["reach"])}: {verdict})'
        table.append(
            f'{row["figure"]:37}{row["value"]:9.1f} {row["unit"]:8}'
            f'n={row["n"]:<5}{compared}{reach}'
        )
    say('\n'.join(['', *table]))

# SPDX-License-Identifier: Apache-2.0
"""The command blocks of a document, each with the host that it is for."""

from __future__ import annotations

import dataclasses
import pathlib
import re

from docutils import core
from docutils import nodes

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / 'doc' / 'source' / 'install'


@dataclasses.dataclass(frozen=True)
class Block:
    """Commands, as a reader copies them."""

    host: str
    """The ``:class:`` of the block."""
    commands: str


def blocks(name: str) -> list[Block]:
    """Return the labelled blocks of a document, in order."""
    tree = core.publish_doctree(
        (FOLDER / name).read_text(),
        settings_overrides={'halt_level': 2, 'syntax_highlight': 'none'},
    )
    return [
        Block(host, f'{node.astext()}\n')
        for node in tree.findall(nodes.literal_block)
        for host in node['classes']
        if host not in ('code', 'sh')
    ]


def with_values(commands: str, values: dict[str, object]) -> str:
    """Return the block of values with those of the test in their lines.

    :raises AssertionError: a value has no line, or more than one
    """
    for name, value in values.items():
        commands, count = re.subn(
            f'(?m)^{name}=.*$', f'{name}={value}', commands
        )
        assert count == 1, f'{count} lines set {name}'
    return commands

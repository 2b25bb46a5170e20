# SPDX-License-Identifier: Apache-2.0
"""The lineage as rbdcloner-manage shows it, beside what it must show."""

from __future__ import annotations

from collections.abc import Sequence
import textwrap

from tests.demo import claim
from tests.demo import commands
from tests.demo import screen

_COLUMNS = 80
_SHOWN = ('ID', 'Disk', 'State', 'Size', 'Instance', 'Created')


def show(
    seen: screen.Screen,
    manage: commands.Manage,
    image_id: str,
    living: Sequence[str],
    gone: Sequence[str],
) -> None:
    """Print the disks of a Glance image as a table and as a tree.

    :raises StackError: they do not show what they should
    """
    columns = [word for name in _SHOWN for word in ('-c', name)]
    image = ('--image', image_id)
    with seen.step('rbdcloner-manage lineage list --all'):
        table = manage.lineage('list', '--all', *image, *columns)
    _print(seen, table)
    disks = {*living, *gone}
    rows = [line for line in table.splitlines() if line.startswith('| ')][1:]
    is_whole = len(rows) == len(disks) and all(map(table.count, disks))
    claim.require(is_whole, f'the table has {disks} and no other')
    with seen.step('rbdcloner-manage lineage tree'):
        tree = manage.lineage('tree', *image)
    _print(seen, tree)
    is_whole = all(map(tree.count, (image_id, *living)))
    claim.require(is_whole, f'the tree has {living}')
    claim.require(not any(map(tree.count, gone)), f'the tree has no {gone}')


def _print(seen: screen.Screen, text: str) -> None:
    for line in text.splitlines():
        is_wide = len(line) > _COLUMNS
        folded = textwrap.wrap(line, _COLUMNS, subsequent_indent='    ')
        seen.say('\n'.join(folded) if is_wide else line)

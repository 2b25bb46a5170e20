# SPDX-License-Identifier: Apache-2.0
"""Which suites there are, and how many run beside each other."""

from __future__ import annotations

from collections.abc import Collection
import dataclasses
import pathlib
import re

_LISTS = pathlib.Path(__file__).parents[1] / 'openstack' / 'releases'


@dataclasses.dataclass(frozen=True)
class Suite:
    """Tests of one folder on one interpreter."""

    folder: str
    word: str = ''
    """What names it on the command line, if not its folder."""
    marker: str = ''
    """Of its tests only those that pytest's expression of markers names."""
    is_part: bool = False
    """Whether its tests are another suite's, so that all goes without it."""
    needs_stack: bool = False
    needs_openstack: bool = False
    python: str = 'PYTHON'
    """The environment variable that names the interpreter."""
    label: str = ''
    processes: int = 0
    """How many share the tests, where these need nothing but a processor."""

    @property
    def asked_as(self) -> str:
        return self.word or self.folder

    @property
    def name(self) -> str:
        return f'{self.folder} {self.label}'.strip()


_OLDEST = {'python': 'PYTHON_OLDEST', 'label': '(oldest)'}


def nova(number: int) -> Suite:
    """Return the plug-in's tests on that release of Nova."""
    return Suite(
        'nova',
        needs_stack=True,
        python=f'PYTHON_NOVA{number}',
        label=f'({number})',
    )


def known_novas() -> list[int]:
    """Return the releases of Nova that there are lists of packages for."""
    lists = '\n'.join(each.read_text() for each in _LISTS.glob('*.txt'))
    return sorted(map(int, re.findall(r'^nova==(\d+)', lists, re.MULTILINE)))


#: So many run beside each other: each waits for half of its time, or more.
LANES = 3

#: In the order in which they begin: what tells soon, then what takes long.
SUITES = (
    Suite('static'),
    Suite('platforms'),
    Suite('faults', needs_stack=True),
    Suite('endtoend', needs_openstack=True, python='PYTHON_OPENSTACK'),
    Suite('install', marker='not compute'),
    Suite('functional', needs_stack=True),
    Suite('unit', processes=2),
    Suite('packaging'),
    Suite('acceptance'),
    Suite('bases', needs_stack=True),
    Suite('unit', processes=2, **_OLDEST),
    nova(31),
    nova(34),
    Suite('ceph', needs_stack=True),
    Suite('migrations', needs_stack=True),
    Suite('migrations', needs_stack=True, **_OLDEST),
    Suite(
        'install',
        word='compute',
        label='(compute)',
        marker='compute',
        is_part=True,
    ),
    Suite(
        'functional',
        word='smoke',
        label='(smoke)',
        marker='smoke',
        is_part=True,
        needs_stack=True,
    ),
)


def choose(
    names: Collection[str], nova_number: int | None = None
) -> list[Suite]:
    """Return the suites that are asked for, with Nova of that release alone.

    Without *names*, all.
    """
    chosen = [
        suite
        for suite in SUITES
        if (suite.asked_as in names if names else not suite.is_part)
    ]
    if nova_number is None:
        return chosen
    others = [suite for suite in chosen if suite.folder != 'nova']
    return [*others, nova(nova_number)]

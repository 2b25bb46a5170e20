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
    release: str = ''
    """The release of Debian that it makes a root of, if it must be that one.

    Where that is not the machine's own it runs with the other releases.
    """
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
    Suite(
        'install',
        word='compute',
        label='(compute)',
        marker='compute',
        release='trixie',
    ),
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
        'functional',
        word='smoke',
        label='(smoke)',
        marker='smoke',
        is_part=True,
        needs_stack=True,
    ),
)


def choose(
    names: Collection[str],
    nova_number: int | None = None,
    releases: Collection[str] = (),
) -> list[Suite]:
    """Return the suites of these names, with Nova of that release alone.

    Without *names*, all that need a root of none but these Debian *releases*.
    """
    chosen = [
        suite
        for suite in SUITES
        if (suite.asked_as in names if names else _is_whole(suite, releases))
    ]
    if nova_number is None:
        return chosen
    others = [suite for suite in chosen if suite.folder != 'nova']
    return [*others, nova(nova_number)]


def _is_whole(suite: Suite, releases: Collection[str]) -> bool:
    return not suite.is_part and suite.release in ('', *releases)

# SPDX-License-Identifier: Apache-2.0
"""Which suites there are, and how many run beside each other."""

from __future__ import annotations

import dataclasses


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
_NOVA = 'PYTHON_NOVA'
_NOVA33 = {'python': 'PYTHON_NOVA33', 'label': '(Nova 33)'}

#: So many run beside each other: each waits for half of its time, or more.
LANES = 3

#: In the order in which they begin: what tells soon, then what takes long.
SUITES = (
    Suite('static'),
    Suite('platforms'),
    Suite('faults', needs_stack=True),
    Suite('endtoend', needs_openstack=True, python=_NOVA),
    Suite('install', marker='not compute'),
    Suite('functional', needs_stack=True),
    Suite('unit', processes=2),
    Suite('packaging'),
    Suite('acceptance'),
    Suite('bases', needs_stack=True),
    Suite('unit', processes=2, **_OLDEST),
    Suite('nova', needs_stack=True, python=_NOVA),
    Suite('nova', needs_stack=True, **_NOVA33),
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

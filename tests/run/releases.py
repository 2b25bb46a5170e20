# SPDX-License-Identifier: Apache-2.0
"""What is run on other Debian releases than the machine's own.

Everything runs on the machine's own release. Of Debian 12 and 13 the other
one shows that the service is installed, does its main job and drives its Ceph;
forky does that with the newest Ceph and the newest Python that there are.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import platform
import re

DEMO = ('tools/demo',)
TEST_SMOKE = ('tools/test', 'platforms', 'ceph', 'smoke')
TEST_CEPH = ('tools/test', 'platforms', 'ceph')

_LAST_LINE = re.compile(r'(\d+) passed, (\d+) failed')


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of this checkout on another release."""

    release: str
    words: Sequence[str]

    @property
    def name(self) -> str:
        return f'{self.release}: {" ".join(self.words)}'

    @property
    def line(self) -> list[str]:
        """Return what the command is on this machine."""
        return ['tools/release', self.release, *self.words]


#: What is run on a release that is not the machine's own.
COMMANDS = {
    'bookworm': (DEMO, TEST_SMOKE),
    'trixie': (DEMO, TEST_SMOKE),
    'forky': (DEMO, TEST_CEPH),
}


def own() -> str:
    """Return the code name of the machine's own release."""
    return platform.freedesktop_os_release()['VERSION_CODENAME']


def others(release: str) -> list[list[Command]]:
    """Return the commands for a machine of *release*, by other release."""
    return [
        [Command(other, words) for words in commands]
        for other, commands in COMMANDS.items()
        if other != release
    ]


def count(output: str, exit_code: int) -> tuple[int, int]:
    """Return how much passed and failed of a command.

    A command that counts says so in its last line; any other is one test.
    """
    lines = output.splitlines()
    found = _LAST_LINE.fullmatch(lines[-1]) if lines else None
    passed, failed = map(int, found.groups()) if found else (0, 0)
    if exit_code and not failed:
        return passed, 1
    return (passed, failed) if found else (1, 0)

# SPDX-License-Identifier: Apache-2.0
"""NOVA.md's table of releases, against what the suites run."""

import re

from tests.run import suites
from tests.static.test_checks import ROOT

#: Version, OpenStack release, threads, commands, list of packages.
ROW = re.compile(
    r'^\| (\S+) \| (\S+) \| [^|]+ \| ([^|]+) \| `(\S+)` \|$', re.MULTILINE
)


def test_nova_table_is_what_is_installed_and_run() -> None:
    default = {one.name for one in suites.SUITES if one.folder == 'nova'}
    rows = set()
    for path in ROOT.glob('tests/openstack/releases/*.txt'):
        found = re.search(r'^nova==(\S+)', path.read_text(), re.MULTILINE)
        assert found
        version = found[1]
        number = version.partition('.')[0]
        command = '`tools/test nova`'
        if f'nova ({number})' not in default:
            command = f'`tools/test nova --nova {number}`'
        name = str(path.relative_to(ROOT))
        rows.add((version, path.stem, command, name))
    table = ROW.findall((ROOT / 'NOVA.md').read_text())
    told = {
        (version, release, commands.split(', ')[0], name)
        for version, release, commands, name in table
    }
    assert told == rows

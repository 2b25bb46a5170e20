# SPDX-License-Identifier: Apache-2.0
"""The tables of supported platforms hold on the machine that runs this.

Each release that CI runs anything on runs this suite, so each row is compared
with packages of its own release.
"""

from __future__ import annotations

import pathlib
import platform
import re
import subprocess

from docutils import core
from docutils import nodes
import pytest

from tests.run import releases
from tests.run import suites

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / 'doc' / 'source' / 'reference' / 'platforms.rst'
PACKAGES = {
    'Ceph': 'ceph-common',
    'RabbitMQ': 'rabbitmq-server',
    'MariaDB': 'mariadb-server',
    'PostgreSQL': 'postgresql',
}


def table(title: str) -> list[dict[str, str]]:
    """Return the rows of a section's table, by its columns' heads."""
    page = core.publish_doctree(PAGE.read_text())
    (found,) = (
        one
        for one in page.findall(nodes.table)
        if one.parent.next_node(nodes.title).astext() == title
    )
    head, *rows = (
        [entry.astext() for entry in row.findall(nodes.entry)]
        for row in found.findall(nodes.row)
    )
    return [dict(zip(head, row, strict=True)) for row in rows]


def code_name(row: dict[str, str]) -> str:
    return row['Debian'].split()[0]


def own_row() -> dict[str, str]:
    (row,) = (
        one for one in table('Versions') if code_name(one) == releases.own()
    )
    return row


def upstream_version(package: str) -> str:
    """Return the version of an installed package, without Debian's parts."""
    version = subprocess.run(
        ['dpkg-query', '--show', '--showformat=${Version}', package],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = re.match(r'(?:\d+:)?([\d.]+)', version)
    assert found, version
    return found[1]


def test_python_is_the_documented_one() -> None:
    assert platform.python_version().startswith(own_row()['Python'] + '.')


@pytest.mark.parametrize('column', PACKAGES)
def test_server_is_the_documented_one(column: str) -> None:
    installed = upstream_version(PACKAGES[column])
    documented = own_row()[column]
    assert f'{installed}.'.startswith(f'{documented}.')


def test_every_release_has_a_row_of_versions() -> None:
    rows = [code_name(row) for row in table('Versions')]
    assert set(rows) == set(releases.COMMANDS)


def test_documented_commands_are_those_that_are_run() -> None:
    column = 'On a machine of another release'
    documented = [(code_name(row), row[column]) for row in table('Commands')]
    run = [
        (command.release, ' '.join(command.line))
        for commands in releases.others('')
        for command in commands
    ]
    assert documented == run


@pytest.mark.parametrize('row', table('Libraries'), ids=lambda row: row['Set'])
def test_set_of_libraries_has_the_documented_versions(
    row: dict[str, str],
) -> None:
    versions = dict(
        line.split('==')
        for line in (ROOT / row['Set']).read_text().splitlines()
        if '==' in line
    )
    for name in ('oslo.messaging', 'oslo.service', 'SQLAlchemy'):
        assert versions[name] == row[name]


def test_every_supported_nova_has_a_row() -> None:
    in_each_run = {one.name for one in suites.SUITES if one.folder == 'nova'}
    documented = [
        (row['Nova'], row['In each run'], row['Shown by'].split('; ')[0])
        for row in table('Nova')
    ]
    assert documented == [
        (
            str(number),
            'yes' if suites.nova(number).name in in_each_run else 'no',
            f'tools/test nova --nova {number}',
        )
        for number in suites.known_novas()
    ]


def test_words_of_the_commands_name_suites() -> None:
    known = {suite.asked_as for suite in suites.SUITES}
    for words in (releases.TEST_SMOKE, releases.TEST_CEPH):
        assert set(words[1:]) <= known

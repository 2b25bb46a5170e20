# SPDX-License-Identifier: Apache-2.0
"""The servers, the wheel, and the manager's host as manager.rst leaves it."""

from __future__ import annotations

from collections.abc import Iterator
import pathlib
import subprocess

import pytest

from tests import stack
from tests.install import document
from tests.install import installation
from tests.install import servers as hosts
from tests.install import shell


@pytest.fixture(scope='session')
def servers() -> Iterator[stack.Stack]:
    """Servers of our own: the documents make their users."""
    with stack.Stack(databases=('mariadb', 'postgresql')) as running:
        running.ceph.mon_command('auth rm', entity='client.rbdcloner')
        yield running


@pytest.fixture(scope='session')
def home(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """/root of the servers' hosts."""
    return tmp_path_factory.mktemp('home')


@pytest.fixture(scope='session')
def host(servers: stack.Stack, home: pathlib.Path) -> Iterator[shell.Shell]:
    """A shell of the servers' administrator."""
    opened = hosts.host(servers, home)
    yield opened
    opened.close()


@pytest.fixture(scope='session')
def checkout(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A clone of the repository, with what is not committed yet."""
    folder = tmp_path_factory.mktemp('clone')
    git = ('git', '-C')
    listing = ('ls-files', '-z', '--cached', '--others', '--exclude-standard')
    names = subprocess.run(
        [*git, document.ROOT, *listing], check=True, capture_output=True
    )
    for name in names.stdout.decode().split('\0'):
        source = document.ROOT / name
        if source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)
    me = ('-c', 'user.name=test', '-c', 'user.email=test@example.org')
    for command in (
        ('init', '--quiet'),
        ('add', '--all'),
        (*me, 'commit', '--quiet', '--message=all'),
    ):
        subprocess.run([*git, folder, *command], check=True)
    return folder


@pytest.fixture(scope='session')
def wheel(
    checkout: pathlib.Path, host: shell.Shell, home: pathlib.Path
) -> pathlib.Path:
    """The wheel, as index.rst builds it."""
    (block,) = document.blocks('index.rst')
    host.run(f'cd {checkout}\n{block.commands}cd /root\n')
    (made,) = (checkout / 'dist').glob('*.whl')
    (home / made.name).write_bytes(made.read_bytes())
    return made


@pytest.fixture(scope='session')
def installed(
    servers: stack.Stack,
    host: shell.Shell,
    home: pathlib.Path,
    wheel: pathlib.Path,
) -> Iterator[installation.Installation]:
    """A host on which the commands of manager.rst were carried out."""
    with installation.Installation(servers, host, home, wheel) as made:
        made.install()
        yield made

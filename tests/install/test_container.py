# SPDX-License-Identifier: Apache-2.0
"""The steps of Containerfile, in bare roots of the machine's own release."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import json
import pathlib
import subprocess

import pytest

from tests.install import asking
from tests.install import containerfile
from tests.install import document
from tests.install import installation
from tests.install import root
from tests.install import service

pytestmark = pytest.mark.timeout(1800)  # of which most is apt and pip


@pytest.fixture(scope='module')
def stages() -> list[containerfile.Stage]:
    text = (document.ROOT / 'Containerfile').read_text()
    return containerfile.parse(text, {'DEBIAN': root.own_release()})


@pytest.fixture(scope='module')
def image(
    stages: list[containerfile.Stage], checkout: pathlib.Path
) -> Iterator[root.Root]:
    """The root that the last stage comes to."""
    made: dict[str, root.Root] = {}
    with contextlib.ExitStack() as ends:
        for stage in stages:
            where = ends.enter_context(root.Root(root.own_release()))
            containerfile.Build(where, checkout, made).carry_out(stage)
            made[stage.name] = where
        yield where


def test_both_stages_are_of_the_chosen_release(
    stages: list[containerfile.Stage],
) -> None:
    image = f'docker.io/library/debian:{root.own_release()}-slim'
    assert [one.image for one in stages] == [image, image]


def test_unknown_instruction_is_refused() -> None:
    with pytest.raises(AssertionError, match='unknown: RUNN ls'):
        containerfile.parse('FROM debian\nRUNN ls\n', {})


def test_container_makes_a_disk_as_its_own_user(
    installed: installation.Installation,
    stages: list[containerfile.Stage],
    image: root.Root,
) -> None:
    for folder in ('/etc/ceph', '/etc/rbdcloner'):
        mount(installed.root.path(folder), image.path(folder))
    user, group = stages[-1].last('USER').split(':')
    command = json.loads(stages[-1].last('ENTRYPOINT'))
    with service.Service(
        image, command, user, group, installed.glance
    ) as running:
        asking.make_disk(installed)
        assert running.users == {int(user)} != {0}


def mount(source: pathlib.Path, target: pathlib.Path) -> None:
    """Give the container a folder, with the group that the document says."""
    target.mkdir(exist_ok=True)
    subprocess.run(['cp', '-a', '--', f'{source}/.', target], check=True)
    subprocess.run(['chgrp', '-R', '42480', '--', target], check=True)

# SPDX-License-Identifier: Apache-2.0
"""lineage tree draws who descends from whom."""

import io
import json

import pytest

from rbdcloner.cmd.manage import finding
from rbdcloner.cmd.manage import tree
from rbdcloner.model import CloneFormat
from rbdcloner.states import State
from tests.unit.cmd import conftest


@pytest.fixture
def family(lineage):
    """A parent with two disks, one of them a parent, and one without."""
    parent = conftest.adopt(lineage)
    conftest.make(lineage, parent, 'a_disk', image_id='5678')
    conftest.make(
        lineage, parent, 'b_disk', State.READY, State.DELETING, host=''
    )
    gone = (State.READY, State.DELETING, State.DELETED)
    conftest.make(lineage, parent, 'c_disk', *gone)
    below = conftest.adopt(
        lineage, 'a_disk', '5678', 'vms', glance_image_id='a-snapshot'
    )
    conftest.make(lineage, below, 'd_disk', instance_uuid='another')
    conftest.adopt(lineage, 'lonely', '9', glance_image_id='lonely')
    return lineage


def test_children_stand_below_their_parents(database, family):
    ran = database.run('lineage', 'tree')
    assert (ran.code, ran.err) == (0, '')
    assert ran.out == (
        'images/an-image@snap  (1 GiB, Glance image '
        f'{conftest.GLANCE_IMAGE})\n'
        '├── vms/a_disk  (5 GiB, ready, node1)\n'
        '│   └── vms/a_disk@snap  (1 GiB, Glance image a-snapshot)\n'
        '│       └── vms/d_disk  (5 GiB, ready, node1)\n'
        '└── vms/b_disk  (5 GiB, deleting)\n'
        'images/lonely@snap  (1 GiB)\n'
    )


def test_a_poor_terminal_gets_a_tree_too(database, family):
    lines = list(tree.as_lines(tree.Forest(family).roots(), 'ascii'))
    assert lines[1].startswith('|-- vms/a_disk')
    assert lines[2].startswith('|   `-- vms/a_disk@snap')
    assert ''.join(lines).isascii()


def test_a_poor_terminal_is_noticed(database, family, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), 'iso-8859-1')
    monkeypatch.setattr('sys.stdout', out)
    assert database.run('lineage', 'tree').code == 0
    out.seek(0)
    assert '`-- vms/b_disk' in out.read()


def names(trees):
    """Return the nested names of a JSON tree."""
    return {
        tree.get('name') or tree['image']: names(tree['children'])
        for tree in trees
    }


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (
            [],
            {
                'an-image': {
                    'a_disk': {'a_disk': {'d_disk': {}}},
                    'b_disk': {},
                },
                'lonely': {},
            },
        ),
        (
            ['--all'],
            {
                'an-image': {
                    'a_disk': {'a_disk': {'d_disk': {}}},
                    'b_disk': {},
                    'c_disk': {},
                },
                'lonely': {},
            },
        ),
        (
            ['--state', 'deleted'],
            {'an-image': {'c_disk': {}}, 'a_disk': {}, 'lonely': {}},
        ),
        (['--image', 'lonely'], {'lonely': {}}),
        (['--image', 'a-snapshot'], {'a_disk': {'d_disk': {}}}),
        (['--image', 'unheard-of'], {}),
        (['--instance', 'another'], {'a_disk': {'d_disk': {}}}),
        (
            ['--instance', conftest.INSTANCE],
            {'an-image': {'a_disk': {'a_disk': {}}, 'b_disk': {}}},
        ),
        (['--instance', 'unheard-of'], {}),
    ],
)
@pytest.mark.parametrize('rows_at_once', [1, 500])
def test_filters_choose_trees(
    database, family, arguments, expected, rows_at_once, monkeypatch
):
    monkeypatch.setattr(finding, '_ROWS_AT_ONCE', rows_at_once)
    ran = database.run('lineage', 'tree', '-f', 'json', *arguments)
    assert (ran.code, ran.err) == (0, '')
    assert names(json.loads(ran.out)) == expected


def test_a_released_parent_is_drawn_only_when_all_is(database, lineage):
    parent = conftest.adopt(lineage)
    lineage.released(lineage.releasing(parent))
    assert database.run('lineage', 'tree').out == ''
    assert 'released' in database.run('lineage', 'tree', '--all').out


def test_programs_get_sizes_and_ids(database, family):
    ran = database.run('lineage', 'tree', '-f', 'json')
    root = json.loads(ran.out)[0]
    assert (root['kind'], root['snapshot_id']) == ('parent', 7)
    child = root['children'][0]
    assert (child['kind'], child['size_bytes']) == ('clone', 5 * conftest.GIB)
    assert (child['image_id'], child['clone_kind']) == ('5678', 'disk')


def test_a_retired_image_is_drawn_above_whom_it_waits_for(database, lineage):
    parent = conftest.adopt(lineage)
    disk = conftest.make(lineage, parent, 'a_disk', image_id='5678')
    image = conftest.make_image(lineage, disk, 'backup')
    below = conftest.adopt(
        lineage, 'backup', image.image.id, glance_image_id='backup'
    )
    conftest.make(lineage, below, 'b_disk')
    lineage.move(lineage.move(disk, State.DELETING), State.RETIRED)
    edge = f'rbdcloner-{image.uuid}'
    assert database.run('lineage', 'tree').out == (
        'images/an-image@snap  (1 GiB, Glance image '
        f'{conftest.GLANCE_IMAGE})\n'
        '└── vms/a_disk  (5 GiB, retired, node1)\n'
        f'    └── vms/a_disk@{edge}  (5 GiB, edge)\n'
        '        └── images/backup  (5 GiB, ready, image, node1)\n'
        '            └── images/backup@snap  (1 GiB)\n'
        '                └── vms/b_disk  (5 GiB, ready, node1)\n'
    )


def test_a_retired_glance_image_is_a_root(database, lineage):
    parent = conftest.adopt(lineage)
    conftest.make(lineage, parent, 'a_disk')
    lineage.adopt_image(
        parent.snapshot.image, conftest.GLANCE_IMAGE, conftest.GIB,
        CloneFormat.V2, trashed=True,
    )  # fmt: skip
    lines = database.run('lineage', 'tree').out.splitlines()
    assert lines[0] == 'images/an-image  (1 GiB, retired, adopted)'
    assert lines[1].startswith('└── images/an-image@snap')
    assert lines[2].startswith('    └── vms/a_disk')
    ran = database.run('lineage', 'tree', '-f', 'json')
    (root,) = json.loads(ran.out)
    assert (root['kind'], root['clone_kind']) == ('clone', 'adopted')


def test_a_flattened_child_stands_below_its_parent_only_with_all(
    database, lineage
):
    parent = conftest.adopt(lineage)
    conftest.flatten(lineage, conftest.make(lineage, parent, 'a_disk'))
    below = conftest.adopt(lineage, 'a_disk', 'id-a_disk', 'vms')
    conftest.make(lineage, below, 'b_disk')
    ran = database.run('lineage', 'tree', '-f', 'json')
    assert names(json.loads(ran.out)) == {
        'an-image': {},
        'a_disk': {'a_disk': {'b_disk': {}}},
    }
    ran = database.run('lineage', 'tree', '-f', 'json', '--all')
    assert names(json.loads(ran.out)) == {
        'an-image': {'a_disk': {'a_disk': {'b_disk': {}}}}
    }
    ran = database.run('lineage', 'tree', '--all')
    assert 'vms/a_disk  (5 GiB, ready, flattened, node1)' in ran.out


def test_a_released_snapshot_of_a_disk_is_drawn_only_when_all_is(
    database, lineage
):
    parent = conftest.adopt(lineage)
    disk = conftest.make(lineage, parent, 'a_disk')
    image = conftest.make_image(lineage, disk, 'backup')
    gone = image
    for state in (State.DELETING, State.RETIRED, State.DELETED):
        gone = lineage.move(gone, state)
    lineage.released(lineage.releasing(gone.parent))
    assert 'edge' not in database.run('lineage', 'tree').out
    shown = database.run('lineage', 'tree', '--all').out
    assert 'edge, released' in shown
    assert 'images/backup  (5 GiB, deleted, image, node1)' in shown

# SPDX-License-Identifier: Apache-2.0
"""lineage tree draws who descends from whom."""

import io
import json

import pytest

from rbdcloner.cmd.manage import tree
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
    monkeypatch.setattr(tree, '_ROWS_AT_ONCE', rows_at_once)
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
    assert child['image_id'] == '5678'

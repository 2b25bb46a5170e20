# SPDX-License-Identifier: Apache-2.0
"""Nothing but the gate destroys, and no deletion begins without an order.

mypy proves that no other room has a driver that destroys, as long as none is
given one under the types that can: these are counted here.
"""

import ast
from collections.abc import Iterator
import pathlib

PACKAGE = pathlib.Path(__file__).parents[2] / 'rbdcloner'

GATE = PACKAGE / 'cloning' / 'warrants.py'
_WIRING = PACKAGE / 'cmd' / 'compose.py'
_VERBS = {'trash', 'purge', 'remove_snapshot', 'rollback', 'free_name'}
_TRANSITIONS = {'move', '_moved', 'held_in', 'taken'}


def trees() -> Iterator[tuple[pathlib.Path, ast.AST]]:
    for path in sorted(PACKAGE.rglob('*.py')):
        if PACKAGE / 'ceph' not in path.parents:
            yield path, ast.parse(path.read_text())


def test_destroying_types_are_known_to_the_gate_and_the_wiring_alone() -> None:
    knowing = {
        path
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.alias)
        and node.name in ('Destroyer', 'Cluster', 'LibrbdDriver')
    }
    preflight = PACKAGE / 'cmd' / 'preflight.py'
    assert knowing == {GATE, _WIRING, preflight}


def test_destroying_verbs_are_called_by_the_gate_alone() -> None:
    called = {
        (path, node.func.attr)
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _VERBS
        and 'ceph' in ast.unparse(node.func.value)
    }
    assert called == {(GATE, verb) for verb in _VERBS}


def test_each_transition_to_deleting_has_a_warrant() -> None:
    transitions = [
        (path, node)
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _TRANSITIONS
        and any(ast.unparse(each) == 'State.DELETING' for each in node.args)
    ]
    assert len(transitions) >= 6
    for path, node in transitions:
        assert 'warrant' in {each.arg for each in node.keywords}, (
            f'{path}:{node.lineno}'
        )

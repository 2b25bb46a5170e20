# SPDX-License-Identifier: Apache-2.0
"""Whatever is done in whatever order: thousands of steps, on the double.

``--hypothesis-seed`` makes other steps than the usual ones.
"""

import pytest

from rbdcloner.model import CloneFormat
from tests.unit.cloning import any_order

# Of all rules these say whether a run was worth anything.
_VITAL = (
    'launch',
    'snapshot_into_glance',
    'delete_disk',
    'delete_image',
    'retire_image',
    'rollback',
    'operator_flattens_disk',
    'operator_removes_disk',
    'survey',
    'recover',
    'reap',
    'flatten',
)


@pytest.mark.parametrize('clone_format', list(CloneFormat))
def test_thousands_of_steps_on_the_double(
    clone_format: CloneFormat, pytestconfig: pytest.Config
) -> None:
    counts = any_order.explore(
        any_order.AnyOrder,
        clone_format,
        pytestconfig,
        max_examples=60,
        stateful_step_count=50,
    )
    assert counts['steps'] > 2500
    assert [rule for rule in _VITAL if not counts[rule]] == []

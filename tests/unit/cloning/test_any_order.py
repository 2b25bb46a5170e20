# SPDX-License-Identifier: Apache-2.0
"""Whatever is done in whatever order, every byte stays and nothing is left.

The same with many more steps is in ``tests/faults``.
"""

import pytest

from rbdcloner.model import CloneFormat
from tests.unit.cloning import any_order


@pytest.mark.parametrize('clone_format', list(CloneFormat))
def test_any_order_keeps_every_byte_and_leaves_nothing(
    clone_format, pytestconfig
):
    counts = any_order.explore(
        any_order.AnyOrder,
        clone_format,
        pytestconfig,
        max_examples=8,
        stateful_step_count=50,
    )
    assert counts['steps'] > 300

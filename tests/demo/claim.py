# SPDX-License-Identifier: Apache-2.0
"""What the demonstration says is checked before it is printed."""

from __future__ import annotations

from tests import stack


def require(condition: object, claim: str) -> None:
    """Return if the claim holds.

    :raises StackError: it does not
    """
    if not condition:
        raise stack.StackError(f'this is not true: {claim}')

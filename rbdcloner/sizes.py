# SPDX-License-Identifier: Apache-2.0
"""Numbers of bytes as people read them."""

_UNITS = ('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')


def readable(size_bytes: int) -> str:
    """Return *size_bytes* in the largest unit that fits: ``1.5 GiB``."""
    value, power = float(size_bytes), 0
    while value >= 1024 and power < len(_UNITS) - 1:
        value, power = value / 1024, power + 1
    return f'{value:.2f}'.rstrip('0').rstrip('.') + f' {_UNITS[power]}'


def exact(size_bytes: int) -> str:
    """Return *size_bytes* with its bytes: ``1 KiB (1024 bytes)``."""
    if abs(size_bytes) < 1024:
        return f'{size_bytes} bytes'
    return f'{readable(size_bytes)} ({size_bytes} bytes)'

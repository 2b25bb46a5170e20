# SPDX-License-Identifier: Apache-2.0
"""OpenStack's configuration files, from dictionaries of sections."""

from __future__ import annotations

from collections.abc import Mapping
import pathlib

Options = Mapping[str, Mapping[str, object]]


def merged(*parts: Options) -> dict[str, dict[str, object]]:
    """Return the sections of all parts; the last one wins."""
    whole: dict[str, dict[str, object]] = {}
    for part in parts:
        for section, values in part.items():
            whole.setdefault(section, {}).update(values)
    return whole


def write(path: pathlib.Path, *parts: Options) -> None:
    """Write the parts as a file that only its owner may read."""
    lines = []
    for section, values in merged(*parts).items():
        lines.append(f'[{section}]')
        # oslo.config would put an option's value for $NAME.
        lines += [
            f'{key} = {str(value).replace("$", "$$")}'
            for key, value in values.items()
        ]
    path.touch(mode=0o600)
    path.write_text('\n'.join(lines) + '\n')

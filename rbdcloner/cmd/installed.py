# SPDX-License-Identifier: Apache-2.0
"""What installed packages ask for, and is missing or of the wrong release."""

from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

#: So many missing packages are named.
_NAMED = 4


def problems(package: str, extra: str) -> list[str]:
    """Return what *package* with *extra* lacks, and all that it asks for.

    One text for all packages that are missing, and one for each that is of a
    release which another one does not work with.
    """
    missing: set[str] = set()
    misfits: dict[str, str] = {}
    for asking, requirement in _requirements(package, extra):
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            missing.add(requirement.name)
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            misfits.setdefault(
                canonicalize_name(requirement.name),
                f'{requirement.name} {version} is installed, {asking} needs '
                f'{requirement.specifier}',
            )
    return [*_listed(sorted(missing)), *misfits.values()]


def _listed(missing: list[str]) -> list[str]:
    if not missing:
        return []
    named = ', '.join(missing[:_NAMED])
    if len(missing) > _NAMED:
        named += f' and {len(missing) - _NAMED} more packages'
    return [f'Not installed: {named}']


def _requirements(
    package: str, extra: str
) -> Iterator[tuple[str, Requirement]]:
    """Yield all that is asked for, directly or not, with what asks for it."""
    waiting = [(package, {'', extra})]
    seen: set[tuple[str, str]] = set()
    for name, extras in waiting:
        for requirement in _asked_by(name, extras):
            key = (canonicalize_name(requirement.name), str(requirement))
            if key not in seen:
                seen.add(key)
                waiting.append((key[0], {'', *requirement.extras}))
                yield name, requirement


def _asked_by(package: str, extras: set[str]) -> Iterator[Requirement]:
    try:
        texts = metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return
    for requirement in map(Requirement, texts):
        marker = requirement.marker
        if marker is None or any(
            marker.evaluate({'extra': each}) for each in extras
        ):
            yield requirement

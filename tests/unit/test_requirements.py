# SPDX-License-Identifier: Apache-2.0
"""The bounds that users get are releases that the tests run on."""

import configparser
from importlib import metadata
import pathlib
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
import pytest

ROOT = pathlib.Path(__file__).parents[2]
SETS = ROOT / 'constraints'


def requirements(text):
    """Return the requirements of lines that may end in comments."""
    lines = (line.partition('#')[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line]


def listed(name):
    """Return what a set of releases has, by the packages' names."""
    return {
        canonicalize_name(each.name): next(iter(each.specifier)).version
        for each in requirements((SETS / f'{name}.txt').read_text())
    }


def bounds():
    """Return every requirement that a wheel has, or its build."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    found = requirements((ROOT / 'requirements.txt').read_text())
    for text in setup['extras'].values():
        found += requirements(text)
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())
    return found + requirements('\n'.join(project['build-system']['requires']))


@pytest.mark.parametrize('requirement', bounds(), ids=str)
def test_lower_bound_is_the_oldest_release_that_is_tested(requirement):
    oldest = listed('oldest')[canonicalize_name(requirement.name)]
    assert str(requirement.specifier) == f'>={oldest}'


def test_no_package_is_newer_in_the_oldest_set():
    newest = listed('newest')
    newer = {
        name
        for name, version in listed('oldest').items()
        if name in newest and Version(version) > Version(newest[name])
    }
    assert newer == set()


def test_tests_run_on_one_of_the_sets():
    """Every release that is installed here is from the same list."""
    here = {
        canonicalize_name(each.name): each.version
        for each in metadata.distributions()
    }
    strangers = {
        name: {
            package: version
            for package, version in listed(name).items()
            if here.get(package, version) != version
        }
        for name in ('oldest', 'newest')
    }
    assert {} in strangers.values(), strangers

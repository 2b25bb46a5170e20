# SPDX-License-Identifier: Apache-2.0
"""The reference says what the code says: no name is missing, none is left."""

import csv
import inspect
import pathlib
import re

import prometheus_client
import pytest

from rbdcloner import errors
from rbdcloner import metrics
from rbdcloner import rpcapi
from rbdcloner import states
from rbdcloner.conf import options
from rbdcloner.sources import eligibility

ROOT = pathlib.Path(__file__).parents[2]
SOURCE = ROOT / 'doc' / 'source'
REFERENCE = SOURCE / 'reference'
LARGEST_README_BYTES = 6 * 1024


def page(name: str) -> str:
    """Return the text of a page of the reference."""
    return (REFERENCE / f'{name}.rst').read_text()


def section(text: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one."""
    found = re.search(
        rf'^{heading}\n=+\n(.*?)(?=^[^\n]+\n=+$|\Z)', text, re.M | re.S
    )
    assert found, heading
    return found[1]


def test_readme_is_short() -> None:
    assert (ROOT / 'README.rst').stat().st_size <= LARGEST_README_BYTES


def test_readme_names_files_that_exist() -> None:
    for name in ('README.rst', 'CONTRIBUTING.rst'):
        for path in re.findall(
            r'``([\w./-]+\.(?:rst|md))``', (ROOT / name).read_text()
        ):
            assert (ROOT / path).exists(), f'{name} names {path}'


def test_files_on_the_way_of_a_request_exist() -> None:
    text = (SOURCE / 'contributor' / 'life-of-a-disk.rst').read_text()
    named = re.findall(r'``([\w/]+\.py)``', text)
    assert named
    for path in named:
        assert (ROOT / 'rbdcloner' / path).exists(), path


def test_every_package_is_described() -> None:
    text = (SOURCE / 'contributor' / 'architecture.rst').read_text()
    described = re.findall(r'^       (\w+)/? {2,}', text, re.M)
    packages = {
        path.stem
        for path in (ROOT / 'rbdcloner').iterdir()
        if not path.stem.startswith(('_', '.'))
    }
    assert set(described) == packages


def known_errors() -> dict[str, type[errors.Error]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.Error)
    }


def documented_errors() -> dict[str, str]:
    _, *parts = re.split(r'^\.\. py:exception:: ', page('errors'), flags=re.M)
    return {
        part.partition('\n')[0].strip(): part.partition('\n')[2]
        for part in parts
    }


def test_every_error_is_documented() -> None:
    assert set(documented_errors()) == set(known_errors())


def test_errors_are_documented_as_retryable_where_they_are() -> None:
    documented = {
        name
        for name, text in documented_errors().items()
        if text.lstrip().startswith('*Retryable.*')
    }
    retryable = {
        name for name, kind in known_errors().items() if kind.retryable
    }
    assert documented == retryable


def test_every_reason_of_is_cloneable_is_documented() -> None:
    table = page('errors').partition('Reasons of ``is_cloneable``')[2]
    documented = re.findall(r'^``([a-z-]+)``  ', table, re.M)
    assert documented == list(map(str, eligibility.Refusal))


def documented_methods() -> dict[str, tuple[str, str]]:
    """Return each method's arguments, and the text below them."""
    text = page('rpc-api').replace('\\\n', ' ')
    _, *parts = re.split(r'^\.\. py:method:: API\.', text, flags=re.M)
    found = {}
    for part in parts:
        line, _, rest = part.partition('\n')
        name, _, arguments = line.partition('(')
        found[name] = (' '.join(arguments.rstrip(')').split()), rest)
    return found


def test_every_argument_of_the_rpc_api_is_documented() -> None:
    methods = {
        name: inspect.signature(getattr(rpcapi.API, name))
        for name in dir(rpcapi.API)
        if not name.startswith('_')
    }
    documented = documented_methods()
    assert set(documented) == set(methods)
    for name, signature in methods.items():
        parameters = [
            one.replace(annotation=inspect.Parameter.empty)
            for one in signature.parameters.values()
            if one.name != 'self'
        ]
        bare = inspect.Signature(parameters)
        arguments, text = documented[name]
        assert arguments == str(bare)[1:-1], name
        described = set(re.findall(r':param (\w+):', text))
        assert described == {
            one.name for one in parameters if one.name != 'ctxt'
        }, name


@pytest.mark.parametrize(
    ('heading', 'kind', 'may_follow'),
    [
        ('Disks and other images', states.State, states.may_follow),
        ('Base images', states.ImportState, states.base_may_follow),
    ],
)
def test_every_transition_is_documented(heading, kind, may_follow) -> None:
    lines = [
        line.strip()
        for line in section(page('states'), heading).splitlines()
        if line.startswith('   "')
    ]
    documented = {
        row[0]: set() if row[2] == 'final' else set(row[2].split(', '))
        for row in csv.reader(lines, skipinitialspace=True)
    }
    assert documented == {
        str(before): {
            str(after) for after in kind if may_follow(before, after)
        }
        for before in kind
    }


@pytest.mark.parametrize(
    ('heading', 'kind'),
    [('Parents', states.ParentState), ('Flattens', states.FlattenState)],
)
def test_every_other_state_is_documented(heading, kind) -> None:
    text = section(page('states'), heading)
    assert re.findall(r'^([a-z]+)   ?', text, re.M)[1:] == list(map(str, kind))


def test_every_metric_is_documented() -> None:
    kinds = (
        prometheus_client.Counter,
        prometheus_client.Gauge,
        prometheus_client.Histogram,
    )
    known = {
        value._name
        for value in vars(metrics).values()
        if isinstance(value, kinds)
    }
    documented = re.findall(r'^(rbdcloner_\w+)  ', page('metrics'), re.M)
    assert set(documented) == known


def test_options_that_are_named_exist() -> None:
    known = {
        (group or 'DEFAULT', option.name)
        for group, found in options.OWN.items()
        for option in found
    }
    groups = {group for group, _ in known} - {'DEFAULT', 'upgrade_levels'}
    named = {
        (group, option, path.name)
        for path in SOURCE.rglob('*.rst')
        for option, group in re.findall(
            r'``([a-z_]+)``\s+in\s+``\[([a-z_]+)\]``', path.read_text()
        )
        if group in groups
    }
    assert named
    assert {one for one in named if one[:2] not in known} == set()

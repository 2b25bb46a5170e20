# SPDX-License-Identifier: Apache-2.0
"""What an error says: its docstring, with the facts as people read them."""

import inspect
import re

import pytest

from rbdcloner import errors
from rbdcloner import sizes

GIB = 2**30

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.Error)
]


@pytest.mark.parametrize('kind', KINDS)
def test_every_error_has_a_message_that_ends_with_a_full_stop(kind):
    named = re.findall(r'{(\w+)}', kind.__doc__)
    told = str(kind(**{name: f'the {name}' for name in named}))
    assert told.endswith('.')
    assert all(f'the {name}' in told for name in named)


def test_bytes_are_shown_with_a_unit_and_stay_raw_in_the_facts():
    error = errors.ShrinkRefused(
        name='a_disk', recorded_bytes=2 * GIB, size_bytes=GIB // 2
    )
    assert '2 GiB (2147483648 bytes)' in str(error)
    assert '512 MiB (536870912 bytes)' in str(error)
    assert error.kwargs['size_bytes'] == GIB // 2


def test_a_size_that_differs_is_shown_with_a_unit():
    error = errors.DiskDiffers(
        name='a_disk', pool='vms', field='size_bytes', recorded=GIB, asked=1
    )
    assert 'size_bytes 1 GiB (1073741824 bytes)' in str(error)
    assert '1 bytes was requested' in str(error)


def test_addresses_are_enumerated():
    watchers = ['10.0.0.1:0/1', '10.0.0.2:0/2']
    error = errors.DiskInUse(name='a_disk', pool='vms', watchers=watchers)
    assert 'open at 10.0.0.1:0/1, 10.0.0.2:0/2.' in str(error)


def test_no_address_is_unknown():
    error = errors.DiskInUse(name='a_disk', pool='vms', watchers=[])
    assert 'open at (unknown).' in str(error)


def test_a_fact_that_another_release_does_not_send_is_unknown():
    assert 'pool (unknown)' in str(errors.DiskNotFound(name='a_disk'))


@pytest.mark.parametrize(
    ('size_bytes', 'shown'),
    [(0, '0 bytes'), (1023, '1023 bytes'), (1024, '1 KiB (1024 bytes)')],
)
def test_an_exact_size_has_its_bytes(size_bytes, shown):
    assert sizes.exact(size_bytes) == shown

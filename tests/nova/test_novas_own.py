# SPDX-License-Identifier: Apache-2.0
"""Nova's own unit tests of its RBD code, with the plug-in's classes.

They know of no manager: none is there, and the mode is *prefer*. NOVA.md says
of each that cannot pass why; here it is shown not to.
"""

from collections.abc import Iterator
import contextlib
import importlib
import types
from typing import Any
import unittest

import fixtures
from nova.storage import rbd_utils as novas_rbd_utils
import pytest

from rbdcloner.nova import asking
from rbdcloner.nova import imagebackend
from rbdcloner.nova import rbd_utils

CANNOT_PASS = {
    'test_imagebackend': [
        'test_direct_snapshot',
        'test_direct_snapshot_cleans_up_on_failures',
        'test_import_file',
        'test_import_file_not_found',
    ],
    'test_rbd': [
        'test_cleanup_volumes',
        'test_cleanup_volumes_fail_not_found',
        'test_cleanup_volumes_fail_other',
        'test_cleanup_volumes_fail_snapshots',
        'test_cleanup_volumes_pending_resize',
        'test_cleanup_volumes_reverting_resize',
        'test_get_mon_addrs',
        'test_get_mon_addrs_with_brackets',
        'test_get_pool_info',
        'test_get_pool_info_execute_failed',
        'test_get_pool_info_not_found',
    ],
}


@contextlib.contextmanager
def ours() -> Iterator[None]:
    """Have the plug-in's classes stand where Nova's do."""
    stand_ins = {
        # Theirs stand where Nova's module has them.
        'rbdcloner.nova.imagebackend.rbd_utils': novas_rbd_utils,
        'nova.virt.libvirt.imagebackend.Rbd': imagebackend.Rbd,
        'nova.storage.rbd_utils.RBDDriver': rbd_utils.RBDDriver,
    }
    with contextlib.ExitStack() as patched:
        for name, stand_in in stand_ins.items():
            patched.enter_context(fixtures.MonkeyPatch(name, stand_in))
        yield


def module(name: str) -> types.ModuleType:
    """Import tests of Nova's; what they patch, they name when imported."""
    with ours():
        return importlib.import_module(f'nova.tests.unit.{name}')


CASES = (
    module('virt.libvirt.test_imagebackend').RbdTestCase,
    module('storage.test_rbd').RbdTestCase,
)


def each() -> Iterator[Any]:
    """Yield the class and the name of each test, and if it is to pass."""
    for case in CASES:
        part = case.__module__.rpartition('.')[2]
        for name in unittest.TestLoader().getTestCaseNames(case):
            passes = name not in CANNOT_PASS[part]
            yield pytest.param(case, name, passes, id=f'{part}.{name}')


@pytest.mark.parametrize(('case', 'name', 'passes'), each())
def test_nova_test_passes_unless_it_is_named(
    case: type[unittest.TestCase],
    name: str,
    passes: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Not by pytest: Nova's tests delete what that keeps in them.
    result = unittest.TestResult()
    monkeypatch.setattr(asking.Service, 'is_there', lambda self: False)
    # Their instances have no project, and there is no Ceph.
    monkeypatch.setattr(asking.Disk, 'owner', {})
    monkeypatch.setattr(
        rbd_utils.RBDDriver, 'note_unadopted', lambda self, *facts: None
    )
    asking.CONF.set_override('mode', 'prefer', 'rbdcloner')
    try:
        with ours():
            case(name).run(result)
    finally:
        asking.CONF.clear_override('mode', 'rbdcloner')
    failed = [text for _, text in (*result.errors, *result.failures)]
    assert passes == (not failed), failed

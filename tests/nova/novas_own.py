# SPDX-License-Identifier: Apache-2.0
"""Nova's own unit tests of its RBD code, with the plug-in's classes.

They know of no manager: none is there, and the mode is *prefer*. A process of
their own runs them, for they leave mocks of librbd behind.
"""

from collections.abc import Iterator
import contextlib
import importlib
import json
import types
import unittest

import fixtures
from nova.storage import rbd_utils as novas_rbd_utils

from rbdcloner.nova import asking
from rbdcloner.nova import imagebackend
from rbdcloner.nova import rbd_utils


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


def run(case: type[unittest.TestCase], name: str) -> str:
    """Run one; why it fails, or nothing."""
    result = unittest.TestResult()
    stand_ins = {
        'rbdcloner.nova.asking.Service.is_there': lambda self: False,
        # Their instances have no project, and there is no Ceph.
        'rbdcloner.nova.asking.Disk.owner': {},
        'rbdcloner.nova.rbd_utils.RBDDriver.note_unadopted': (
            lambda self, *facts: None
        ),
    }
    # Each of their tests clears what was set before.
    asking.CONF.set_override('mode', 'prefer', 'rbdcloner')
    with contextlib.ExitStack() as patched:
        for path, stand_in in stand_ins.items():
            patched.enter_context(fixtures.MonkeyPatch(path, stand_in))
        patched.enter_context(ours())
        case(name).run(result)
    return '\n'.join(text for _, text in (*result.errors, *result.failures))


def main() -> None:
    """Print the failures by the tests' names, as JSON."""
    told = {}
    for case in CASES:
        part = case.__module__.rpartition('.')[2]
        for name in unittest.TestLoader().getTestCaseNames(case):
            told[f'{part}.{name}'] = run(case, name)
    print(json.dumps(told))


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""Where Ceph's Python modules are found, and what is said when they are not.

Each claim needs a process of its own: a module that is loaded stays loaded.
"""

import subprocess
import sys
import sysconfig

import pytest

from rbdcloner import bindings

SUFFIX = sysconfig.get_config_var('EXT_SUFFIX')


def answer_of(code):
    """Return what a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_debians_modules_are_loaded_and_nothing_else_of_its_folder():
    lines = answer_of(
        'import sys\n'
        'from rbdcloner import bindings\n'
        'before = list(sys.path)\n'
        'bindings.load()\n'
        'print(sys.path == before)\n'
        'for name, module in sorted(sys.modules.items()):\n'
        '    if "dist-packages" in str(getattr(module, "__file__", "")):\n'
        '        print(name)\n'
    )
    assert lines == ['True', 'rados', 'rbd']


def test_packages_of_ceph_and_the_plug_in_find_them():
    for package in ('ceph', 'nova'):
        assert answer_of(
            f'import rbdcloner.{package}, rbd; print(rbd.__name__)'
        ) == ['rbd']


def test_client_loads_neither():
    assert answer_of(
        'import sys, rbdcloner.rpcapi\n'
        'print({"rados", "rbd"} & sys.modules.keys())'
    ) == ['set()']


def test_module_that_python_finds_itself_is_taken(tmp_path):
    (tmp_path / 'rbd.py').write_text('own = True')
    assert answer_of(
        f'import sys; sys.path.append({str(tmp_path)!r})\n'
        'import rbdcloner.ceph, rbd; print(rbd.own)'
    ) == ['True']


def test_module_is_found_by_this_pythons_suffix(tmp_path):
    module = tmp_path / f'rbd{SUFFIX}'
    module.touch()
    spec = bindings.Finder(tmp_path).find_spec('rbd')
    assert (spec.name, spec.origin) == ('rbd', str(module))


@pytest.mark.parametrize('name', ['rbd.other', 'rbdcloner', 'yaml'])
def test_other_modules_are_not_looked_for(tmp_path, name):
    (tmp_path / f'{name}{SUFFIX}').touch()
    assert bindings.Finder(tmp_path).find_spec(name) is None


@pytest.mark.parametrize('name', bindings.MODULES)
def test_missing_module_names_the_packages(tmp_path, name):
    with pytest.raises(ModuleNotFoundError) as raised:
        bindings.Finder(tmp_path / 'none').find_spec(name)
    assert raised.value.name == name
    assert str(raised.value) == (
        f'Python module {name} is not installed. '
        'Run "apt install python3-rados python3-rbd".'
    )


def test_module_for_another_python_is_told_from_none(tmp_path):
    (tmp_path / 'rados.cpython-39-x86_64-linux-gnu.so').touch()
    with pytest.raises(ModuleNotFoundError) as raised:
        bindings.Finder(tmp_path).find_spec('rados')
    here = '.'.join(map(str, sys.version_info[:3]))
    assert f'is built for Python 3.9, and this is {here}' in str(raised.value)
    assert '/usr/bin/python3' in str(raised.value)


def test_finder_is_installed_once():
    bindings.install()
    bindings.install()
    found = [one for one in sys.meta_path if isinstance(one, bindings.Finder)]
    assert len(found) == 1

# SPDX-License-Identifier: Apache-2.0
"""Ceph's Python modules, found where Debian installs them.

The modules ``rados`` and ``rbd`` are not on PyPI. Debian builds them for its
own Python, into a folder that a virtual environment does not search. Here
these two are loaded from it, and nothing else that lies there.
"""

from collections.abc import Sequence
import importlib
from importlib import machinery
import importlib.abc
import pathlib
import platform
import re
import sys
import types

from rbdcloner import errors

MODULES = ('rados', 'rbd')

_FOLDER = pathlib.Path('/usr/lib/python3/dist-packages')
_PACKAGES = 'python3-rados python3-rbd'


class BindingsMissing(ModuleNotFoundError):
    """One of Ceph's modules is not there, or only for another Python."""

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        super().__init__(f'{problem}. {remedy}.', name=name)
        self.problem = problem
        self.remedy = remedy


class Finder(importlib.abc.MetaPathFinder):
    """Finds Ceph's two modules in *folder* if they fit this Python.

    The last finder of all: a module that Python finds by itself is taken.
    """

    def __init__(self, folder: pathlib.Path = _FOLDER) -> None:
        self._folder = folder

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> machinery.ModuleSpec | None:
        """Return where one of the two is; ``None`` for any other module.

        :raises BindingsMissing: it is not there, or not for this Python
        """
        if fullname not in MODULES:
            return None
        extensions = (
            machinery.ExtensionFileLoader,
            machinery.EXTENSION_SUFFIXES,
        )
        finder = machinery.FileFinder(str(self._folder), extensions)
        spec = finder.find_spec(fullname)
        if spec is None:
            raise self._missing(fullname)
        return spec

    def _missing(self, name: str) -> BindingsMissing:
        here = platform.python_version()
        others = ', '.join(self._versions(name))
        if others:
            return BindingsMissing(
                name,
                f'Python module {name} in {self._folder} is built for Python '
                f'{others}, and this is {here}',
                'Make the virtual environment with /usr/bin/python3',
            )
        return BindingsMissing(
            name,
            f'Python module {name} is not installed',
            f'Run "apt install {_PACKAGES}"',
        )

    def _versions(self, name: str) -> list[str]:
        """Return which releases of Python the module is installed for."""
        tagged = re.compile(rf'{name}\.cpython-(\d)(\d+)-')
        files = sorted(file.name for file in self._folder.glob(f'{name}.*'))
        return [
            '.'.join(one.groups()) for one in map(tagged.match, files) if one
        ]


_FINDER = Finder()


def install() -> None:
    """Have ``import rados`` and ``import rbd`` succeed in this process.

    Repeated, it changes nothing.
    """
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)


def load() -> None:
    """Import both modules.

    :raises ConfigurationError: one of them cannot be loaded
    """
    install()
    for name in MODULES:
        try:
            importlib.import_module(name)
        except BindingsMissing as exc:
            raise errors.ConfigurationError(
                problem=exc.problem, remedy=exc.remedy
            ) from exc
        except ImportError as exc:
            raise errors.ConfigurationError(
                problem=f'Python module {name} cannot be loaded: {exc}',
                remedy=f'Run "apt install --reinstall {_PACKAGES}"',
            ) from exc

# SPDX-License-Identifier: Apache-2.0
"""An error in one line: what is wrong, and what an operator can do."""

from collections.abc import Iterator
import pathlib
import sys
import traceback

from rbdcloner import bindings
from rbdcloner import errors
from rbdcloner.cmd import installed

_INSTALL = 'Run "pip install --upgrade rbdcloner[manager]"'
_IMPORTING = '<frozen importlib._bootstrap>'


def of(error: BaseException) -> str:
    """Return *error* in one line."""
    return ' '.join(_text(error).split())


def _text(error: BaseException) -> str:
    if isinstance(error, errors.Error | bindings.BindingsMissing):
        return str(error)
    if _is_of_configuration(error):
        return f'{str(error).rstrip(".")}. Correct the configuration.'
    if isinstance(error, UnicodeDecodeError):
        return f'A configuration file is not text in UTF-8: {error}.'
    named = f'{type(error).__name__}: {error}'
    problems = installed.problems('rbdcloner', 'manager')
    if problems:
        return f'{"; ".join(problems)} ({named}). {_INSTALL}.'
    if isinstance(error, OSError):
        return f'{error}.'
    files = list(_files(error))
    if _IMPORTING in files:
        return f'{files[-1]} cannot be loaded ({named}). {_remedy(files[-1])}.'
    return f'Unexpected error: {named}. Run it with --debug for the details.'


def _is_of_configuration(error: BaseException) -> bool:
    # oslo.config may be what cannot be imported.
    module = sys.modules.get('oslo_config.cfg')
    return module is not None and isinstance(error, module.Error)


def _files(error: BaseException) -> Iterator[str]:
    """Yield where the error passed, the place where it was raised last."""
    for frame in traceback.extract_tb(error.__traceback__):
        yield frame.filename


def _remedy(file: str) -> str:
    inside = pathlib.Path(sys.prefix) in pathlib.Path(file).parents
    if inside or sys.prefix == sys.base_prefix:
        return _INSTALL
    return (
        f'It is not of the virtual environment {sys.prefix}: make that '
        'without --system-site-packages'
    )

# SPDX-License-Identifier: Apache-2.0
"""An error in one line: what is wrong, and what an operator can do."""

import pathlib
import sys
import traceback

from rbdcloner import bindings
from rbdcloner import errors
from rbdcloner.cmd import installed

_INSTALL = 'Run "pip install --upgrade rbdcloner[manager]"'
#: The function, in a traceback, that is a module at its import.
_IMPORTING = '<module>'


def of(error: BaseException) -> str:
    """Return *error* in one line."""
    return ' '.join(_text(error).split())


def _text(error: BaseException) -> str:
    if isinstance(error, errors.Error | bindings.BindingsMissing):
        return str(error)
    return _of_configuration(error) or _of_installation(error)


def _of_configuration(error: BaseException) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f'A configuration file is not text in UTF-8: {error}.'
    # oslo.config may be what cannot be imported.
    module = sys.modules.get('oslo_config.cfg')
    if module is None or not isinstance(error, module.Error):
        return ''
    if isinstance(error, module.ConfigFilesPermissionDeniedError):
        return f'{error}. Let the user who runs this read them.'
    return f'{str(error).rstrip(".")}. Correct the configuration.'


def _of_installation(error: BaseException) -> str:
    if isinstance(error, ImportError):
        error = _first(error)
    named = f'{type(error).__name__}: {error}'
    problems = installed.problems('rbdcloner', 'manager')
    if problems:
        return f'{"; ".join(problems)} ({named}). {_INSTALL}.'
    if isinstance(error, OSError):
        return f'{error}.'
    frames = traceback.extract_tb(error.__traceback__)
    if any(frame.name == _IMPORTING for frame in frames):
        file = frames[-1].filename
        return f'{file} cannot be imported ({named}). {_remedy(file)}.'
    return f'Unexpected error: {named}. Run it with --debug for the details.'


def _first(error: BaseException) -> BaseException:
    """Return the error that led to *error*, or to what did."""
    while earlier := error.__cause__ or error.__context__:
        error = earlier
    return error


def _remedy(file: str) -> str:
    inside = pathlib.Path(sys.prefix) in pathlib.Path(file).parents
    if inside or sys.prefix == sys.base_prefix:
        return _INSTALL
    return (
        f'It is not of the virtual environment {sys.prefix}: make that '
        'without --system-site-packages'
    )

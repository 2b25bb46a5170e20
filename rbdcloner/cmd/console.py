# SPDX-License-Identifier: Apache-2.0
"""The console scripts: whatever is wrong, the operator reads one line of it.

Here only the standard library is imported, so that a library that is missing
or broken fails inside a script, and can be named.
"""

from collections.abc import Callable
import importlib
import logging
import signal
import sys
import traceback
import warnings

_DEBUG = {'-d', '--debug'}


def manager() -> int:
    """Run ``rbdcloner-manager``; the exit code."""
    return run('rbdcloner-manager', _main_of('rbdcloner.cmd.manager'))


def manage() -> int:
    """Run ``rbdcloner-manage``; the exit code."""
    return run('rbdcloner-manage', _main_of('rbdcloner.cmd.manage'))


def status() -> int:
    """Run ``rbdcloner-status``; the exit code."""
    return run('rbdcloner-status', _main_of('rbdcloner.cmd.status'))


def run(program: str, main: Callable[[], int]) -> int:
    """Return what *main* does, or 1 when an error leaves it.

    The error is one line of the standard error output, with a remedy. Only
    ``--debug`` shows where it comes from. Ctrl-C and a pipe that is closed end
    the program as the signals do, without a word.
    """
    # What libraries say before logging is configured is for developers.
    logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter('ignore')
    try:
        return _report(program, main)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return 128 + signal.SIGPIPE


def _report(program: str, main: Callable[[], int]) -> int:
    try:
        return main()
    except BrokenPipeError:
        raise
    except Exception as exc:
        if _DEBUG.intersection(sys.argv):
            traceback.print_exc()
        from rbdcloner.cmd import explanation

        print(f'{program}: {explanation.of(exc)}', file=sys.stderr)
        return 1


def _main_of(module: str) -> Callable[[], int]:
    def main() -> int:
        code: int = importlib.import_module(module).main()
        return code

    return main

# SPDX-License-Identifier: Apache-2.0
"""A stack from the command line: up FOLDER, down FOLDER, run COMMAND."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from typing import NoReturn

from tests.stack import database
from tests.stack import stack


def main() -> int:
    """Do what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(prog='python -m tests.stack')
    verbs = parser.add_subparsers(required=True)
    for verb, argument, text in (
        (_up, 'folder', 'start everything and leave it running'),
        (_down, 'folder', 'end what runs in the folder and remove it'),
        (_run, 'command', 'start everything, run a command, end everything'),
    ):
        name = verb.__name__[1:]
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(verb=verb)
        nargs = argparse.REMAINDER if argument == 'command' else None
        added.add_argument(argument, nargs=nargs)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return int(arguments.verb(arguments))
    except KeyboardInterrupt:
        return 130


def _terminated(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _stack(folder: str | None = None) -> stack.Stack:
    return stack.Stack(folder, databases=tuple(database.ENGINES), report=_say)


def _up(arguments: argparse.Namespace) -> int:
    with _stack(arguments.folder) as running:
        running.detach()
    return 0


def _down(arguments: argparse.Namespace) -> int:
    stack.down(arguments.folder)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    command = arguments.command
    command = command[1:] if command[:1] == ['--'] else command
    with _stack() as running:
        variable = {stack.SHARED_VARIABLE: str(running.folder)}
        done = subprocess.run(
            command, env={**os.environ, **variable}, check=False
        )
    return done.returncode


if __name__ == '__main__':
    sys.exit(main())

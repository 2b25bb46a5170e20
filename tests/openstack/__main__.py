# SPDX-License-Identifier: Apache-2.0
"""An OpenStack from the command line: up, use and down FOLDER.

``install`` makes an environment of Nova's ready for it.
"""

from __future__ import annotations

import argparse
import pathlib
import signal
import sys
import tempfile
import time
from typing import NoReturn

from tests import stack
from tests.openstack import cloud
from tests.openstack import wheel
from tests.stack import process


def main() -> int:
    """Do what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(prog='python -m tests.openstack')
    verbs = parser.add_subparsers(required=True)
    for verb, text in (
        (_up, 'start everything and leave it running'),
        (_use, 'have nova-compute run with these options'),
        (_down, 'end what runs in the folder and remove it'),
        (_install, "have Nova's environment in the folder hold our wheel"),
    ):
        added = verbs.add_parser(
            verb.__name__[1:], help=text, description=text
        )
        added.set_defaults(verb=verb)
        added.add_argument('folder')
        if verb in (_up, _use):
            _add_options(added)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return int(arguments.verb(arguments))
    except KeyboardInterrupt:
        return 130


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--plugin',
        action=argparse.BooleanOptionalAction,
        default=False,
        help="rbdcloner's driver, or Nova's own (the default)",
    )
    parser.add_argument(
        '--eventlet',
        action='store_true',
        help='nova-compute on green threads instead of native ones',
    )
    parser.add_argument(
        '--option',
        action='append',
        default=[],
        metavar='SECTION.KEY=VALUE',
        help="of nova-compute's configuration",
    )


def _options(words: list[str]) -> dict[str, dict[str, object]]:
    options: dict[str, dict[str, object]] = {}
    for word in words:
        name, _, value = word.partition('=')
        section, _, key = name.partition('.')
        options.setdefault(section, {})[key] = value
    return options


def _terminated(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _chosen(arguments: argparse.Namespace) -> dict[str, object]:
    return {
        'plugin': arguments.plugin,
        'eventlet': arguments.eventlet,
        'options': _options(arguments.option),
    }


def _up(arguments: argparse.Namespace) -> int:
    with (
        stack.Stack(
            arguments.folder,
            glance=False,
            databases=('sqlite', 'mariadb'),
            report=_say,
        ) as servers,
        cloud.OpenStack(servers, report=_say, **_chosen(arguments)) as running,
    ):
        running.detach()
        servers.detach()
    return 0


def _use(arguments: argparse.Namespace) -> int:
    begun = time.monotonic()
    running = cloud.OpenStack.attach(arguments.folder)
    running.compute.use(**_chosen(arguments))
    _say(f'nova-compute: ready after {time.monotonic() - begun:.1f} s')
    return 0


def _down(arguments: argparse.Namespace) -> int:
    stack.down(arguments.folder)
    return 0


def _install(arguments: argparse.Namespace) -> int:
    with tempfile.NamedTemporaryFile() as log:
        try:
            is_new = wheel.install(arguments.folder, pathlib.Path(log.name))
        except process.StackError as exc:
            _say(str(exc))
            return 1
    if is_new:
        _say(f'{arguments.folder}: holds the checkout')
    return 0


if __name__ == '__main__':
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""What must be settled first: the command line, signals, oslo's backend."""

from __future__ import annotations

import argparse
import logging
import sys

from tests.bench import catalogue
from tests.bench import figures
from tests.bench import scale

_DESCRIPTION = """\
Measures what a disk, its snapshot into Glance, its deletion, a look at a
parent's children and the import of an image cost by rbdcloner, by librbd, by
command lines and by Nova, in turns, on a Ceph, RabbitMQ and Glance of its own;
for nova-compute with the plug-in and without, on an OpenStack of its own.
Prints a JSON line for each figure on standard output, everything else on
standard error. A figure's ratio is its value divided by that of the figure it
is held against. Everything lives in one folder below /tmp, listens on
127.0.0.1, and is ended and removed afterwards, by Ctrl-C too. MariaDB flushes
its log once a second here; SQLite syncs every commit.
"""


def main() -> int:
    """Do what the command line asks for; the exit code."""
    chosen, wanted = _parse()
    # Importing oslo.messaging would choose eventlet, and libraries warn.
    logging.captureWarnings(True)
    logging.getLogger().addHandler(logging.NullHandler())
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)
    from tests.bench import running
    from tests.bench import testbed

    wishes = testbed.Wishes(chosen.quick, chosen.clone_format)
    return running.run(wishes, wanted)


def _parse() -> tuple[argparse.Namespace, list[figures.Figure]]:
    parser = argparse.ArgumentParser(
        prog='tools/bench',
        description=_DESCRIPTION,
        epilog='figures: '
        + ' '.join(one.name for one in catalogue.figures(scale.FULL)),
    )
    parser.add_argument(
        '--only',
        nargs='+',
        action='extend',
        default=[],
        metavar='FIGURE',
        help='measure only these, and what they are held against; '
        f'{", ".join(catalogue.TASKS)}: all figures of that task',
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help='a few disks and small pools only, to see that everything works; '
        'the names of the figures tell the numbers',
    )
    parser.add_argument(
        '--nova',
        action='store_true',
        help='measure Nova: its own code for disks beside the service, then '
        'nova-compute without the plug-in and with it, on a whole OpenStack; '
        'with --only, what that names, Nova included',
    )
    parser.add_argument('--clone-format', type=int, choices=(1, 2), default=2)
    chosen = parser.parse_args()
    names = [name for word in chosen.only for name in word.split(',')]
    sizes = scale.QUICK if chosen.quick else scale.FULL
    try:
        return chosen, catalogue.chosen(names, sizes, chosen.nova)
    except ValueError as exc:
        parser.error(str(exc))


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before anything was started
        sys.exit(130)

# SPDX-License-Identifier: Apache-2.0
"""What must be settled first: the command line, signals, oslo's backend."""

from __future__ import annotations

import argparse
import logging
import sys

from tests.bench import figures

_DESCRIPTION = """\
Measures what a disk costs by rbdcloner, by librbd, by the rbd command line
and by Nova, in turns, on a Ceph, RabbitMQ and Glance of its own. Prints a JSON
line for each figure on standard output, everything else on standard error.
A figure's ratio is its value divided by that of the figure it is held against.
Everything lives in one folder below /tmp, listens on 127.0.0.1, and is ended
and removed afterwards, by Ctrl-C too. MariaDB flushes its log once a second
here; SQLite syncs every commit.
"""


def main() -> int:
    """Do what the command line asks for; the exit code."""
    chosen = _parse()
    # Importing oslo.messaging would choose eventlet, and libraries warn.
    logging.captureWarnings(True)
    logging.getLogger().addHandler(logging.NullHandler())
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)
    from tests.bench import running
    from tests.bench import testbed

    wishes = testbed.Wishes(chosen.quick, chosen.clone_format, chosen.nova)
    return running.run(wishes, figures.chosen(chosen.only, bool(chosen.nova)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='tools/bench',
        description=_DESCRIPTION,
        epilog='figures: ' + ' '.join(figures.BY_NAME),
    )
    parser.add_argument(
        '--only',
        nargs='+',
        action='extend',
        default=[],
        metavar='FIGURE',
        choices=figures.BY_NAME,
        help='measure only these, and what they are held against',
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help='a few disks only, to see that everything works',
    )
    parser.add_argument(
        '--nova',
        default='',
        metavar='PYTHON',
        help='an interpreter that has Nova, rados and rbd; without it Nova '
        'is left out',
    )
    parser.add_argument('--clone-format', type=int, choices=(1, 2), default=2)
    chosen = parser.parse_args()
    if 'nova_create_p50_ms' in chosen.only and not chosen.nova:
        parser.error('nova_create_p50_ms needs --nova PYTHON')
    return chosen


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before anything was started
        sys.exit(130)

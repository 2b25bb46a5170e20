# SPDX-License-Identifier: Apache-2.0
"""What must be settled first: the command line, signals, oslo's backend."""

from __future__ import annotations

import argparse
import logging
import re
import sys

MiB = 1 << 20
SMALLEST_BYTES = 32 * MiB
_UNITS = {'M': MiB, 'G': 1024 * MiB}

_DESCRIPTION = """\
Shows what rbdcloner does, on a real Ceph, RabbitMQ and Glance of its own, and
checks all that it says. Everything lives in one folder below /tmp, listens on
free ports of 127.0.0.1, and is ended and removed afterwards, by Ctrl-C too.
Several can run at once. The first run on a machine installs what is missing,
as root; later ones need about half a minute.
"""

_EPILOG = """\
examples:
  tools/demo                    show everything, end everything
  tools/demo --size 256M        with a smaller image
  tools/demo --keep             leave it running, say how to talk to it
  tools/demo down               end what --keep left running
  tools/demo --database mysql+pymysql://user:secret@127.0.0.1/rbdcloner

exit codes: 0 everything was as printed, 1 something was not, 2 wrong usage,
130 Ctrl-C
"""


def main() -> int:
    """Do what the command line asks for; the exit code."""
    chosen = _parse()
    # Importing oslo.messaging would choose eventlet, and libraries warn.
    logging.captureWarnings(True)
    logging.getLogger().addHandler(logging.NullHandler())
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)
    from tests.demo import running
    from tests.demo import story

    if chosen.verb == 'down':
        return running.down(chosen.folders)
    wishes = story.Wishes(chosen.size, chosen.database)
    return running.run(wishes, chosen.keep)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='tools/demo',
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'verb',
        nargs='?',
        choices=('run', 'down'),
        default='run',
        help='down: end the demonstrations that were left running',
    )
    parser.add_argument(
        'folders',
        nargs='*',
        metavar='FOLDER',
        help='which ones, by folder (default: all of yours)',
    )
    parser.add_argument(
        '--size',
        type=_size,
        default=1024 * MiB,
        metavar='SIZE',
        help='size of the image, such as 512M or 2G (default: 1G)',
    )
    parser.add_argument(
        '--database',
        metavar='URL',
        help='a SQLAlchemy URL of a database; tables are made there, and what '
        'is recorded stays (default: a SQLite file that goes with the rest)',
    )
    parser.add_argument(
        '--keep',
        action='store_true',
        help='leave everything running and say how to talk to it',
    )
    chosen = parser.parse_args()
    if chosen.folders and chosen.verb != 'down':
        parser.error('only "down" takes folders')
    return chosen


def _size(text: str) -> int:
    found = re.fullmatch(r'(\d{1,6})\s*([MG])(i?B)?', text, re.ASCII)
    if not found:
        raise argparse.ArgumentTypeError('say it as 512M or 2G')
    size_bytes = int(found[1]) * _UNITS[found[2]]
    if size_bytes < SMALLEST_BYTES:
        raise argparse.ArgumentTypeError('at least 32M')
    return size_bytes


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before anything was started
        sys.exit(130)

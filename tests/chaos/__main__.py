# SPDX-License-Identifier: Apache-2.0
"""What must be settled first: the command line, signals, oslo's backend."""

from __future__ import annotations

import argparse
import logging
import random
import sys

_DESCRIPTION = """\
Starts a Ceph, RabbitMQ, Glance and database of its own and two managers with
two workers each; many callers make, snapshot, resize and delete disks and
images at random, while workers and managers are killed, paused and shut out,
and servers are stopped, killed and cut off. Then nothing more is disturbed,
and when all is quiet, Ceph is compared with the database and with what callers
were told; in the end everything is deleted, and nothing may be left. The last
line of standard output is JSON; everything else is on standard error. Exits
with 0 if nothing was lost, doubled, leaked, stuck or unreadable; else the
folder with the logs is kept. All is in one folder below /tmp, on 127.0.0.1.
"""


def main() -> int:
    """Do what the command line asks for; the exit code."""
    chosen = _parse()
    # Importing oslo.messaging would choose eventlet, and libraries warn.
    logging.captureWarnings(True)
    logging.getLogger().addHandler(logging.NullHandler())
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)
    from tests.chaos import plan
    from tests.chaos import running

    return running.run(plan.Plan(**vars(chosen)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='tools/chaos', description=_DESCRIPTION
    )
    parser.add_argument(
        '--operations',
        type=int,
        default=5000,
        metavar='N',
        help='what callers ask for in all (%(default)s)',
    )
    parser.add_argument(
        '--faults',
        type=int,
        default=60,
        metavar='N',
        help='how often something is disturbed from outside (%(default)s); '
        'besides, workers die at named points, each once, one for about '
        'forty operations',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=random.SystemRandom().randrange(10**6),
        metavar='N',
        help='the same one makes the same plans; what comes of them depends '
        'on time too',
    )
    parser.add_argument(
        '--database',
        choices=('mariadb', 'postgresql', 'sqlite'),
        default='mariadb',
    )
    parser.add_argument(
        '--only',
        action='append',
        default=[],
        metavar='KIND',
        help='of the kinds of faults, those alone that are named (repeated)',
    )
    parser.add_argument('--clone-format', type=int, choices=(1, 2), default=2)
    parser.add_argument('--callers', type=int, default=8, metavar='N')
    parser.add_argument(
        '--timeout',
        type=int,
        default=2400,
        metavar='SECONDS',
        help='nothing more is asked for after that (%(default)s)',
    )
    parser.add_argument(
        '--keep',
        action='store_true',
        help='leave everything running; it says how to end it',
    )
    chosen = parser.parse_args()
    if chosen.operations < 1 or chosen.faults < 0 or chosen.callers < 1:
        parser.error('there must be something to do')
    return chosen


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before anything was started
        sys.exit(130)

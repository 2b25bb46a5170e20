# SPDX-License-Identifier: Apache-2.0
"""Run the suites, each in a process of its own, and sum what they count.

Most of the time most tests wait: for a lease, for Nova, for what Ceph holds
for half a minute. So some suites run beside each other, each with servers of
its own, and beside them what is run on other Debian releases.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent import futures
import queue
import signal
import sys

from tests.run import family
from tests.run import lanes
from tests.run import releases
from tests.run import suites


def _run_all(
    chosen: Sequence[lanes.Work], expression: str
) -> list[lanes.Result]:
    """Run it, lanes at once; what it counts, in the order of *chosen*."""
    waiting: queue.SimpleQueue[lanes.Work] = queue.SimpleQueue()
    for work in chosen:
        waiting.put(work)
    members = family.Family()
    with futures.ThreadPoolExecutor(suites.LANES) as pool:
        try:
            ends = [
                pool.submit(lanes.Lane(waiting, expression, members).run)
                for _ in range(min(suites.LANES, len(chosen)))
            ]
            results = [one for end in ends for one in end.result()]
        except BaseException:
            # Impatience would leave servers running.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            members.end()
            raise
    begun = [name for work in chosen for name in _names(work)]
    return sorted(results, key=lambda one: (*begun, one.name).index(one.name))


def _names(work: lanes.Work) -> list[str]:
    if isinstance(work, suites.Suite):
        return [work.name]
    return [command.name for command in work]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    names = list(dict.fromkeys(suite.asked_as for suite in suites.SUITES))
    parser = argparse.ArgumentParser(prog='tools/test')
    parser.add_argument(
        'suites',
        nargs='*',
        metavar='SUITE',
        help=f'what to run, of: {", ".join(names)} (default: all)',
    )
    parser.add_argument(
        '-k', metavar='EXPR', help="choose tests by pytest's expression"
    )
    novas = suites.known_novas()
    known = ', '.join(map(str, novas))
    parser.add_argument(
        '--nova',
        type=int,
        metavar='RELEASE',
        help='the Nova that suite nova runs on, of: '
        f'{known} (the oldest and the newest)',
    )
    parser.add_argument(
        '--releases',
        action='store_true',
        help='run what there is for other Debian releases, too',
    )
    parser.add_argument(
        '--pythons',
        action='store_true',
        help='print what names the interpreters that it takes; run nothing',
    )
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.suites) - set(names):
        parser.error(f'no such suite: {", ".join(sorted(unknown))}')
    if chosen.releases and (chosen.suites or chosen.k):
        parser.error('--releases goes with all suites and all tests')
    if chosen.nova is None:
        return chosen
    if chosen.nova not in novas:
        parser.exit(2, f'no such Nova: {chosen.nova}, there are {known}\n')
    if 'nova' not in (chosen.suites or names):
        parser.error('--nova is for suite nova')
    return chosen


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks for; the exit code."""
    # SIGINT too: what a shell runs in the background ignores it, and hands
    # that on to the suites.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    asked = _parse(arguments)
    own = releases.own()
    allowed = releases.COMMANDS if asked.releases else [own]
    chosen = suites.choose(asked.suites, asked.nova, allowed)
    if asked.pythons:
        print(*{suite.python for suite in chosen})
        return 0
    others = releases.others(own) if asked.releases else []
    results = _run_all([*others, *chosen], asked.k or '')
    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    if not passed and not failed:
        print('\nno test was run')
        failed = 1
    for result in results:
        if result.unreliable:
            print(f'\n=== {result.name}: what failed once')
            print(result.unreliable)
    for result in results:
        if result.failures:
            print(f'\n=== {result.name}: what failed\n{result.failures}')
    print('', *map(lanes.line, results), sep='\n')
    print(f'{passed} passed, {failed} failed', flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)

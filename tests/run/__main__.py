# SPDX-License-Identifier: Apache-2.0
"""Run the suites, each in a process of its own, and sum what they count.

Most of the time most tests wait: for a lease, for Nova, for what Ceph holds
for half a minute. So some suites run beside each other, each with servers of
its own.
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
from tests.run import suites


def _run_all(
    chosen: Sequence[suites.Suite], expression: str
) -> list[lanes.Result]:
    """Run suites, lanes at once; what they count, in the suites' order."""
    waiting: queue.SimpleQueue[suites.Suite] = queue.SimpleQueue()
    for suite in chosen:
        waiting.put(suite)
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
    begun = [suite.name for suite in chosen]
    return sorted(results, key=lambda one: (*begun, one.name).index(one.name))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    names = list(dict.fromkeys(suite.folder for suite in suites.SUITES))
    parser = argparse.ArgumentParser(prog='tools/test')
    parser.add_argument(
        'suites',
        nargs='*',
        metavar='SUITE',
        help=f'what to run, of: {", ".join(names)} (all)',
    )
    parser.add_argument(
        '-k', metavar='EXPR', help="choose tests by pytest's expression"
    )
    parser.add_argument(
        '--pythons',
        action='store_true',
        help='print what names the interpreters that it takes; run nothing',
    )
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.suites) - set(names):
        parser.error(f'no such suite: {", ".join(sorted(unknown))}')
    chosen.suites = chosen.suites or names
    return chosen


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks for; the exit code."""
    # SIGINT too: what a shell runs in the background ignores it, and hands
    # that on to the suites.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    asked = _parse(arguments)
    chosen = [one for one in suites.SUITES if one.folder in asked.suites]
    if asked.pythons:
        print(*{suite.python for suite in chosen})
        return 0
    results = _run_all(chosen, asked.k or '')
    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    if not passed and not failed:
        print('\nno test was run')
        failed = 1
    for result in results:
        if result.last_words:
            print(f'\n=== {result.name}: its end\n{result.last_words}')
    print('', *map(lanes.line, results), sep='\n')
    print(f'{passed} passed, {failed} failed', flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)

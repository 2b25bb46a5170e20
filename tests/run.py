# SPDX-License-Identifier: Apache-2.0
"""Run the suites, each in a process of its own, and sum what they count.

The servers start once, in the background, while the suites that need none
run; the others find them by ``RBDCLONER_STACK``. An OpenStack, which costs
more, starts when its suite does. Suites run one after the other: beside each
other they would share two cores and one cluster, their seconds would say
nothing and their lines would mix.
"""

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import os
import pathlib
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from xml.etree import ElementTree

from tests.stack import StackError
from tests.stack import down

ROOT = pathlib.Path(__file__).parents[1]
NOTHING_COLLECTED = 5  # pytest's exit code
GRACE_S = 60


@dataclasses.dataclass(frozen=True)
class Suite:
    """Tests of one folder on one interpreter."""

    folder: str
    needs_stack: bool = False
    needs_openstack: bool = False
    python: str = 'PYTHON'
    """The environment variable that names the interpreter."""
    label: str = ''
    processes: int = 0
    """How many share the tests, where these need nothing but a processor."""

    @property
    def name(self) -> str:
        return f'{self.folder} {self.label}'.strip()


SUITES = (
    Suite('static'),
    Suite('unit', processes=2),
    Suite(
        'unit',
        python='PYTHON_SQLALCHEMY20',
        label='(SQLAlchemy 2.0)',
        processes=2,
    ),
    Suite('migrations', needs_stack=True),
    Suite(
        'migrations',
        needs_stack=True,
        python='PYTHON_SQLALCHEMY20',
        label='(SQLAlchemy 2.0)',
    ),
    Suite('ceph', needs_stack=True),
    Suite('functional', needs_stack=True),
    Suite('nova', needs_stack=True, python='PYTHON_NOVA'),
    Suite('acceptance'),
    Suite('endtoend', needs_openstack=True, python='PYTHON_NOVA'),
)


@dataclasses.dataclass(frozen=True)
class Result:
    """What a suite came to; a skipped test is a failed one."""

    name: str
    passed: int
    failed: int
    seconds: float


class BackgroundServers:
    """Servers, started by another process so that work goes on here.

    ``package`` is what starts them, ``variable`` tells the suites where.
    """

    def __init__(self, package: str, variable: str) -> None:
        name = f'rbdcloner-{secrets.token_hex(4)}'
        self.folder = pathlib.Path('/tmp', name)  # short: it holds sockets
        os.environ[variable] = str(self.folder)
        self._package = package
        self._starter: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._starter = spawn(
            [sys.executable, '-m', self._package, 'up', str(self.folder)]
        )

    def wait(self) -> None:
        """Return once every server is ready, started now or before.

        :raises StackError: when they did not start; they have said why
        """
        if self._starter is None:
            self.start()
        if self._starter is None or self._starter.wait():
            raise StackError('the servers did not start')

    def end(self) -> None:
        """End every server, also while they start or if none was started."""
        if self._starter is not None and self._starter.poll() is None:
            interrupt(self._starter)
        down(self.folder)


def spawn(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own.

    Else Ctrl-C reaches it twice, from the terminal and from us, and the
    second one breaks off its tidying up.
    """
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True
    )


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started, with time to tidy up."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def count(report: pathlib.Path, exit_code: int) -> tuple[int, int]:
    """Passed and failed of a JUnit report; a crash is one failure."""
    passed = failed = 0
    if exit_code >= 0 and report.exists():
        for case in ElementTree.parse(report).iter('testcase'):
            bad = any(
                child.tag in ('error', 'failure', 'skipped') for child in case
            )
            passed, failed = passed + (not bad), failed + bad
    if not failed and exit_code:
        failed = 1
    return passed, failed


def run_suite(suite: Suite, expression: str | None) -> Result:
    """Run one suite with its output on ours."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder, 'junit.xml')
        command = [os.environ[suite.python], '-m', 'pytest', '-v']
        command += [f'--junitxml={report}', f'tests/{suite.folder}']
        if suite.processes:
            command += ['-n', str(suite.processes), '-p', 'no:cov']
        if expression:
            command += ['-k', expression]
        exit_code = run_to_end(command)
        if expression and exit_code == NOTHING_COLLECTED:
            exit_code = 0
        passed, failed = count(report, exit_code)
    return Result(suite.name, passed, failed, time.monotonic() - started)


def run_to_end(command: Sequence[str]) -> int:
    """Run a command; in the end nothing of its session runs any more."""
    process = spawn(command)
    try:
        return process.wait()
    finally:
        interrupt(process)


def run_suites(
    suites: Sequence[Suite],
    expression: str | None,
    stack: BackgroundServers,
    openstack: BackgroundServers,
) -> Iterator[Result]:
    """Run the suites in order and give each one's result."""
    for suite in suites:
        print(f'\n=== {suite.name}', flush=True)
        result = None
        for needed, servers in (
            (suite.needs_stack, stack),
            (suite.needs_openstack, openstack),
        ):
            if needed and result is None:
                result = attempt(f'{suite.name}: no servers', servers.wait)
        result = result or run_suite(suite, expression)
        print(f'=== {line(result)}', flush=True)
        yield result


def attempt(name: str, step: Callable[[], None]) -> Result | None:
    """Do the step; what goes wrong is shown, and is one failed result."""
    started = time.monotonic()
    try:
        step()
    except Exception:
        traceback.print_exc()
        return Result(name, 0, 1, time.monotonic() - started)
    return None


def run_all(suites: Sequence[Suite], expression: str | None) -> list[Result]:
    """Run the suites, with servers if one needs them, and end the servers."""
    results: list[Result] = []
    stack = BackgroundServers('tests.stack', 'RBDCLONER_STACK')
    openstack = BackgroundServers('tests.openstack', 'RBDCLONER_OPENSTACK')
    try:
        if any(suite.needs_stack for suite in suites):
            stack.start()
        results.extend(run_suites(suites, expression, stack, openstack))
    finally:
        # Impatience would leave servers running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        ends = [
            attempt('end of the servers', servers.end)
            for servers in (openstack, stack)
        ]
    return [*results, *(failure for failure in ends if failure)]


def line(result: Result) -> str:
    """A result as a row of the table."""
    return (
        f'{result.name:28} {result.passed:6} passed {result.failed:6} failed'
        f' {result.seconds:8.1f} s'
    )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    names = list(dict.fromkeys(suite.folder for suite in SUITES))
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
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    chosen = parse(arguments)
    suites = [suite for suite in SUITES if suite.folder in chosen.suites]
    if chosen.pythons:
        print(*{suite.python for suite in suites})
        return 0
    results = run_all(suites, chosen.k)
    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    if not passed and not failed:
        print('\nno test was run')
        failed = 1
    print('', *map(line, results), sep='\n')
    print(f'{passed} passed, {failed} failed', flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)

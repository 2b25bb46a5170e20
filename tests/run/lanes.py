# SPDX-License-Identifier: Apache-2.0
"""A lane: suites one after the other, on servers that no other lane has.

What a suite prints is kept until it ends: lines of two would mix. So is what
commands on another release print, of which a lane runs one after the other.
The servers' logs, which go with them, are kept where a test failed.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import dataclasses
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from typing import IO
from xml.etree import ElementTree

from tests.run import family
from tests.run import releases
from tests.run import servers
from tests.run.suites import Suite

_TESTS_FAILED, _NOTHING_COLLECTED = 1, 5  # pytest's exit codes
_LAST = 6000  # characters
_FAILURES = 10  # told at the end of the run, of a suite
_RUN_AGAIN = 3  # so many failed tests of a suite at the most
_OF_A_FAILURE = 1200  # characters
_LOGS = family.ROOT / '.venv' / 'logs'
_printing = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Result:
    """What a suite came to; a skipped test is a failed one."""

    name: str
    passed: int
    failed: int
    seconds: float
    died_of: str = ''
    """The signal that ended it, if one did."""
    failures: str = ''
    """Which tests failed and why, or what it printed last."""
    unreliable: str = ''
    """Which tests failed, and passed when they were run again."""


def count(report: pathlib.Path, exit_code: int) -> tuple[int, int, str]:
    """Return how much passed and failed of a JUnit report, and what failed.

    A crash is one failure, of which the report says nothing.
    """
    if exit_code < 0 or not report.exists():
        return 0, int(exit_code != 0), ''
    cases = list(ElementTree.parse(report).iter('testcase'))
    bad = [(case, child) for case in cases for child in case if _is_bad(child)]
    failed = len({id(case) for case, _ in bad})
    failures = [_failure(case, child) for case, child in bad[:_FAILURES]]
    if len(bad) > _FAILURES:
        failures.append(f'and {len(bad) - _FAILURES} more')
    passed = len(cases) - failed
    return passed, failed or int(exit_code != 0), '\n'.join(failures)


def _is_bad(child: ElementTree.Element) -> bool:
    return child.tag in ('error', 'failure', 'skipped')


def _failure(case: ElementTree.Element, child: ElementTree.Element) -> str:
    """Return a failed test's name and the end of what pytest says of it."""
    text = (child.text or child.get('message') or child.tag).strip()
    name = f'{case.get("classname")}::{case.get("name")}'
    return f'--- {name}\n{text[-_OF_A_FAILURE:]}'


#: A suite, or commands on one other release, in their order.
Work = Suite | Sequence[releases.Command]


class Lane:
    """Runs what waits, and of suites' tests what *expression* names."""

    def __init__(
        self,
        waiting: queue.SimpleQueue[Work],
        expression: str,
        members: family.Family,
    ) -> None:
        self._waiting = waiting
        self._expression = expression
        self._members = members
        self._stack = servers.Servers(
            members, 'tests.stack', 'RBDCLONER_STACK'
        )
        self._openstack = servers.Servers(
            members, 'tests.openstack', 'RBDCLONER_OPENSTACK'
        )

    def run(self) -> list[Result]:
        """Run until nothing waits; the servers end with the last suite.

        :raises Ended: the lane's family was ended meanwhile
        """
        results: list[Result] = []
        try:
            with contextlib.suppress(queue.Empty):
                while True:
                    work = self._waiting.get_nowait()
                    if isinstance(work, Suite):
                        results.append(self._result(work))
                    else:
                        results += map(self._release_result, work)
        finally:
            for each in (self._openstack, self._stack):
                failure = _attempt('end of the servers', each.end)
                results += [failure] if failure else []
        return results

    def _result(self, suite: Suite) -> Result:
        result = self._shown(
            suite.name,
            lambda output: (
                self._without_servers(suite) or self._run(suite, output)
            ),
        )
        if result.failures or result.unreliable:
            self._keep_logs(suite)
        return result

    def _keep_logs(self, suite: Suite) -> None:
        """Copy what the suite's servers logged; the last run's copy goes."""
        kept = _LOGS / pathlib.Path(suite.name.replace(' ', '-')).name
        shutil.rmtree(kept, ignore_errors=True)
        chosen = self._openstack if suite.needs_openstack else self._stack
        if chosen.copy_logs(kept):
            _say(f'=== {suite.name}: the logs of its servers are in {kept}\n')

    def _release_result(self, command: releases.Command) -> Result:
        return self._shown(
            command.name,
            lambda output: self._run_on_release(command, output),
        )

    def _shown(self, name: str, run: Callable[[IO[bytes]], Result]) -> Result:
        """Run it, and print whole what it wrote to the file that it gets."""
        self._members.require_life()
        _say(f'=== {name} ...\n')
        with tempfile.TemporaryFile() as output:
            result = run(output)
            said = _text(output)
        _say(f'\n=== {name}\n{said}=== {line(result)}\n')
        if result.failed and not result.failures:
            return dataclasses.replace(result, failures=said[-_LAST:])
        return result

    def _without_servers(self, suite: Suite) -> Result | None:
        """Start what the suite needs; a failed result if that fails."""
        name = f'{suite.name}: no servers'
        if suite.needs_openstack:
            return _attempt(name, self._openstack.start)
        if suite.needs_stack:
            return _attempt(name, self._stack.start)
        return None

    def _run(self, suite: Suite, output: IO[bytes]) -> Result:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            report = pathlib.Path(folder, 'junit.xml')
            command = self._command(suite, report)
            code = self._run_to_end(command, output)
            if self._expression and code == _NOTHING_COLLECTED:
                code = 0
            passed, failed, failures = count(report, code)
            if code == _TESTS_FAILED and failed <= _RUN_AGAIN:
                again = [*command, '--last-failed', '--lfnf=none']
                code = self._run_to_end(again, output)
                now_passed, now_failed, still = count(report, code)
                if not now_failed and now_passed == failed:
                    ended = (passed + failed, 0, '')
                    result = _ended(suite.name, ended, started, code)
                    return dataclasses.replace(result, unreliable=failures)
                failures = still or failures
        return _ended(suite.name, (passed, failed, failures), started, code)

    def _run_on_release(
        self, command: releases.Command, output: IO[bytes]
    ) -> Result:
        started = time.monotonic()
        code = self._run_to_end(command.line, output)
        passed, failed = releases.count(_text(output), code)
        return _ended(command.name, (passed, failed, ''), started, code)

    def _command(self, suite: Suite, report: pathlib.Path) -> list[str]:
        command = [os.environ[suite.python], '-m', 'pytest', '-v']
        tests = str(pathlib.Path('tests', suite.folder))
        # Beside the report: suites that run at once keep what failed apart.
        command += ['-o', f'cache_dir={report.with_name("cache")}']
        command += [f'--junitxml={report}', tests]
        if suite.processes:
            command += ['-n', str(suite.processes), '-p', 'no:cov']
        if suite.marker:
            command += ['-m', suite.marker]
        if self._expression:
            command += ['-k', self._expression]
        return command

    def _run_to_end(self, command: Sequence[str], output: IO[bytes]) -> int:
        """Run a command; in the end nothing of its session runs any more."""
        where = {
            each.variable: str(each.folder)
            for each in (self._stack, self._openstack)
        }
        process = self._members.spawn(
            command,
            env=os.environ | where,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            return process.wait()
        finally:
            family.end(process)


def _ended(
    name: str, counted: tuple[int, int, str], started: float, code: int
) -> Result:
    passed, failed, failures = counted
    seconds = time.monotonic() - started
    died_of = signal.Signals(-code).name if code < 0 else ''
    return Result(name, passed, failed, seconds, died_of, failures)


def _text(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode(errors='replace')


def _attempt(name: str, step: Callable[[], None]) -> Result | None:
    """Do the step; what goes wrong is shown, and is one failed result.

    :raises Ended: it was not begun
    """
    started = time.monotonic()
    try:
        step()
    except family.Ended:
        raise
    except Exception:
        said = traceback.format_exc()
        _say(said)
        seconds = time.monotonic() - started
        return Result(name, 0, 1, seconds, failures=said[-_LAST:])
    return None


def _say(text: str) -> None:
    """Print it at once: lines of two lanes would mix."""
    with _printing:
        sys.stdout.write(text)
        sys.stdout.flush()


def line(result: Result) -> str:
    """A result as a row of the table."""
    counts = f'{result.passed:6} passed {result.failed:6} failed'
    seconds = f'{result.seconds:8.1f} s'
    return f'{result.name:40} {counts} {seconds} {result.died_of}'.rstrip()

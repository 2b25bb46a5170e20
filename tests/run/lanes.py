# SPDX-License-Identifier: Apache-2.0
"""A lane: suites one after the other, with servers of their own.

What a suite prints is kept until it ends: lines of two would mix.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from xml.etree import ElementTree

from tests.run import servers
from tests.run.suites import Suite

_NOTHING_COLLECTED = 5  # pytest's exit code
_printing = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Result:
    """What a suite came to; a skipped test is a failed one."""

    name: str
    passed: int
    failed: int
    seconds: float


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


class Lane:
    """Runs some suites; *expression* chooses among their tests."""

    def __init__(self, suites: Sequence[Suite], expression: str) -> None:
        self._suites = suites
        self._expression = expression
        self._stack = servers.BackgroundServers(
            'tests.stack', 'RBDCLONER_STACK'
        )
        self._openstack = servers.BackgroundServers(
            'tests.openstack', 'RBDCLONER_OPENSTACK'
        )
        self._stopped = False
        self._running: subprocess.Popen[bytes] | None = None

    def run(self) -> list[Result]:
        """Run every suite; the servers, too, which end with the last one."""
        results: list[Result] = []
        try:
            if any(suite.needs_stack for suite in self._suites):
                self._stack.start()
            results.extend(self._results())
        finally:
            for each in (self._openstack, self._stack):
                failure = _attempt('end of the servers', each.end)
                results += [failure] if failure else []
        return results

    def stop(self) -> None:
        """End the suite that runs, and begin no other."""
        self._stopped = True
        running = self._running
        if running is not None:
            servers.interrupt(running)

    def _results(self) -> Iterator[Result]:
        for suite in self._suites:
            if self._stopped:
                return
            print(f'=== {suite.name} ...', flush=True)
            with tempfile.TemporaryFile() as output:
                result = self._without_servers(suite)
                result = result or self._run(suite, output.fileno())
                output.seek(0)
                with _printing:
                    print(f'\n=== {suite.name}', flush=True)
                    sys.stdout.buffer.write(output.read())
                    print(f'=== {line(result)}', flush=True)
            yield result

    def _without_servers(self, suite: Suite) -> Result | None:
        """Wait for what the suite needs; a failed result if that fails."""
        name = f'{suite.name}: no servers'
        if suite.needs_openstack:
            return _attempt(name, self._openstack.wait)
        if suite.needs_stack:
            return _attempt(name, self._stack.wait)
        return None

    def _run(self, suite: Suite, output: int) -> Result:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            report = pathlib.Path(folder, 'junit.xml')
            code = self._run_to_end(self._command(suite, report), output)
            if self._expression and code == _NOTHING_COLLECTED:
                code = 0
            passed, failed = count(report, code)
        return Result(suite.name, passed, failed, time.monotonic() - started)

    def _command(self, suite: Suite, report: pathlib.Path) -> list[str]:
        command = [os.environ[suite.python], '-m', 'pytest', '-v']
        command += [f'--junitxml={report}', f'tests/{suite.folder}']
        if suite.processes:
            command += ['-n', str(suite.processes), '-p', 'no:cov']
        if self._expression:
            command += ['-k', self._expression]
        return command

    def _run_to_end(self, command: Sequence[str], output: int) -> int:
        """Run a command; in the end nothing of its session runs any more."""
        where = {
            each.variable: str(each.folder)
            for each in (self._stack, self._openstack)
        }
        self._running = servers.spawn(
            command,
            env=os.environ | where,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            return self._running.wait()
        finally:
            servers.interrupt(self._running)
            self._running = None


def _attempt(name: str, step: Callable[[], None]) -> Result | None:
    """Do the step; what goes wrong is shown, and is one failed result."""
    started = time.monotonic()
    try:
        step()
    except Exception:
        traceback.print_exc()
        return Result(name, 0, 1, time.monotonic() - started)
    return None


def line(result: Result) -> str:
    """A result as a row of the table."""
    return (
        f'{result.name:28} {result.passed:6} passed {result.failed:6} failed'
        f' {result.seconds:8.1f} s'
    )

# SPDX-License-Identifier: Apache-2.0
"""Suites are run to their end, counted, and ended when they are to."""

from concurrent import futures
import itertools
import queue
import sys

import psutil
import pytest

from tests.run import family
from tests.run import lanes
from tests.run import releases
from tests.run import servers
from tests.run import suites
from tests.stack import process

PASSES = 'def test_passes(): pass\n'
SKIPS = 'import pytest\ndef test_skips(): pytest.skip("it is late")\n'
FAILS = 'def test_fails(): assert not "a reason"\n'
FAILS_ONCE = """
import pathlib
def test_fails_once():
    mark = pathlib.Path(__file__).with_name('mark')
    seen = mark.exists()
    mark.touch()
    assert seen
"""
DIES = 'import os\ndef test_dies(): os.abort()\n'
WAITS = """
import pathlib, subprocess, time
def test_waits():
    child = subprocess.Popen(['sleep', '600'])
    pathlib.Path(__file__).with_name('child').write_text(str(child.pid))
    time.sleep(600)
"""


@pytest.fixture
def members():
    made = family.Family()
    yield made
    made.end()


@pytest.fixture
def lane_of(members, tmp_path, monkeypatch):
    """Make a lane of suites, each of one file."""
    monkeypatch.setenv('PYTHON', sys.executable)

    numbers = itertools.count()

    def make(*texts, expression=''):
        waiting = queue.SimpleQueue()
        for text in texts:
            number = next(numbers)
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / f'test_{number}.py').write_text(text)
            waiting.put(suites.Suite(str(folder), label=f'number {number}'))
        return lanes.Lane(waiting, expression, members)

    return make


def counts(results):
    return [(each.passed, each.failed) for each in results]


@pytest.mark.parametrize(
    ('text', 'counted'),
    [
        (PASSES, (1, 0)),
        (PASSES + FAILS, (1, 1)),
        (PASSES + SKIPS, (1, 1)),
        (PASSES + DIES, (0, 1)),
        ('nonsense', (0, 1)),
        ('', (0, 1)),
    ],
)
def test_nothing_but_a_passed_test_counts_as_passed(lane_of, text, counted):
    assert counts(lane_of(text).run()) == [counted]


def test_suite_that_dies_says_in_which_test(lane_of, capsys):
    lane_of(PASSES + DIES).run()
    assert '::test_dies' in capsys.readouterr().out


def test_failed_test_is_named_with_its_reason(lane_of):
    (result,) = lane_of(PASSES + FAILS).run()
    assert '::test_fails\n' in result.failures
    assert "assert not 'a reason'" in result.failures
    assert 'test_passes' not in result.failures


def test_unreliable_test_is_run_again_and_named(lane_of):
    (result,) = lane_of(PASSES + FAILS_ONCE).run()
    assert counts([result]) == [(2, 0)]
    assert '::test_fails_once\n' in result.unreliable
    assert not result.failures


def test_suite_that_is_broken_is_not_run_again(lane_of):
    broken = ''.join(FAILS.replace('fails', f'fails_{n}') for n in range(4))
    (result,) = lane_of(broken + FAILS_ONCE).run()
    assert counts([result]) == [(0, 5)]
    assert not result.unreliable


@pytest.mark.parametrize('text', [PASSES + DIES, ''])
def test_failure_without_a_report_shows_the_last_output(lane_of, text):
    (result,) = lane_of(text).run()
    assert result.failures.strip()


@pytest.mark.parametrize('text', [PASSES, FAILS, FAILS_ONCE])
def test_logs_of_the_servers_are_kept_where_a_test_failed(
    lane_of, tmp_path, monkeypatch, text
):
    monkeypatch.setattr(lanes, '_LOGS', tmp_path / 'logs')
    lane = lane_of(text)
    log = lane._stack.folder / 'log' / 'glance.out'
    log.parent.mkdir(parents=True)
    (lane._stack.folder / 'stack.json').write_text('{}')
    log.write_text('it refused')
    lane.run()
    kept = [each.read_text() for each in tmp_path.glob('logs/*/glance.out')]
    assert kept == ([] if text is PASSES else ['it refused'])
    assert not lane._stack.folder.exists()


def test_suite_that_passes_has_no_failures(lane_of):
    (result,) = lane_of(PASSES).run()
    assert not result.failures


def test_expression_that_names_no_test_of_a_suite_is_no_failure(lane_of):
    lane = lane_of(PASSES, FAILS, expression='passes')
    assert counts(lane.run()) == [(1, 0), (0, 0)]


@pytest.mark.parametrize(
    ('output', 'exit_code', 'counted'),
    [
        ('Everything was as printed.', 0, (1, 0)),
        ('The demonstration failed', 1, (0, 1)),
        ('one\n12 passed, 0 failed\n', 0, (12, 0)),
        ('12 passed, 3 failed', 1, (12, 3)),
        ('12 passed, 0 failed', 1, (12, 1)),
        ('12 passed, 0 failed\nand then it died', 1, (0, 1)),
        ('', -9, (0, 1)),
    ],
)
def test_command_of_a_release_counts_as_it_says(output, exit_code, counted):
    assert releases.count(output, exit_code) == counted


def test_commands_of_a_release_run_in_their_order(members, capsys):
    waiting = queue.SimpleQueue()
    own = releases.own()
    waiting.put(
        [
            releases.Command(
                own, ['sh', '-c', 'echo first; echo 2 passed, 1 failed']
            ),
            releases.Command(own, ['sh', '-c', 'echo second']),
        ]
    )
    results = lanes.Lane(waiting, '', members).run()
    assert counts(results) == [(2, 1), (1, 0)]
    said = capsys.readouterr().out
    assert said.index('first\n') < said.index('second\n')


def test_lanes_share_the_suites_and_mix_no_lines(lane_of, tmp_path, capsys):
    lane = lane_of(*[f'def test_{name}(): pass' for name in 'abcd'])
    other = lanes.Lane(lane._waiting, '', lane._members)
    with futures.ThreadPoolExecutor(2) as pool:
        ends = [pool.submit(each.run) for each in (lane, other)]
        names = [each.name for end in ends for each in end.result()]
    assert len(set(names)) == len(names) == 4
    said = capsys.readouterr().out.splitlines()
    ours = [line for line in said if line.startswith(f'=== {tmp_path}')]
    for name in names:
        assert ours.count(f'=== {name} ...') == 1
        end = ours[ours.index(f'=== {name}') + 1]
        assert end.startswith(f'=== {name}  '), ours


def test_suite_and_what_it_started_end_when_they_are_to(
    lane_of, members, tmp_path, capsys
):
    lane = lane_of(WAITS, PASSES)
    child = tmp_path / '0' / 'child'
    with futures.ThreadPoolExecutor(1) as pool:
        end = pool.submit(lane.run)
        process.wait_until(
            lambda: child.exists() and child.read_text(), 'a child'
        )
        started = psutil.Process(int(child.read_text()))
        members.end()
        with pytest.raises(family.Ended):
            end.result()
    assert not process._is_alive(started)
    assert 'number 1' not in capsys.readouterr().out


@pytest.mark.parametrize('own', ['bookworm', 'trixie'])
def test_run_of_one_release_makes_no_root_of_another(own):
    chosen = suites.choose([], None, [own])
    assert {suite.release for suite in chosen} <= {'', own}


def test_suite_that_is_part_of_another_runs_by_its_name_only():
    whole = suites.choose([], None, releases.COMMANDS)
    (smoke,) = suites.choose(['smoke'])
    assert smoke not in whole
    assert smoke.folder in {suite.folder for suite in whole}


def test_nothing_is_started_after_the_end(members):
    members.end()
    with pytest.raises(family.Ended):
        members.spawn(['true'])


def test_servers_that_still_start_are_ended(members):
    starting = servers.Servers(members, 'tests.stack', 'UNUSED')
    pids = starting.folder / 'pids'
    with futures.ThreadPoolExecutor(1) as pool:
        start = pool.submit(starting.start)
        process.wait_until(lambda: any(pids.glob('*.pid')), 'a first server')
        members.end()
        with pytest.raises(family.Ended):
            start.result()
    starting.end()
    assert not starting.folder.exists()
    assert not [
        one
        for one in psutil.process_iter(['cmdline'])
        if str(starting.folder) in ' '.join(one.info['cmdline'] or ())
    ]

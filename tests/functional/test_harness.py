# SPDX-License-Identifier: Apache-2.0
"""Daemons start, are watched, and end for sure."""

import pathlib
import threading
import time

import psutil
import pytest

from tests.functional import service
from tests.stack import ports
from tests.stack import process
from tests.stack import server


@pytest.fixture
def folder(tmp_path):
    server.prepare(tmp_path)
    return tmp_path


def daemon(folder, script, is_ready=lambda: True):
    return process.Daemon('one', folder, ['sh', '-c', script], is_ready)


def test_end_by_another_handle_takes_the_family(folder):
    daemon(folder, 'sleep 60 & sleep 60').start()
    other = daemon(folder, 'never started')
    process.wait_until(lambda: other.process.children(), 'child')
    family = [other.process, *other.process.children()]
    other.stop()
    assert not other.running
    assert not [one for one in family if process._is_alive(one)]


def test_what_ignores_sigterm_is_killed(folder):
    ready = folder / 'ready'
    stubborn = daemon(
        folder,
        f"trap '' TERM; touch {ready}; while :; do sleep .1; done",
        ready.exists,
    )
    stubborn.start()
    stubborn.stop(timeout_s=0.2)
    assert not stubborn.running


def test_death_during_start_is_told_at_once_with_the_log(folder):
    dying = daemon(folder, 'echo the reason; exit 3', lambda: False)
    begun = time.monotonic()
    with pytest.raises(process.StackError, match='the reason'):
        dying.start()
    assert time.monotonic() - begun < dying.timeout_s / 2


def test_abandoned_start_fails(folder):
    slow = daemon(folder, 'sleep 60', lambda: False)
    threading.Timer(0.1, slow.abandoned.set).start()
    with pytest.raises(process.Abandoned):
        slow.start()
    slow.kill()


def test_pause_keeps_it_and_resume_lets_it_run(folder):
    # A shell that forks now waits, unstoppable, for a child that is stopped.
    paused = daemon(folder, 'exec sleep 60')
    paused.start()
    paused.pause()
    process.wait_until(
        lambda: paused.process.status() == psutil.STATUS_STOPPED, 'stopped'
    )
    paused.resume()
    process.wait_until(
        lambda: paused.process.status() != psutil.STATUS_STOPPED, 'resumed'
    )
    paused.kill()
    assert not paused.running


def test_pid_of_somebody_else_is_not_ours(folder):
    file = process.PidFile(folder / 'pids' / 'one.pid')
    me = psutil.Process()
    file.write(me.pid)
    assert file.process() == me
    file.path.write_text(f'{me.pid} 1\n')
    assert file.process() is None


def test_run_gives_the_log_when_a_command_fails(folder):
    log = pathlib.Path(folder / 'log' / 'run.out')
    with pytest.raises(process.StackError, match='why it failed'):
        process.run(['sh', '-c', 'echo why it failed; false'], log)


def test_no_port_is_given_twice():
    claimed = [ports.claim() for _ in range(50)]
    assert len(set(claimed)) == 50


def test_what_was_waited_for_is_not_asked_for_again():
    looks = iter(['before', 'wanted', 'after'])
    anybody = service.ServiceTest('assert_becomes')
    anybody.assert_becomes('wanted', lambda: next(looks))
    with pytest.raises(AssertionError, match='after'):
        anybody.assert_becomes('wanted', lambda: 'after', within_s=0)

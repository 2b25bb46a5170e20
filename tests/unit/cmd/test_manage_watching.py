# SPDX-License-Identifier: Apache-2.0
"""A wait says how far it is, and ends when it should."""

import io

import pytest

from rbdcloner import errors
from rbdcloner.cmd.manage import watching
from rbdcloner.cmd.manage.watching import Status


class Terminal(io.StringIO):
    """What can overwrite a line."""

    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on in pauses alone: no test may sleep."""

    class Clock:
        now = 0.0
        pause = 1.0

        def go_on(self):
            self.now += self.pause

    clock = Clock()
    monkeypatch.setattr(watching, '_pause', clock.go_on)
    monkeypatch.setattr(watching, '_now', lambda: clock.now)
    return clock


def looks(*statuses):
    """Return what sees these one after the other."""
    return iter(statuses).__next__


DONE = Status('all', over=True, done=True)


def test_a_terminal_has_one_line_that_changes(clock, monkeypatch):
    monkeypatch.setenv('COLUMNS', '9')
    out = Terminal()
    look = looks(Status('one of a thousand'), Status('two'), DONE)
    assert watching.watch(look, out, 0) is True
    assert out.getvalue() == '\r\x1b[Kone of a\r\x1b[Ktwo\r\x1b[Kall\n'


def test_elsewhere_a_line_is_written_now_and_then(clock):
    out = io.StringIO()
    clock.pause = 4
    look = looks(*(Status(str(number)) for number in range(6)), DONE)
    watching.watch(look, out, 0)
    assert out.getvalue().splitlines() == ['0', '3', 'all']


def test_elsewhere_what_does_not_change_is_rarely_repeated(clock):
    out = io.StringIO()
    look = looks(*[Status('same')] * 302, DONE)
    watching.watch(look, out, 0)
    assert out.getvalue().splitlines() == ['same', 'same', 'all']


def test_a_wait_can_have_an_end(clock):
    out = io.StringIO()
    assert watching.watch(lambda: Status('half'), out, 5) is False
    assert clock.now == 5
    assert out.getvalue().splitlines()[-1] == (
        'Not done within 5 s (half). The managers go on with it.'
    )


def test_a_refusal_is_no_success(clock):
    out = io.StringIO()
    assert watching.watch(looks(Status('no', over=True)), out, 0) is False
    assert out.getvalue() == 'no\n'


def test_a_database_that_is_away_is_waited_for(clock):
    seen = looks(errors.DatabaseUnavailable(reason='a restart'), DONE)

    def look():
        status = seen()
        if isinstance(status, Exception):
            raise status
        return status

    out = io.StringIO()
    assert watching.watch(look, out, 0) is True
    assert 'did not answer: a restart' in out.getvalue()

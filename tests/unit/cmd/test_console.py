# SPDX-License-Identifier: Apache-2.0
"""What an operator reads when a command cannot do its work."""

import importlib
import signal
import sys

from oslo_config import cfg
import pytest

from rbdcloner import bindings
from rbdcloner import errors
from rbdcloner.cmd import console
from rbdcloner.cmd import explanation
from rbdcloner.cmd import installed


def failing(error):
    def main():
        raise error

    return main


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Add installed packages, by name, release and what they ask for."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(name, version, *requirements):
        folder = tmp_path / f'{name}-{version}.dist-info'
        folder.mkdir()
        asked = ''.join(f'Requires-Dist: {one}\n' for one in requirements)
        (folder / 'METADATA').write_text(
            f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{asked}'
        )
        importlib.invalidate_caches()

    return add


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (
            errors.ConfigurationError(problem='There is none', remedy='Do'),
            'There is none. Do.',
        ),
        (
            bindings.BindingsMissing('rbd', 'No module', 'Install it'),
            'No module. Install it.',
        ),
        (
            cfg.ConfigFilesNotFoundError(['/some/file']),
            'Failed to find some config files: /some/file. '
            'Correct the configuration.',
        ),
        (
            cfg.ConfigFilesPermissionDeniedError(['/some/file']),
            'Failed to open some config files: /some/file. '
            'Let the user who runs this read them.',
        ),
        (
            FileNotFoundError(2, 'No such file or directory', '/a/file'),
            "[Errno 2] No such file or directory: '/a/file'.",
        ),
        (
            UnicodeDecodeError('utf-8', b'\xff', 0, 1, 'invalid'),
            "A configuration file is not text in UTF-8: 'utf-8' codec can't "
            'decode byte 0xff in position 0: invalid.',
        ),
        (
            KeyError('two\nlines'),
            "Unexpected error: KeyError: 'two\\nlines'. "
            'Run it with --debug for the details.',
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_error_is_one_line_with_a_remedy(capsys, error, line):
    assert console.run('program', failing(error)) == 1
    assert capsys.readouterr() == ('', f'program: {line}\n')


def test_debugging_shows_the_traceback_before_the_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['program', '--debug'])
    assert console.run('program', failing(KeyError('x'))) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith('Traceback')
    assert lines[-1].startswith('program: Unexpected error')


@pytest.mark.parametrize(
    ('error', 'number'),
    [(KeyboardInterrupt, signal.SIGINT), (BrokenPipeError, signal.SIGPIPE)],
)
def test_signals_end_a_command_without_a_word(capsys, error, number):
    assert console.run('program', failing(error())) == 128 + number
    assert capsys.readouterr() == ('', '')


def test_exit_codes_of_the_command_are_kept(capsys):
    assert console.run('program', lambda: 3) == 3
    with pytest.raises(SystemExit):
        console.run('program', failing(SystemExit(2)))


def test_broken_library_is_named_with_its_file(tmp_path, monkeypatch):
    """As Debian's pyOpenSSL is with another release of cryptography."""
    (tmp_path / 'broken_library.py').write_text('None.attribute\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(AttributeError) as raised:
        importlib.import_module('broken_library')
    line = explanation.of(raised.value)
    assert line.startswith(f'{tmp_path}/broken_library.py cannot be imported')
    assert '--system-site-packages' in line


def test_error_behind_a_failed_import_is_named(tmp_path, monkeypatch):
    """As oslo.service does it where a library of its backend is broken."""
    (tmp_path / 'hiding.py').write_text(
        'try:\n    None.attribute\nexcept AttributeError:\n'
        '    raise ImportError("not found")\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportError) as raised:
        importlib.import_module('hiding')
    assert "no attribute 'attribute'" in explanation.of(raised.value)


def test_nothing_is_wrong_with_what_is_installed_here():
    assert installed.problems('rbdcloner', 'manager') == []


def test_missing_and_old_packages_are_named_at_any_depth(packages):
    packages(
        'first', '1', 'second>=2; extra == "more"', 'other; extra == "less"'
    )
    packages('second', '2.1', 'third[deep]>=3', 'old>=5')
    packages('third', '3', 'missing-b', 'missing-a; extra == "deep"', 'first')
    packages('old', '4.9', 'old>=6')
    assert installed.problems('first', 'more') == [
        'Not installed: missing-a, missing-b',
        'old 4.9 is installed, second needs >=5',
    ]
    assert installed.problems('first', '') == []


def test_many_missing_packages_are_counted(packages):
    packages('first', '1', *(f'missing-{number}' for number in range(7)))
    assert installed.problems('first', '') == [
        'Not installed: missing-0, missing-1, missing-2, missing-3 '
        'and 3 more packages'
    ]

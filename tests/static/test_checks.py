# SPDX-License-Identifier: Apache-2.0
"""Run every linter, each as one test that shows the linter's own words.

A check is a command that exits 0, so that the suite, tox and pre-commit run
the same one; its settings stand in pyproject.toml and tox.ini.
"""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
BIN = pathlib.Path(sys.executable).parent
PAGES = sorted((*ROOT.glob('*.rst'), *ROOT.glob('doc/source/**/*.rst')))
ETC = pathlib.Path('etc/rbdcloner')

CHECKS = {
    'ruff-check': ['ruff', 'check', '.'],
    'ruff-format': ['ruff', 'format', '--diff', '.'],
    'hacking': ['flake8', '.'],
    'import-contract': ['lint-imports'],
    'mypy': ['mypy'],
    'release-notes': ['reno', 'lint'],
    **{
        f'page-{page.stem}': ['docutils', '--strict', str(page), '/dev/null']
        for page in PAGES
    },
}


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run one of the environment's own programs at the repository's root."""
    program, *arguments = command
    return subprocess.run(
        [BIN / program, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize('check', CHECKS)
def test_check_finds_nothing(check: str) -> None:
    done = run(CHECKS[check])
    assert done.returncode == 0, done.stdout


def test_config_sample_is_the_generated_one(tmp_path: pathlib.Path) -> None:
    sample = tmp_path / 'sample'
    generator = ETC / 'rbdcloner-config-generator.conf'
    done = run(
        [
            'oslo-config-generator',
            f'--config-file={generator}',
            f'--output-file={sample}',
        ]
    )
    assert done.returncode == 0, done.stdout
    committed = ROOT / ETC / 'rbdcloner.conf.sample'
    assert committed.read_text() == sample.read_text(), (
        'run: tox -e genconfig, and commit the sample'
    )

# SPDX-License-Identifier: Apache-2.0
"""The checkout's wheel in Nova's environment, made anew when it changed.

Nova finds a driver beside its own modules alone, so what is tested has to be
installed as its users install it.
"""

from __future__ import annotations

import fcntl
import hashlib
import pathlib
import tempfile

from tests.stack import process

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = ('etc', 'nova', 'rbdcloner')
FILES = ('LICENSE', 'README.rst', 'pyproject.toml', 'requirements.txt')
FILES += ('setup.cfg', 'setup.py')
# pbr asks git for a version, and for what its own files say of the history.
ENVIRONMENT = {
    'PBR_VERSION': '0.0.1.dev1',
    'SKIP_GENERATE_AUTHORS': '1',
    'SKIP_WRITE_GIT_CHANGELOG': '1',
}


def install(venv: pathlib.Path | str, log: pathlib.Path) -> bool:
    """Have the environment hold what the checkout does; whether it was work.

    :raises StackError: when it cannot be built, with what was printed
    """
    stamp = pathlib.Path(venv, 'wheel-stamp')
    with pathlib.Path(venv, 'wheel-lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        digest = _digest()
        if stamp.exists() and stamp.read_text() == digest:
            return False
        with tempfile.TemporaryDirectory() as folder:
            _build(pathlib.Path(venv), pathlib.Path(folder), log)
        stamp.write_text(digest)
    return True


def _sources() -> list[pathlib.Path]:
    found = [ROOT / name for name in FILES]
    for name in SOURCES:
        found += (ROOT / name).rglob('*')
    return sorted(
        path
        for path in found
        if path.is_file() and '__pycache__' not in path.parts
    )


def _digest() -> str:
    summed = hashlib.sha256()
    for path in _sources():
        summed.update(f'{path.relative_to(ROOT)}\0'.encode())
        summed.update(hashlib.sha256(path.read_bytes()).digest())
    return summed.hexdigest()


def copy_sources(folder: pathlib.Path, log: pathlib.Path) -> None:
    """Make *folder*, with all that a wheel is built from.

    A build leaves files behind, and takes them for sources.
    """
    for path in _sources():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    # pbr packs what git knows.
    for command in (('init', '-q'), ('add', '-A')):
        process.run(('git', '-C', folder, *command), log)


def _build(
    venv: pathlib.Path, folder: pathlib.Path, log: pathlib.Path
) -> None:
    copy = folder / 'sources'
    copy_sources(copy, log)
    pip = (venv / 'bin' / 'python', '-m', 'pip', '--no-input')
    process.run(
        (
            *(*pip, 'install', '--no-deps', '--no-build-isolation'),
            *('--force-reinstall', '--no-index', copy),
        ),
        log,
        env=ENVIRONMENT,
    )

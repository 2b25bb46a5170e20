# SPDX-License-Identifier: Apache-2.0
"""Programs that the demonstration runs as its reader would."""

from __future__ import annotations

from collections.abc import Callable
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from tests import stack

_PROGRAMS = pathlib.Path(sys.executable).parent
_TIMEOUT_S = 120


class Rbd:
    """The rbd command, as a user of one cluster."""

    def __init__(self, conf: pathlib.Path, user: str) -> None:
        self._command = ['rbd', '-c', str(conf), '--id', user]

    def run(self, *arguments: str) -> str:
        """What it prints."""
        return _run([*self._command, *arguments])

    def used_bytes(self, image: str) -> int:
        """What an image takes in Ceph beside its parent."""
        said = json.loads(self.run('du', '--format', 'json', image))
        return sum(int(one['used_size']) for one in said['images'])

    def import_file(
        self,
        path: pathlib.Path,
        image: str,
        progress: Callable[[int, int], None],
    ) -> None:
        """Import a file as an image; *progress* is of its bytes.

        :raises StackError: it failed, with its words
        """
        said, size_bytes = '', path.stat().st_size
        command = [*self._command, 'import', str(path), image]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as importing:
            try:
                assert importing.stderr is not None
                while read := importing.stderr.read1(4096):  # type: ignore[attr-defined]
                    said = said[-4096:] + read.decode(errors='replace')
                    if percents := re.findall(r'(\d+)% complete', said):
                        done_bytes = int(percents[-1]) * size_bytes // 100
                        progress(done_bytes, size_bytes)
            except BaseException:
                importing.kill()
                raise
        if importing.returncode:
            raise stack.StackError(f'rbd import: {said[-2000:]}')


class Manage:
    """rbdcloner-manage, on one configuration file."""

    def __init__(self, conf: pathlib.Path) -> None:
        program = str(_PROGRAMS / 'rbdcloner-manage')
        self._command = [program, '--config-file', str(conf)]

    def lineage(self, verb: str, *arguments: str) -> str:
        """What ``rbdcloner-manage lineage VERB …`` prints."""
        return _run([*self._command, 'lineage', verb, *arguments])


def _run(command: list[str]) -> str:
    """What a command prints; its errors are shown only if it fails."""
    with tempfile.TemporaryFile('w+') as errors:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            timeout=_TIMEOUT_S,
        )
        if done.returncode:
            errors.seek(0)
            name = pathlib.Path(command[0]).name
            raise stack.StackError(
                f'{name} exited {done.returncode}: {errors.read()[-2000:]}'
            )
    return done.stdout


def explanation(
    folder: pathlib.Path, conf: pathlib.Path, ceph_conf: pathlib.Path
) -> str:
    """How to talk to a service that is left running."""
    return f"""
Everything goes on running. To talk to it:

  {_PROGRAMS}/rbdcloner-manage \\
      --config-file {conf} \\
      lineage tree
  ceph -c {ceph_conf} -s
  rbd -c {ceph_conf} ls -l vms

  {sys.executable}
  >>> from oslo_config import cfg; from oslo_context import context
  >>> from rbdcloner import conf, rpcapi
  >>> file = '{conf}'
  >>> conf.register(cfg.CONF); conf.load(cfg.CONF, [], [file])
  >>> api = rpcapi.API.from_conf(cfg.CONF)
  >>> print(api.ping(context.RequestContext()))

To end it: tools/demo down {folder}
"""

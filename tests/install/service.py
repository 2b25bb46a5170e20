# SPDX-License-Identifier: Apache-2.0
"""A manager in a root, started as systemd or a container engine does.

Neither runs in a root. So what ``systemctl enable --now`` does with a unit is
done here, and only that: the program of ``ExecStart`` as ``User``, with the
folders of the unit, until it says that it is ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import configparser
import shlex
import socket
import subprocess
from typing import Self

import psutil

from tests.install import root
from tests.install import shell

_NOTIFY = '/run/rbdcloner-notify'
_LOG = '/root/manager.log'
_READY_WITHIN_S = 120  # the unit's TimeoutStartSec


class Service:
    """A program of a root that runs as a user and says when it is ready."""

    def __init__(
        self,
        where: root.Root,
        command: Sequence[str],
        user: str,
        group: str,
        env: Mapping[str, str],
    ) -> None:
        self._root = where
        self._command = ['setpriv', f'--reuid={user}', f'--regid={group}']
        self._command += ['--init-groups', '--', *command]
        # The user's own environment, and nothing of ours.
        self._env = {
            'PATH': shell.environment()['PATH'],
            'NOTIFY_SOCKET': _NOTIFY,
            **env,
        }

    def __enter__(self) -> Self:
        notify = self._root.path(_NOTIFY)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
            heard.bind(str(notify))
            notify.chmod(0o777)
            heard.settimeout(_READY_WITHIN_S)
            with self._root.path(_LOG).open('w') as log:
                self._process = subprocess.Popen(
                    [*self._root.entry, *self._command],
                    env=self._env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            try:
                said = heard.recv(1024).decode()
            except BaseException as exc:
                self.__exit__()
                raise AssertionError(self.log) from exc
            finally:
                notify.unlink()
        assert said == 'READY=1', said
        return self

    def __exit__(self, *exc: object) -> None:
        for one in self._family():
            one.terminate()
        self._process.wait()

    def _family(self) -> list[psutil.Process]:
        # nsenter, which waits for its child, hands no signal on.
        return psutil.Process(self._process.pid).children()

    @property
    def users(self) -> set[int]:
        """The users, by number, that its processes run as."""
        (master,) = self._family()
        return {
            number
            for one in (master, *master.children(recursive=True))
            for number in one.uids()
        }

    @property
    def log(self) -> str:
        """What it has written."""
        return self._root.path(_LOG).read_text()


def of_unit(where: root.Root, path: str, env: Mapping[str, str]) -> Service:
    """Return the service of a unit, with the folders that it asks for."""
    # A unit may set an option twice; those that are read here it does not.
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read_string(where.path(path).read_text())
    unit = read['Service']
    user, group = unit['User'], unit['Group']
    for option, top in (
        ('StateDirectory', '/var/lib'),
        ('LogsDirectory', '/var/log'),
    ):
        command = ['install', '--directory', '--owner', user, '--group', group]
        command += ['--mode', unit.get(f'{option}Mode', '0755')]
        command += [f'{top}/{unit[option]}']
        subprocess.run([*where.entry, *command], check=True)
    return Service(where, shlex.split(unit['ExecStart']), user, group, env)

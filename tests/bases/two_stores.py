# SPDX-License-Identifier: Apache-2.0
"""A Glance with two stores: ``rbd`` in the cluster, ``far`` in a folder."""

from __future__ import annotations

import atexit
from collections.abc import Mapping
import functools
import pathlib
import tempfile

from tests import stack
from tests.stack import ceph
from tests.stack import glance
from tests.stack import process

HERE, FAR = 'rbd', 'far'

# What Keystone's middleware would write: a copy is a task, and has an owner.
_ASKER = {
    'X-IDENTITY-STATUS': 'Confirmed',
    'X-USER-ID': 'rbdcloner',
    'X-PROJECT-ID': 'service',
    'X-ROLES': 'admin',
}
_CONFIG = f"""
def pre_request(worker, request):
    request.headers.extend({list(_ASKER.items())!r})
"""


class TwoStores(glance.Glance):
    """A Glance that takes everybody for an administrator.

    It copies images from one store to the other; *far* is the folder.
    """

    def __init__(
        self,
        stack_folder: pathlib.Path,
        cluster: ceph.Ceph,
        database_url: str,
        far: pathlib.Path,
    ) -> None:
        self.far = far
        conf: Mapping[str, Mapping[str, object]] = {
            'DEFAULT': {
                'enabled_backends': f'{HERE}:rbd,{FAR}:file',
                'enabled_import_methods': '[glance-direct,copy-image]',
            },
            FAR: {'filesystem_store_datadir': far},
            'paste_deploy': {
                'config_file': stack_folder / self.name / 'paste.ini'
            },
            'database': {'connection': database_url},
        }
        super().__init__(stack_folder, cluster, conf=conf)

    def _make_daemons(self) -> list[process.Daemon]:
        (daemon,) = super()._make_daemons()
        words = f'--config {self.folder / "gunicorn.py"}'
        daemon.env = {**(daemon.env or {}), 'GUNICORN_CMD_ARGS': words}
        return [daemon]

    def _prepare(self) -> None:
        paste = self._default_conf()['paste_deploy']['config_file']
        assert isinstance(paste, pathlib.Path)
        (self.folder / 'paste.ini').write_text(
            paste.read_text().replace(' unauthenticated-context', ' context')
        )
        (self.folder / 'gunicorn.py').write_text(_CONFIG)
        super()._prepare()


def made(folder: pathlib.Path) -> TwoStores:
    """Return one on the shared cluster, everything of it in *folder*."""
    shared = stack.shared()
    far = folder / FAR
    far.mkdir()
    # Two threads of a copy are too many for SQLite.
    database_url = shared.databases['mariadb'].create()
    return TwoStores(folder / 'stack', shared.ceph, database_url, far)


@functools.cache
def shared() -> TwoStores:
    """Return the one that all tests of this process use."""
    folder = tempfile.TemporaryDirectory(prefix='rbdcloner-', dir='/tmp')
    atexit.register(folder.cleanup)
    one = made(pathlib.Path(folder.name))
    atexit.register(one.cleanUp)
    one.setUp()
    return one

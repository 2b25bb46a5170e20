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

HERE, FAR = 'rbd', 'far'


class TwoStores(glance.Glance):
    """A Glance that copies images from one store to the other.

    *far* is the folder of the second one.
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
            'database': {'connection': database_url},
        }
        super().__init__(stack_folder, cluster, conf=conf)


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

# SPDX-License-Identifier: Apache-2.0
"""The OpenStack that all tests of a run use."""

from __future__ import annotations

import atexit
import functools
import os

from tests.openstack import cloud
from tests.stack import stack

VARIABLE = 'RBDCLONER_OPENSTACK'
DATABASES = ('sqlite', 'mariadb')


@functools.cache
def shared() -> cloud.OpenStack:
    """The one in the folder that RBDCLONER_OPENSTACK names.

    Without it, one that is started now and ended when this process exits.
    """
    folder = os.environ.get(VARIABLE)
    return cloud.OpenStack.attach(folder) if folder else _start()


def _start() -> cloud.OpenStack:
    servers = stack.Stack(glance=False, databases=DATABASES)
    servers.setUp()
    atexit.register(servers.cleanUp)
    running = cloud.OpenStack(servers)
    running.setUp()
    atexit.register(running.cleanUp)
    return running

# SPDX-License-Identifier: Apache-2.0
"""What a compute host asks a manager for, and what Ceph has of it."""

from __future__ import annotations

from typing import Any
import uuid

from oslo_config import cfg
import rbd

from rbdcloner import conf as options
from rbdcloner import rpcapi
from tests.install import installation
from tests.stack import ceph
from tests.stack import manager

MIB = 2**20


def client(installed: installation.Installation) -> rpcapi.API:
    """Return a client with the rights of a compute host."""
    cfg.CONF.clear()
    options.register(cfg.CONF)
    options.load(cfg.CONF, [], [])
    return rpcapi.API.from_conf(
        cfg.CONF, url=installed.transport_url('compute'), timeout_s=60
    )


def disk_of(image_id: str) -> dict[str, Any]:
    """Return the arguments that ask for a disk of an image."""
    instance = str(uuid.uuid4())
    return {
        'image_id': image_id,
        'name': f'{instance}_disk',
        'size_bytes': 8 * MIB,
        'pool': 'vms',
        'instance_uuid': instance,
        'project_id': uuid.uuid4().hex,
        'host': 'compute-1',
    }


def image(installed: installation.Installation) -> str:
    """Return the id of an image in Glance."""
    return str(installed.servers.glance.upload('golden', b'\0' * MIB).id)


def make_disk(installed: installation.Installation) -> None:
    """Have a manager make a disk; it is in Ceph then.

    :raises AssertionError: it is not
    """
    asked = disk_of(image(installed))
    client(installed).create_disk(manager.caller(), **asked)
    assert asked['name'] in images_in(installed.servers.ceph, 'vms')


def images_in(cluster: ceph.Ceph, pool: str) -> list[str]:
    """Return the names of the images in a pool."""
    with cluster.connection() as connected, connected.open_ioctx(pool) as one:
        return list(rbd.RBD().list(one))

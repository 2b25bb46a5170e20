# SPDX-License-Identifier: Apache-2.0
"""Nova's own code for a disk, run by an interpreter that has Nova.

It does what nova.virt.libvirt.driver does with the image backend that it
chose, in that order: _create_and_inject_local_root for a root disk, snapshot
for a snapshot of one that is not running, _cleanup_rbd for a deletion. Only
what Glance says is given beforehand, and so costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
import json
import os
import sys
import types
from typing import Any
import uuid

from tests.bench import child
from tests.bench import measuring


def prepare() -> Callable[..., measuring.Block]:
    """Return what works on disks of the image that the arguments tell."""
    # As nova-compute does: native threads, no eventlet.
    os.environ['OS_NOVA_DISABLE_EVENTLET_PATCHING'] = '1'
    from nova import monkey_patch

    monkey_patch.patch()
    import nova.conf
    from nova.virt.libvirt import imagebackend

    told = json.loads(sys.argv[1])
    conf = nova.conf.CONF
    conf([], project='nova', default_config_files=[])
    for name, value in told['libvirt'].items():
        conf.set_override(name, value, 'libvirt')
    conf.set_override('instances_path', told['folder'])
    conf.set_override('lock_path', told['folder'], 'oslo_concurrency')
    imagebackend.IMAGE_API = types.SimpleNamespace(
        get=lambda context, image_id, **wanted: told['image']
    )
    acts = {'create': _creating, 'snapshot': _snapshots, 'delete': _deleting}
    own_pool = told['libvirt']['images_rbd_pool']

    def act(
        act: str,
        names: list[str],
        threads: int,
        disk: str = '',
        pool: str = '',
    ) -> measuring.Block:
        conf.set_override('images_rbd_pool', pool or own_pool, 'libvirt')
        once = acts[act](told, disk)
        return measuring.measure(once, names, threads)

    return act


def _backend(name: str) -> Any:
    from nova.virt.libvirt import imagebackend

    return imagebackend.Backend(False).by_name(_instance(name), 'disk')


def _instance(name: str) -> Any:
    return types.SimpleNamespace(uuid=name.partition('_')[0], task_state=None)


def _creating(told: dict[str, Any], disk: str) -> Callable[[str], None]:
    from nova.virt.libvirt import imagecache

    image_id = told['image']['id']

    def create(name: str) -> None:
        chosen = _backend(name)
        chosen.exists()

        def fetch(context: Any, target: str, **given: Any) -> None:
            chosen.clone(context, image_id)

        chosen.cache(
            fetch_func=fetch,
            context=None,
            filename=imagecache.get_cache_fname(image_id),
            image_id=image_id,
            size=told['size_bytes'],
            trusted_certs=None,
        )

    return create


def _snapshots(told: dict[str, Any], disk: str) -> Callable[[str], None]:
    def snapshot(image_id: str) -> None:
        _backend(disk).direct_snapshot(
            None, uuid.uuid4().hex, 'raw', image_id, told['image']['id']
        )

    return snapshot


def _deleting(told: dict[str, Any], disk: str) -> Callable[[str], None]:
    from nova.virt.libvirt import driver

    def delete(name: str) -> None:
        # It uses nothing of the driver.
        driver.LibvirtDriver._cleanup_rbd(None, _instance(name))

    return delete


if __name__ == '__main__':
    child.serve(prepare)

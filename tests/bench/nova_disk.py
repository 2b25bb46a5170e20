# SPDX-License-Identifier: Apache-2.0
"""Nova's own code for a root disk, run by an interpreter that has Nova.

It does what nova.virt.libvirt.driver's _create_and_inject_local_root does
with the image backend that it chose, in that order; only the answer of Glance
is given beforehand, and so costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
import json
import os
import sys
import types
from typing import Any

from tests.bench import child
from tests.bench import measuring


def prepare() -> Callable[..., measuring.Block]:
    """Return what makes root disks of the image that the arguments tell."""
    # As nova-compute does: native threads, no eventlet.
    os.environ['OS_NOVA_DISABLE_EVENTLET_PATCHING'] = '1'
    from nova import monkey_patch

    monkey_patch.patch()
    import nova.conf
    from nova.virt.libvirt import imagebackend
    from nova.virt.libvirt import imagecache

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
    image_id = told['image']['id']

    def create(name: str) -> None:
        instance = types.SimpleNamespace(uuid=name.partition('_')[0])
        chosen = imagebackend.Backend(False).by_name(instance, 'disk')
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

    return lambda names, threads: measuring.measure(create, names, threads)


if __name__ == '__main__':
    child.serve(prepare)

# SPDX-License-Identifier: Apache-2.0
"""Nova's own code on disks, in Nova's own interpreter."""

from __future__ import annotations

from collections.abc import Sequence
import json
import pathlib

from tests.bench import measuring
from tests.bench.librbd import Librbd
from tests.bench.testbed import Testbed
from tests.openstack import program


class Nova:
    """What nova-compute does, but for asking Glance."""

    def __init__(self, bed: Testbed, remover: Librbd) -> None:
        self._remover = remover
        python = pathlib.Path(program.venv(), 'bin', 'python')
        command = (python, '-m', 'tests.bench.nova_disk', _told(bed))
        self._child = bed.child('nova', *command)

    def create(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Make disks of these names."""
        return self._ask('create', names, threads)

    def snapshot(
        self, disk: str, image_ids: Sequence[str], threads: int
    ) -> measuring.Block:
        """Make images of a disk under these ids, by copying it."""
        return self._ask('snapshot', image_ids, threads, disk=disk)

    def delete(
        self, names: Sequence[str], threads: int, pool: str
    ) -> measuring.Block:
        """Remove disks as Nova does when their instances go."""
        return self._ask('delete', names, threads, pool=pool)

    def remove(self, names: Sequence[str], threads: int) -> measuring.Block:
        """Remove them, with librbd."""
        return self._remover.remove(names, threads)

    def _ask(
        self, act: str, names: Sequence[str], threads: int, **more: str
    ) -> measuring.Block:
        self._child.ask(
            {'act': act, 'names': names, 'threads': threads, **more}
        )
        return self._child.answer()


def _told(bed: Testbed) -> str:
    parts = (bed.servers.ceph.fsid, bed.IMAGE_POOL, bed.image_id, bed.SNAPSHOT)
    conf = bed.write_ceph_conf()
    image = {
        'id': bed.image_id,
        'disk_format': 'raw',
        'locations': [{'url': f'rbd://{"/".join(parts)}', 'metadata': {}}],
    }
    libvirt = {
        'images_type': 'rbd',
        'images_rbd_pool': bed.POOL,
        'images_rbd_ceph_conf': str(conf),
        'rbd_user': 'rbdcloner',
    }
    return json.dumps(
        {
            'libvirt': libvirt,
            'folder': str(conf.parent),
            'image': image,
            'size_bytes': bed.DISK_BYTES,
        }
    )

# SPDX-License-Identifier: Apache-2.0
"""Nova's own code on disks, in Nova's own interpreter."""

from __future__ import annotations

from collections.abc import Sequence
import json

from tests.bench import child
from tests.bench import measuring
from tests.bench.librbd import Librbd
from tests.bench.testbed import Testbed
from tests.stack import process

HELP = """\
make an environment with /usr/bin/python3 -m venv DIR, install nova==34.0.0
and SQLAlchemy==2.0.52 into it with DIR/bin/pip, and link Debian's
/usr/lib/python3/dist-packages/ra* and rb*.cpython-*.so into its
site-packages; then pass --nova DIR/bin/python"""


class Nova:
    """What nova-compute does, but for asking Glance."""

    def __init__(self, bed: Testbed, remover: Librbd) -> None:
        self._remover = remover
        command = (bed.wishes.nova, '-m', 'tests.bench.nova_disk')
        try:
            self._child = bed.child('nova', *command, _told(bed))
        except (OSError, child.ChildError) as exc:
            raise process.StackError(
                f'{bed.wishes.nova} cannot run Nova: {exc}\n{HELP}'
            ) from exc

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
    folder = bed.folder / 'nova'
    folder.mkdir()
    # Ceph takes the cluster's name, and so the keyring's, from the file's.
    conf = folder / 'ceph.conf'
    conf.write_text(
        f'{bed.servers.ceph.conf.read_text()}\n'
        f'rbd default clone format = {bed.wishes.clone_format}\n'
    )
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
            'folder': str(folder),
            'image': image,
            'size_bytes': bed.DISK_BYTES,
        }
    )

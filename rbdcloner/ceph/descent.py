# SPDX-License-Identifier: Apache-2.0
"""From an image to the snapshot that it descends from, wherever that lies.

Ceph tells a child its parent's names. A snapshot in the trash has another
name there, and its image may have none: so the image is opened by its id.
"""

from typing import Any

import rbd

from rbdcloner.ceph import looking
from rbdcloner.ceph.handle import Handle
from rbdcloner.model import CloneFormat
from rbdcloner.model import Descent
from rbdcloner.model import Image
from rbdcloner.model import SnapshotFacts


def find(handle: Handle, image: Image) -> Descent | None:
    """Return the parent of *image*; see the driver."""
    ioctx = handle.ioctx(image.pool, image.namespace)
    with looking.opened(ioctx, image) as opened:
        above = looking.parent(image, opened)
        if above is None:
            return None
        name = opened.get_parent_image_spec()['snap_name']
        clone_format = _format(opened)
    ioctx = handle.ioctx(above.pool, above.namespace)
    with looking.opened(ioctx, above) as opened:
        return Descent(_snapshot(above, opened, name), clone_format)


def _format(opened: Any) -> CloneFormat:
    if opened.op_features() & rbd.RBD_OPERATION_FEATURE_CLONE_CHILD:
        return CloneFormat.V2
    return CloneFormat.V1


def _snapshot(image: Image, opened: Any, name: str) -> SnapshotFacts:
    for one in opened.list_snaps():
        if one['name'] == name:
            return looking.facts_of(image, opened, one)
    raise looking.no_snapshot(image, name)

# SPDX-License-Identifier: Apache-2.0
"""Snapshots: taken under a name, from then on known by their ids.

Under format v2 Ceph "removes" a snapshot that has children into a trash of
its own, where it goes with its last child. Here it is not removed before
that; a child that comes between the look and the removal has that effect.
"""

from collections.abc import Callable
import contextlib
from typing import Any

import rbd

from rbdcloner import errors
from rbdcloner.ceph import looking
from rbdcloner.ceph.driver import Permit
from rbdcloner.ceph.handle import Handle
from rbdcloner.model import Image
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts


def take(
    ioctx: Any, image: Image, name: str, has_space: Callable[[], bool]
) -> SnapshotFacts:
    """Take a snapshot of *image*; see the driver."""
    if looking.trash_entry(ioctx, image.id) is not None:
        raise errors.RbdImageNotFound(pool=image.pool, image=image.name)
    with looking.opened(ioctx, image, writable=True) as opened:
        return take_of(opened, image, name, has_space)


def take_of(
    opened: Any, image: Image, name: str, has_space: Callable[[], bool]
) -> SnapshotFacts:
    """Take a snapshot of an image that is open to write."""
    if not looking.live_name(opened, Snapshot(image, name)):
        # librbd can do it on a full pool, but a guest cannot whose writes
        # wait for space, and it is asked to.
        if not has_space():
            raise errors.OutOfSpace(pool=image.pool)
        with contextlib.suppress(rbd.ImageExists):
            opened.create_snap(name)
    return looking.snapshot_facts(image, opened, name)


def remove(ioctx: Any, snapshot: Snapshot, permit: Permit) -> None:
    """Destroy *snapshot*; see the driver."""
    number = _removable(ioctx, snapshot)
    if number is None:
        return
    # That may have taken long.
    permit()
    with looking.opened(ioctx, snapshot.image, writable=True) as opened:
        try:
            opened.remove_snap_by_id(number)
        except rbd.ImageNotFound:
            return
        except rbd.ImageBusy:
            # Somebody was faster; this says what they did.
            _removable(ioctx, snapshot)
            raise


def rollback(handle: Handle, snapshot: Snapshot) -> None:
    """Give the image what *snapshot* has; see the driver."""
    image = snapshot.image
    ioctx = handle.ioctx(image.pool, image.namespace)
    with looking.opened(ioctx, image) as opened:
        looking.refuse_watchers(image, opened)
    with looking.opened(ioctx, image, writable=True) as opened:
        looking.refuse_watchers(image, opened, handle.address)
        name = looking.live_name(opened, snapshot)
        if not name:
            raise looking.why_not(opened, snapshot)
        opened.rollback_to_snap(name)


def protect(opened: Any, snapshot: Snapshot) -> None:
    """Make *snapshot* protected; see the driver."""
    facts = looking.snapshot_facts(snapshot.image, opened, snapshot.name)
    if snapshot.id not in (None, facts.snapshot.id):
        raise looking.no_snapshot(snapshot.image, snapshot.name)
    if not facts.protected:
        opened.protect_snap(snapshot.name)


def unprotect(opened: Any, snapshot: Snapshot) -> None:
    """Make *snapshot* unprotected; see the driver."""
    name = looking.live_name(opened, snapshot)
    if name and opened.is_protected_snap(name):
        opened.unprotect_snap(name)


def _removable(ioctx: Any, snapshot: Snapshot) -> int | None:
    """Return the id of *snapshot*, ``None`` without one.

    :raises SnapshotHasChildren: it has children.
    :raises SnapshotProtected: it is protected.
    """
    image = snapshot.image
    where = {
        'pool': image.pool,
        'image': image.name,
        'snapshot': snapshot.name,
    }
    with looking.opened(ioctx, image) as opened:
        for facts in looking.snapshots(image, opened):
            if not _is_the_same(facts, snapshot):
                continue
            if looking.children(image.fsid, opened, facts.snapshot):
                raise errors.SnapshotHasChildren(**where)
            if facts.protected:
                raise errors.SnapshotProtected(**where)
            return facts.snapshot.id
    return None


def _is_the_same(facts: SnapshotFacts, snapshot: Snapshot) -> bool:
    if snapshot.id is None:
        return not facts.trashed and facts.snapshot.name == snapshot.name
    return facts.snapshot.id == snapshot.id

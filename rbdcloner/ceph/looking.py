# SPDX-License-Identifier: Apache-2.0
"""What librbd's open image and a pool's trash say, in our nouns.

Nearly all of it is answered from what librbd read when it opened the image.
"""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import datetime
import errno
from typing import Any

import rados
import rbd

from rbdcloner import errors
from rbdcloner.ceph import identity
from rbdcloner.ceph.connection import translated
from rbdcloner.model import Image
from rbdcloner.model import ImageFacts
from rbdcloner.model import Snapshot
from rbdcloner.model import SnapshotFacts

#: The attribute of an image's header that names its clone row.
TAG = 'rbdcloner.clone'

#: Follows the uuid until the image is delivered. What earlier releases tagged
#: counts as delivered: of that, nobody can tell any more.
MAKING = ' making'

#: Follows the uuid of a blank disk that is delivered, for its caller to write.
#: What earlier releases delivered does not have it.
WRITING = ' writing'

#: Follows the uuid when the caller of a blank disk has written all of it.
#: What earlier releases finished does not have it.
COMMITTED = ' committed'


@contextlib.contextmanager
def opened(ioctx: Any, image: Image, writable: bool = False) -> Iterator[Any]:
    """Open *image* for one act, by id if it has one, else by name.

    :raises RbdImageNotFound: there is no such image.
    :raises RbdImageRenamed: it is to be written, and has another name.
    :raises RbdImageMigrating: it is to be written, and is being migrated.
    :raises RbdImageDemoted: it could not be written, for it is mirrored and
        another cluster has the primary.
    """
    missing = errors.RbdImageNotFound(
        pool=image.pool, image=image.name or image.id
    )
    answers: dict[int, errors.Error] = {
        errno.ENOENT: missing,
        # The source of a migration is never open to write.
        errno.EROFS: errors.RbdImageMigrating(
            pool=image.pool, image=image.name
        ),
    }
    with translated(f'open {image}', image.pool, answers):
        found = rbd.Image(
            ioctx,
            name=None if image.id else image.name,
            image_id=image.id or None,
            read_only=not writable,
        )
    opener_left = None if writable else _opener_left(ioctx, found)
    try:
        if writable:
            identity.refuse_doubtful(image, found)
        with identity.told_apart(image, found):
            yield found
    finally:
        if opener_left is not None:
            opener_left.wait_for_complete_and_cb()
        found.close()


def _opener_left(ioctx: Any, opened: Any) -> Any:
    """Return what is complete when librbd's thread has left *opened*.

    It says that a clone is open, and goes on to use it. Closed meanwhile, it
    uses freed memory: librbd 16.2 aborted, or waited for ever, under load.
    It is in one of RADOS's callbacks, which run one after the other; so the
    callback of a later operation, whatever comes of that, tells. To close
    what is open to write takes such callbacks anyway.
    """
    return ioctx.aio_stat(header(opened.id()), lambda *answer: None)


def image_id(ioctx: Any, image: Image) -> str:
    """Return the id of *image*, empty if there is none."""
    try:
        with opened(ioctx, image) as found:
            return str(found.id())
    except errors.RbdImageNotFound:
        return ''


def header(image_id: str) -> str:
    """Return the RADOS object that is the header of an image."""
    return f'rbd_header.{image_id}'


def tag(ioctx: Any, image_id: str) -> str:
    """Return the attribute of the image that says for which row it is."""
    try:
        return str(ioctx.get_xattr(header(image_id), TAG).decode())
    except (rados.NoData, rados.ObjectNotFound):
        return ''


def image_facts(image: Image, opened: Any, text: str) -> ImageFacts:
    """Return the facts of *image*, whose tag reads *text*."""
    row = text
    for suffix in (MAKING, WRITING, COMMITTED):
        row = row.removesuffix(suffix)
    return ImageFacts(
        _named(image, opened),
        opened.size(),
        parent(image, opened),
        row,
        opened.create_timestamp().replace(tzinfo=datetime.UTC),
        # In Ceph 16 and 18 this is local time without a zone, others are UTC.
        opened.modify_timestamp().astimezone(datetime.UTC),
        delivered=row != '' and not text.endswith(MAKING),
        committed=text.endswith(COMMITTED),
        writing=text.endswith(WRITING),
    )


def parent(image: Image, opened: Any) -> Image | None:
    """Return the image that *image* descends from, in its trash or not."""
    try:
        # Pacific's specification has no id.
        parent_id = str(opened.parent_id())
        spec = opened.get_parent_image_spec()
    except rbd.ImageNotFound:
        return None
    return Image(
        image.fsid,
        spec['pool_name'],
        spec['pool_namespace'],
        spec['image_name'],
        parent_id,
    )


def snapshots(image: Image, opened: Any) -> list[SnapshotFacts]:
    """Return the snapshots of *image*, the trashed ones too."""
    found = _named(image, opened)
    return [
        facts_of(found, opened, one)
        for one in sorted(opened.list_snaps(), key=lambda one: one['id'])
    ]


def snapshot_facts(image: Image, opened: Any, name: str) -> SnapshotFacts:
    """Return the facts of the snapshot called *name*.

    :raises SnapshotTrashed: only the trash has one of that name.
    :raises SnapshotNotFound: there is none.
    """
    for one in opened.list_snaps():
        if _is_live(one) and one['name'] == name:
            return facts_of(_named(image, opened), opened, one)
    raise why_not(opened, Snapshot(image, name))


def why_not(opened: Any, snapshot: Snapshot) -> errors.CephError:
    """Return the error that *snapshot* does not live."""
    for one in opened.list_snaps():
        if snapshot.id is None:
            is_it = _name(one) == snapshot.name
        else:
            is_it = one['id'] == snapshot.id
        if is_it and _is_trashed(one):
            return errors.SnapshotTrashed(
                pool=snapshot.image.pool,
                image=snapshot.image.name,
                snapshot=snapshot.name,
            )
    return no_snapshot(snapshot.image, snapshot.name)


def no_snapshot(image: Image, name: str) -> errors.SnapshotNotFound:
    """Return the error that *image* has no snapshot *name*."""
    return errors.SnapshotNotFound(
        pool=image.pool, image=image.name, snapshot=name
    )


def live_name(opened: Any, snapshot: Snapshot) -> str:
    """Return the name that *snapshot* has, by its id; empty if none."""
    for one in opened.list_snaps():
        known = one['id'] if snapshot.id is not None else one['name']
        if _is_live(one) and known in (snapshot.id, snapshot.name):
            return str(one['name'])
    return ''


def children(fsid: str, opened: Any, snapshot: Snapshot) -> list[Image]:
    """Return the children of *snapshot*, by its id, those in trash too."""
    if snapshot.id not in [one['id'] for one in opened.list_snaps()]:
        return []
    opened.set_snap_by_id(snapshot.id)
    return [
        Image(
            fsid, one['pool'], one['pool_namespace'], one['image'], one['id']
        )
        for one in opened.list_children2()
    ]


def watchers(opened: Any) -> list[str]:
    """Return the addresses of those who have the image open to write."""
    return sorted({one['addr'] for one in opened.watchers_list()})


def refuse_watchers(image: Image, opened: Any, ours: str = '') -> None:
    """Raise if others have *image* open to write.

    With *ours*, our address, one watch is that of *opened* itself.
    """
    found = list(opened.watchers_list())
    if len(found) <= (1 if ours else 0):
        return
    addresses = {one['addr'] for one in found}
    raise errors.RbdImageInUse(
        pool=image.pool,
        image=image.name,
        # Another open image of this process is an other, too.
        watchers=sorted(addresses - {ours} or addresses),
    )


def refuse_removal(image: Image, opened: Any) -> None:
    """Raise what speaks against removing *image*."""
    refuse_watchers(image, opened)
    if opened.features() & rbd.RBD_FEATURE_MIGRATING:
        raise errors.RbdImageMigrating(pool=image.pool, image=image.name)
    if opened.op_features() & rbd.RBD_OPERATION_FEATURE_GROUP:
        raise errors.CephRefused(
            act=f'remove {image}', reason='it belongs to a group'
        )


def used_bytes(opened: Any) -> int:
    """Return what an image and its snapshots occupy; see the driver."""
    names = [one['name'] for one in opened.list_snaps() if _is_live(one)]
    used, before = 0, None
    for name in (*names, None):
        opened.set_snap(name)
        used += _changed_bytes(opened, before)
        before = name
    return used


def _changed_bytes(opened: Any, before: str | None) -> int:
    lengths: list[int] = []

    def count(offset: int, length: int, exists: bool) -> None:
        if exists:
            lengths.append(length)

    opened.diff_iterate(
        0,
        opened.size(),
        before,
        count,
        include_parent=False,
        whole_object=True,
    )
    return sum(lengths)


def trash_entry(ioctx: Any, image_id: str) -> Mapping[str, Any] | None:
    """Return the trash's entry of an image, ``None`` if it is not there."""
    # Never by listing: Pacific's trash_list() raises IndexError for a whole
    # pool that has an entry with the source USER_PARENT.
    try:
        return dict(rbd.RBD().trash_get(ioctx, image_id))
    except rbd.ImageNotFound:
        return None


def refuse_deferred(act: str, entry: Mapping[str, Any]) -> None:
    """Raise when somebody trashed the image with a term, and it lasts."""
    until = entry['deferment_end_time'].replace(tzinfo=datetime.UTC)
    if until > datetime.datetime.now(datetime.UTC):
        raise errors.CephRefused(act=act, reason=f'deferred until {until}')


def _named(image: Image, opened: Any) -> Image:
    return dataclasses.replace(image, name=opened.get_name(), id=opened.id())


def facts_of(
    image: Image, opened: Any, one: Mapping[str, Any]
) -> SnapshotFacts:
    """Return the facts of a snapshot that is listed as *one*."""
    created_at = opened.get_snap_timestamp(one['id'])
    return SnapshotFacts(
        Snapshot(image, _name(one), one['id']),
        one['size'],
        opened.stat()['order'],
        _is_live(one) and opened.is_protected_snap(one['name']),
        _is_trashed(one),
        created_at.replace(tzinfo=datetime.UTC),
    )


def _name(one: Mapping[str, Any]) -> str:
    return str(one.get('trash', {}).get('original_name', one['name']))


def _is_live(one: Mapping[str, Any]) -> bool:
    return bool(one['namespace'] == rbd.RBD_SNAP_NAMESPACE_TYPE_USER)


def _is_trashed(one: Mapping[str, Any]) -> bool:
    return bool(one['namespace'] == rbd.RBD_SNAP_NAMESPACE_TYPE_TRASH)

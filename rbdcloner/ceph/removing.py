# SPDX-License-Identifier: Apache-2.0
"""Removal of images, strictly by id, however far a dead client had come.

An image goes in two acts: to the trash, where its name is free and its data
stays, and out of it. librbd moves by name, so the name is found by the id
just before, and the trash is asked for the id just after. A client that died
between leaves an entry that is "pending moving" (EUCLEAN for who purges it);
the same move, done again, ends it. One that died while restoring leaves an
entry that is busy (EBUSY, ESTALE), perhaps under its name already; it is
restored to the end, and moved again.
"""

import contextlib
import dataclasses
import errno
from typing import Any

import rados
import rbd

from rbdcloner import errors
from rbdcloner.ceph import identity
from rbdcloner.ceph import looking
from rbdcloner.ceph import probing
from rbdcloner.ceph import unopened
from rbdcloner.ceph.connection import translated
from rbdcloner.model import Image


def trash(ioctx: Any, image: Image) -> None:
    """Move *image* to the trash; see the driver."""
    entry = looking.trash_entry(ioctx, image.id)
    if entry is not None:
        identity.refuse_migrating(image, entry)
        identity.refuse_replaced(image, _named(ioctx, image))
        _finish_move(ioctx, image, entry['name'])
        return
    name = _name_to_move(ioctx, image)
    # Somebody has opened it since, or died with it.
    in_use = errors.RbdImageInUse(
        pool=image.pool, image=image.name, watchers=[]
    )
    with translated(f'trash {image}', image.pool, {errno.EBUSY: in_use}):
        try:
            _move(ioctx, image, name)
        except rbd.InvalidArgument:
            with looking.opened(ioctx, image) as opened:
                identity.refuse_demoted(image, opened)
            raise
    if looking.trash_entry(ioctx, image.id) is None:
        raise errors.CephRefused(
            act=f'trash {image}',
            reason=f'image {image.id} is not {name} any more',
        )


def restore(ioctx: Any, image: Image) -> None:
    """Move *image* out of the trash; see the driver."""
    entry = looking.trash_entry(ioctx, image.id)
    if entry is None:
        return
    identity.refuse_migrating(image, entry)
    # What stops half way is busy until it is restored to the end.
    if not probing.has_space(ioctx):
        raise errors.OutOfSpace(pool=image.pool)
    taken = errors.RbdImageExists(pool=image.pool, image=image.name)
    with (
        translated(f'restore {image}', image.pool, {errno.EEXIST: taken}),
        contextlib.suppress(rbd.ImageNotFound),
    ):
        try:
            rbd.RBD().trash_restore(ioctx, image.id, image.name)
        except rbd.ImageBusy:
            # It waits for its move's end.
            _finish_move(ioctx, image, entry['name'])
            rbd.RBD().trash_restore(ioctx, image.id, image.name)


def purge(ioctx: Any, image: Image) -> None:
    """Destroy *image*, which lies in the trash; see the driver."""
    act = f'purge {image}'
    entry = looking.trash_entry(ioctx, image.id)
    if entry is None:
        if looking.image_id(ioctx, image):
            raise errors.CephRefused(act=act, reason='it is not in the trash')
        return
    identity.refuse_migrating(image, entry)
    looking.refuse_deferred(act, entry)
    where = {'pool': image.pool, 'image': image.name}
    answers: dict[int, errors.Error] = {
        errno.EBUSY: errors.RbdImageInUse(watchers=[], **where),
        errno.ENOTEMPTY: errors.RbdImageHasSnapshots(**where),
        errno.EUCLEAN: errors.CephRefused(
            act=act, reason='its move to the trash is not finished'
        ),
    }
    with (
        translated(act, image.pool, answers),
        contextlib.suppress(rbd.ImageNotFound),
    ):
        try:
            rbd.RBD().trash_remove(ioctx, image.id)
        except rbd.ImageBusy as exc:
            if found := _watchers(ioctx, image):
                raise errors.RbdImageInUse(watchers=found, **where) from exc
            _end_restore(ioctx, image, entry['name'])
            rbd.RBD().trash_remove(ioctx, image.id)


def free_name(ioctx: Any, image: Image) -> None:
    """Make a name free that leads to no image; see the driver."""
    if looking.image_id(ioctx, dataclasses.replace(image, id='')):
        raise errors.RbdImageExists(pool=image.pool, image=image.name)
    with contextlib.suppress(rbd.ImageNotFound):
        rbd.RBD().remove(ioctx, image.name)


def _move(ioctx: Any, image: Image, name: str) -> None:
    try:
        rbd.RBD().trash_move(ioctx, name)
    except rbd.ImageNotFound:
        # So it says too where it may not make the pool's trash.
        if not probing.has_space(ioctx):
            raise errors.OutOfSpace(pool=image.pool) from None


def _name_to_move(ioctx: Any, image: Image) -> str:
    """Return *image*'s name, if nothing speaks against moving it.

    Where anything may, it is opened, and tells what, or that nothing does.
    """
    name = unopened.name(ioctx, image.id)
    if name:
        identity.refuse_renamed(image, name)
    else:
        identity.refuse_replaced(image, _named(ioctx, image))
    with contextlib.suppress(rados.ObjectNotFound):
        if (
            name
            and not unopened.is_bound(ioctx, image.id)
            and not unopened.may_be_open(ioctx, image.id)
        ):
            return name
    with looking.opened(ioctx, image) as opened:
        looking.refuse_removal(image, opened)
        return str(opened.get_name())


def _named(ioctx: Any, image: Image) -> str:
    """Return the id of what has *image*'s name, empty if nothing has."""
    return looking.image_id(ioctx, dataclasses.replace(image, id=''))


def _finish_move(ioctx: Any, image: Image, name: str) -> None:
    named = dataclasses.replace(image, name=name, id='')
    if looking.image_id(ioctx, named) not in ('', image.id):
        return
    try:
        rbd.RBD().trash_move(ioctx, name)
    except rbd.ImageNotFound:
        # The move was finished, or the image was on its way back.
        pass
    except rbd.OSError as exc:
        if exc.errno != errno.ESTALE:
            raise
    if looking.image_id(ioctx, named) == image.id:
        _end_restore(ioctx, image, name)


def _end_restore(ioctx: Any, image: Image, name: str) -> None:
    """End what a client began that died while restoring: out, and back in.

    Where the name is another's by now, librbd ends it itself.
    """
    with contextlib.suppress(rbd.ImageExists):
        rbd.RBD().trash_restore(ioctx, image.id, name)
        rbd.RBD().trash_move(ioctx, name)


def _watchers(ioctx: Any, image: Image) -> list[str]:
    try:
        with looking.opened(ioctx, image) as opened:
            return looking.watchers(opened)
    except errors.RbdImageNotFound:
        return []

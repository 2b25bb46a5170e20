# SPDX-License-Identifier: Apache-2.0
"""Nova's RBD image backend; a manager changes what is to be changed.

What ``_alone`` does, or a base class's method, is Nova's own code: for mode
*prefer*, while no manager answers.
"""

from collections.abc import Callable
import os
from typing import Any

from nova import exception
import nova.conf
from nova.virt.libvirt import imagebackend
from oslo_log import log as logging

from rbdcloner import errors
from rbdcloner.nova import asking
from rbdcloner.nova import conf
from rbdcloner.nova import images
from rbdcloner.nova import rbd_utils
from rbdcloner.nova import writing
from rbdcloner.nova.answers import as_novas

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)


class Rbd(imagebackend.Rbd):
    """A disk in RBD, by its name."""

    def __init__(
        self,
        instance: Any = None,
        disk_name: str | None = None,
        path: str | None = None,
        disk_info_mapping: Any = None,
    ) -> None:
        super().__init__(instance, disk_name, path, disk_info_mapping)
        self.driver = rbd_utils.RBDDriver()
        self.instance = instance
        self._refusal: exception.ImageUnacceptable | None = None

    @property
    def _disk(self) -> asking.Disk:
        return asking.Disk(self.rbd_name, self.driver.pool, self.instance)

    # What there is

    def exists(self) -> bool:
        """Tell whether the disk is there, and whole."""
        if not self.driver.exists(self.rbd_name):
            return False
        with as_novas():
            return self._disk.is_whole()

    def get_disk_size(self, name: str | None) -> int:
        """Return the size of the disk, whatever *name* is, in bytes."""
        return int(self.driver.size(self.rbd_name))

    def libvirt_info(
        self,
        cache_mode: Any,
        extra_specs: Any,
        boot_order: Any = None,
        disk_unit: Any = None,
    ) -> Any:
        """Describe the disk for a guest that is about to start.

        :raises NovaException: the disk is being rolled back, or its rollback
            was interrupted: the start is to be repeated later.
        """
        with as_novas():
            self._disk.check_rolled_back()
        return super().libvirt_info(
            cache_mode, extra_specs, boot_order, disk_unit
        )

    # A disk of an image

    def cache(
        self,
        fetch_func: Any,
        filename: str,
        size: int | None = None,
        safe: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Make the disk; of an image first without a copy on this host.

        Nova locks the image for that copy, so that its hosts clone it one
        disk after the other. A clone makes none.
        """
        image_id = kwargs.get('image_id')
        if image_id and not self.exists():
            try:
                self.direct_fetch(kwargs['context'], image_id, size or 0)
                return
            except exception.ImageUnacceptable as exc:
                LOG.debug('%s is made of a copy: %s', self.rbd_name, exc)
        super().cache(fetch_func, filename, size, safe, *args, **kwargs)

    def clone(
        self, context: Any, image_id_or_uri: str, copy_to_store: bool = True
    ) -> None:
        """Clone an image, with its own size."""
        self.direct_fetch(
            context, image_id_or_uri, copy_to_store=copy_to_store
        )

    def direct_fetch(
        self,
        context: Any,
        image_id: str,
        max_size: int = 0,
        copy_to_store: bool = True,
    ) -> None:
        """Have the disk cloned of the image, with *max_size* bytes.

        0 stands for the size of the image. An image that was refused is not
        asked for again.

        :raises ImageUnacceptable: it cannot be cloned, or is to be verified.
        :raises FlavorDiskSmallerThanImage: it is larger than *max_size*.
        """
        if images.must_be_verified(self.instance):
            raise exception.ImageUnacceptable(
                image_id=image_id,
                reason='its signature is verified as it is downloaded',
            )
        if self._refusal:
            raise self._refusal
        try:
            asking.either(
                lambda: self._create(image_id, max_size),
                lambda: self._clone_alone(context, image_id, max_size),
            )
        except exception.ImageUnacceptable as exc:
            if not copy_to_store or not self._has_copied(context, image_id):
                self._refusal = exc
                raise
            self.direct_fetch(context, image_id, max_size, copy_to_store=False)

    def _create(self, image_id: str, size_bytes: int) -> None:
        service = asking.service()
        if not size_bytes:
            told = service.ask('is_cloneable', image_id=image_id)
            if not told['cloneable']:
                reasons = '; '.join(
                    each['message'] for each in told['refusals']
                )
                raise errors.ImageNotCloneable(
                    image_id=image_id, summary=reasons
                )
            size_bytes = told['size_bytes']
        service.ask(
            'create_disk',
            image_id=image_id,
            name=self.rbd_name,
            size_bytes=size_bytes,
            pool=self.driver.pool,
            import_=(
                CONF.rbdcloner['import']
                if images.may_be_imported()
                else conf.NEVER
            ),
            **self._disk.owner,
        )

    def _clone_alone(
        self, context: Any, image_id: str, size_bytes: int
    ) -> None:
        self._make_alone(
            lambda: super(Rbd, self).clone(
                context, image_id, copy_to_store=False
            ),
            self.rbd_name,
            size_bytes or None,
            image_id,
        )

    def _has_copied(self, context: Any, image_id: str) -> bool:
        """Have Glance copy the image to its store in RBD, if it is to."""
        if not CONF.libvirt.images_rbd_glance_store_name:
            return False
        image = imagebackend.IMAGE_API.get(context, image_id)
        self.copy_to_store(context, image)
        return True

    # A disk of a file

    def create_image(
        self,
        prepare_template: Any,
        base: str,
        size: int | None,
        safe: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Make the disk of what is, or comes to be, at *base*."""
        if not self.exists():
            self._remove_non_raw_cache_image(base)
            prepare_template(target=base, *args, **kwargs)  # noqa: B026
        # It may have cloned the disk.
        if not self.exists():
            self._import(base, size)
            return
        self.verify_base_size(base, size)
        if size and size > self.get_disk_size(self.rbd_name):
            self.resize_image(size)

    def import_file(
        self, instance: Any, local_file: str, remote_name: str
    ) -> None:
        """Make the disk of a file, in the place of one that it has."""
        # What was not written to its end gives way by itself.
        if self.exists():
            asking.either(
                lambda: self._disk.ask('delete_disk'),
                lambda: self.driver.remove_image(self.rbd_name),
            )
        self._import(local_file)

    def _import(self, path: str, size: int | None = None) -> None:
        begun = asking.either(
            lambda: self._begin(path, size),
            lambda: self._import_alone(path, size),
        )
        if begun is None:
            return
        writing.write(self.driver, begun['image_id'], path)
        with as_novas():
            asking.service().ask(
                'finish_import',
                name=self.rbd_name,
                pool=self.driver.pool,
                image_id=begun['image_id'],
                size_bytes=begun['size_bytes'],
            )

    def _begin(self, path: str, size: int | None) -> dict[str, Any] | None:
        """Return the disk to write; ``None`` if it is whole already."""
        file_bytes = os.path.getsize(path)
        self.verify_base_size(path, size, base_size=file_bytes)
        try:
            begun: dict[str, Any] = asking.service().ask(
                'begin_import',
                name=self.rbd_name,
                size_bytes=max(size or 0, file_bytes),
                pool=self.driver.pool,
                **self._disk.owner,
            )
        except errors.DiskExists:
            return None
        return begun

    def _import_alone(self, path: str, size: int | None) -> None:
        self._make_alone(
            lambda: self.driver.import_image(path, self.rbd_name), path, size
        )

    def _resize_alone(self, base: str, size: int | None) -> None:
        self.verify_base_size(base, size)
        if size and size > self.get_disk_size(self.rbd_name):
            self.driver.resize(self.rbd_name, size)

    def _make_alone(
        self,
        make: Callable[[], object],
        base: str,
        size: int | None,
        image_id: str = '',
    ) -> None:
        """Make the disk, and let a manager know whose it is.

        It adopts no image that is in the making, nor takes that for what
        another manager has left. When the making fails, the note is struck
        out, unless the name has an image that may be of this making.
        """
        facts = self._disk.owner | {'image_id': image_id}
        making = facts | {'making': 'yes'}
        self.driver.note_unadopted(self.rbd_name, making)
        try:
            make()
        except BaseException as exc:
            self._strike_note(making, rbd_utils.says_exists(exc))
            raise
        try:
            self._resize_alone(base, size)
        finally:
            # It has all its data, whatever its size.
            self.driver.note_unadopted(self.rbd_name, facts)

    def _strike_note(self, making: dict[str, str], is_taken: bool) -> None:
        """Strike the note of a making that failed; a manager may do it, too.

        Where the name *is_taken* the image is not of this making.
        """
        try:
            if is_taken or not self.driver.exists(self.rbd_name):
                self.driver.strike_unadopted(self.rbd_name, making)
        except Exception as exc:
            # The error of the making is the one to tell.
            LOG.warning(
                'The note that %s is being made could not be struck out; a '
                'manager does it when no image has the name: %s',
                *(self.rbd_name, exc),
            )

    # What becomes of it

    def resize_image(self, size: int) -> None:
        """Grow the disk."""
        asking.either(
            lambda: self._disk.ask('resize_disk', size_bytes=size),
            lambda: self.driver.resize(self.rbd_name, size),
        )

    def flatten(self) -> None:
        """See to it that the image can be deleted that the disk is of.

        It can: a manager keeps what a disk on record descends from, until it
        does not any more, and decides itself what is copied and when.
        """
        asking.either(lambda: self._disk.ask('get_disk'), super().flatten)

    def create_snap(self, name: str) -> None:
        """Take a snapshot of the disk, in the place of one so named.

        Nova takes one, ``nova-resize``, when it resizes a server, to go back
        to. One that is there is of a resize that failed, or whose
        confirmation was lost: to go back to it would undo all that was
        written since.
        """
        asking.either(
            lambda: self._take_snapshot(name),
            lambda: self._take_snapshot_alone(name),
        )

    def _take_snapshot(self, name: str) -> None:
        try:
            self._disk.ask('create_snapshot', snapshot=name)
        except errors.DiskSnapshotExists as exc:
            LOG.warning('%s It is of an earlier resize, and replaced.', exc)
            self._disk.ask('remove_snapshot', snapshot=name)
            self._disk.ask('create_snapshot', snapshot=name)

    def _take_snapshot_alone(self, name: str) -> None:
        if self.driver.exists(self.rbd_name, snapshot=name):
            LOG.warning(
                'Snapshot %s of %s is of an earlier resize, and replaced',
                name, self.rbd_name,
            )  # fmt: skip
            super().remove_snap(name)
        super().create_snap(name)

    def remove_snap(self, name: str, ignore_errors: bool = False) -> None:
        """Remove a snapshot of the disk; nothing if it has none so named."""
        asking.either(
            lambda: self._disk.ask('remove_snapshot', snapshot=name),
            lambda: super(Rbd, self).remove_snap(name, ignore_errors),
        )

    def rollback_to_snap(self, name: str) -> None:
        """Give the disk the data and the size that it had then.

        :raises SnapshotNotFound: it has no such snapshot.
        """
        asking.either(
            lambda: self._disk.ask('rollback_disk', snapshot=name),
            lambda: super(Rbd, self).rollback_to_snap(name),
        )

    # An image of it

    def direct_snapshot(
        self,
        context: Any,
        snapshot_name: str,
        image_format: str,
        image_id: str,
        base_image_id: str,
    ) -> str:
        """Have the disk's data made an image; its location.

        :raises ImageUnacceptable: Nova is to copy the data.
        """
        if image_format != 'raw':
            raise exception.ImageUnacceptable(
                image_id=image_id, reason=f'{image_format} is not raw'
            )
        return str(
            asking.either(
                lambda: self._snapshot(image_id),
                lambda: super(Rbd, self).direct_snapshot(
                    context,
                    snapshot_name,
                    image_format,
                    image_id,
                    base_image_id,
                ),
            )
        )

    def _snapshot(self, image_id: str) -> Any:
        try:
            return self._disk.ask(
                'snapshot_disk',
                image_id=image_id,
                dest_pool=CONF.rbdcloner.images_pool,
            )
        except errors.RoomNeeded as exc:
            # It could not be waited for any longer.
            raise exception.ImageUnacceptable(
                image_id=image_id, reason=str(exc)
            ) from exc

    def cleanup_direct_snapshot(
        self,
        location: dict[str, str] | None,
        also_destroy_volume: bool = False,
        ignore_errors: bool = False,
    ) -> None:
        """Undo ``direct_snapshot``."""
        if not location:
            return
        if not also_destroy_volume:
            # A step of Nova's own code on its way.
            super().cleanup_direct_snapshot(location, False, ignore_errors)
            return
        try:
            asking.either(
                lambda: self._discard(location['url']),
                lambda: super(Rbd, self).cleanup_direct_snapshot(
                    location, True, ignore_errors
                ),
            )
        except exception.NovaException as exc:
            if not ignore_errors:
                raise
            LOG.warning('%s stays: %s', location['url'], exc)

    def _discard(self, url: str) -> None:
        asking.service().ask('discard_snapshot', location=url)

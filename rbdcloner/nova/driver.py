# SPDX-License-Identifier: Apache-2.0
"""Nova's libvirt driver, with our image backend and where it goes round that.

Nova's driver looks for an instance's images itself when it deletes them, and
asks Ceph for the pool's space and the monitors.
"""

from collections.abc import Iterable
import contextlib
import itertools
from typing import Any

from nova import exception
from nova.compute import task_states
from nova.compute import vm_states
import nova.conf
from nova.virt.libvirt import driver
from nova.virt.libvirt import migration
from oslo_log import log as logging

from rbdcloner import errors
from rbdcloner.nova import asking
from rbdcloner.nova import imagebackend
from rbdcloner.nova import images
from rbdcloner.nova import rbd_utils

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

_RESCUE = '.rescue'
_DISKS = ('disk', 'disk.local', 'disk.swap', 'disk.config')
_EPHEMERAL = 'disk.eph'


class LibvirtDriver(driver.LibvirtDriver):
    """``compute_driver = rbdcloner.LibvirtDriver``"""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        super().__init__(virtapi, read_only)
        self.image_backend.BACKEND['rbd'] = imagebackend.Rbd
        # Nova's modules name theirs where no method could be overridden.
        driver.rbd_utils = rbd_utils
        if hasattr(migration, 'rbd_utils'):  # since Nova 34
            migration.rbd_utils = rbd_utils

    def destroy(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any = None,
        destroy_disks: bool = True,
        destroy_secrets: bool = True,
    ) -> None:
        """End the instance, and have its disks deleted if *destroy_disks*.

        When that fails after a failed build, Nova builds it nowhere else, and
        forgets this host, so that nobody is asked again to delete the disks.
        """
        try:
            super().destroy(
                context,
                instance,
                network_info,
                block_device_info,
                destroy_disks,
                destroy_secrets,
            )
        except exception.NovaException:
            if (
                destroy_disks
                and instance.vm_state == vm_states.BUILDING
                and CONF.libvirt.images_type == 'rbd'
            ):
                rbd_utils.RBDDriver().note_unwanted(instance.uuid)
            raise

    def unrescue(self, context: Any, instance: Any) -> None:
        """Run the instance from its own disks again."""
        super().unrescue(context, instance)
        if CONF.libvirt.images_type == 'rbd':
            delete_disks(instance, _RESCUE)

    def _cleanup_rbd(self, instance: Any) -> None:
        # When a resize is reverted the root disk has been rolled back.
        is_reverted = instance.task_state == task_states.RESIZE_REVERTING
        delete_disks(instance, 'disk.local' if is_reverted else '')

    def _try_fetch_image_cache(
        self,
        image: Any,
        fetch_func: Any,
        context: Any,
        filename: str,
        image_id: str,
        instance: Any,
        size: int | None,
        fallback_from_host: str | None = None,
    ) -> None:
        if isinstance(image, imagebackend.Rbd):

            def fetch_func(
                context: Any,
                target: str,
                image_id: str,
                trusted_certs: Any = None,
            ) -> None:
                images.fetch_to_raw(
                    context,
                    image_id,
                    target,
                    trusted_certs,
                    backend=image,
                    max_size=size or 0,
                )

        super()._try_fetch_image_cache(
            image,
            fetch_func,
            context,
            filename,
            image_id,
            instance,
            size,
            fallback_from_host,
        )


def delete_disks(instance: Any, suffix: str = '') -> None:
    """Have an instance's disks deleted, or those that end so.

    A manager has that written down and does it: who wants a name again waits
    for it.
    """
    ceph = rbd_utils.RBDDriver()

    def asked() -> None:
        try:
            going = asking.service().ask_once(
                'delete_disks',
                instance_uuid=instance.uuid,
                suffix=suffix or None,
                wait=False,
            )
        except errors.DatabaseOutdated as exc:
            LOG.warning(
                'The deletion of the disks of %s is recorded: %s',
                *(instance.uuid, exc),
            )
            going = []
        except errors.Error as exc:
            if not exc.retryable or _taken(ceph, instance.uuid, suffix):
                raise
            # A build that failed for the same reason can go to another host.
            LOG.warning('%s No disk of %s is there.', exc, instance.uuid)
            return
        known = {disk['name'] for disk in going if disk['state'] == 'deleting'}
        for name in _taken(ceph, instance.uuid, suffix):
            if name not in known:
                _delete_others(asking.Disk(name, ceph.pool, instance))

    asking.either(asked, lambda: ceph.cleanup_alone(instance.uuid, suffix))


def _delete_others(disk: asking.Disk) -> None:
    """Free the name of a disk that others made."""
    with contextlib.suppress(errors.DiskNotFound):
        disk.ask('get_disk')
        try:
            asking.service().ask_once(
                'delete_disk', name=disk.name, pool=disk.pool
            )
        except errors.DiskInUse as exc:
            LOG.warning('%s; it goes when it is not', exc)
        except errors.DatabaseOutdated as exc:
            LOG.warning('The deletion of %s is recorded: %s', disk.name, exc)


def _taken(
    ceph: rbd_utils.RBDDriver, instance_uuid: str, suffix: str
) -> list[str]:
    """Return the images that Nova may have called an instance's disks.

    Of those that end so.
    """
    found = _taken_of(ceph, instance_uuid, (*_DISKS, f'{_EPHEMERAL}0'))
    if any(_EPHEMERAL in name for name in found):
        # They are numbered, and the last number is not known.
        for number in itertools.count(1):
            more = _taken_of(ceph, instance_uuid, [f'{_EPHEMERAL}{number}'])
            if not more:
                break
            found += more
    return [name for name in found if name.endswith(suffix)]


def _taken_of(
    ceph: rbd_utils.RBDDriver, instance_uuid: str, disks: Iterable[str]
) -> list[str]:
    plain = [f'{instance_uuid}_{disk}' for disk in disks]
    return ceph.taken([*plain, *(name + _RESCUE for name in plain)])
